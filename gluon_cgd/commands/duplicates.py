"""`python -m gluon_cgd duplicates`: the groups of near-duplicates in an index. Nothing is deleted."""

import json
import logging

import numpy as np

from gluon_cgd.commands.options import name
from gluon_cgd.commands.output import say
from gluon_cgd.datasets import images
from gluon_cgd.files import figures
from gluon_cgd.files.printable import printable
from gluon_cgd.retrieval import collection, duplicates
from gluon_cgd.retrieval.picture import COLUMNS, DRAWN, Hit, draw, small, spare
from gluon_cgd.retrieval.places import place_of, prefixes

log = logging.getLogger(__name__)


def add_command(p):
    """The flags of `duplicates`."""
    p.description = (
        "Prints the groups of pictures in an index that are the same: copies, also of another size, brightness or "
        "compression, or with a small border cut off. It reads the pictures and deletes nothing."
    )
    p.add_argument("index", type=name, metavar="IDX", help="a folder that `index` made")
    help_text = f"how alike two pictures must look, above 0 and up to 1 (default {duplicates.LEAST})"
    p.add_argument("--likeness", type=float, default=duplicates.LEAST, metavar="L", help=help_text)
    p.add_argument("--figure", type=name, metavar="FILE", help="draw the groups into FILE: .png, .pdf or .svg")
    p.add_argument("--json", action="store_true", help="print JSON")
    p.set_defaults(run=command)


def command(options):
    """Print, and draw, the groups of near-duplicates of an index."""
    if not 0 < options.likeness <= 1:
        raise ValueError(f"--likeness {options.likeness} must be above 0 and at most 1")
    if options.figure:
        figures.check("--figure", options.figure)
    snapshot = collection.read(options.index)
    if options.figure:
        spare(options.figure, snapshot)
    rows = np.flatnonzero(snapshot.live)
    paths, roots = [snapshot.path(row) for row in rows], prefixes(snapshot.manifest.get("folders", []))
    looks, errors = duplicates.looks_of(paths)
    for error in errors.values():
        log.warning("left out: %s", error)
    if len(rows) and not looks:
        raise ValueError(f"none of the {len(rows):,} pictures of {options.index} can be read: the first is {paths[0]}")
    near = np.searchsorted(rows, duplicates.neighbours(snapshot.vectors, rows, snapshot.live, snapshot.check))
    pairs = duplicates.pairs(near, looks, options.likeness)
    found = [described(group, pairs, looks, paths, roots) for group in duplicates.groups_of(pairs)]
    if options.json:
        print(json.dumps(dict(index=options.index, pictures=len(rows), unreadable=len(errors), groups=found)))
    else:
        for line in lines(found, len(rows)):
            say(line)
    if options.figure and found:
        draw([], list(hits(found)), title(found, len(rows)) + left_out(found), options.figure, by_folder=True)
        say(f"Written: {options.figure}", to_stderr=True)
    elif options.figure:
        say(f"{options.figure} is not written: there is nothing to draw", to_stderr=True)


def described(group, pairs, looks, paths, roots):
    """A group for JSON. likeness: of the least alike of its pairs that look the same."""
    inside = set(group)
    return dict(
        likeness=min(value for pair, value in pairs.items() if inside.issuperset(pair)),
        same_pixels=len({looks[place].digest for place in group}) == 1,
        pictures=[
            dict(
                path=paths[place],
                **place_of(paths[place], roots)._asdict(),
                **{part: getattr(looks[place], part) for part in ("width", "height", "bytes")},
            )
            for place in group
        ],
    )


def lines(found, count):
    """Yield the lines that are printed of the groups `found` among `count` pictures."""
    yield title(found, count)
    for number, group in enumerate(found, 1):
        how = "the same pixels" if group["same_pixels"] else f"likeness {group['likeness']:.3f}"
        yield f"group {number}, {how}:"
        for picture in group["pictures"]:
            size = f"{picture['width']} x {picture['height']}, {picture['bytes']:,} bytes"
            yield f"  {printable(picture['path'])}  ({size})"


def title(found, count):
    """How many groups and pictures were found, in words."""
    pictures = sum(len(group["pictures"]) for group in found)
    if not found:
        return f"no near-duplicates among {count:,} pictures"
    return f"{len(found):,} group{'s' * (len(found) > 1)} of near-duplicates: {pictures:,} of {count:,} pictures"


def left_out(found):
    """What of the groups `found` is not drawn, in words; "" if all is."""
    if len(found) <= DRAWN and all(len(group["pictures"]) <= COLUMNS for group in found):
        return ""
    return f"; of {min(len(found), DRAWN)} groups up to {COLUMNS} pictures are drawn"


def hits(found):
    """Yield a Hit for each picture that is drawn: of DRAWN groups, a row of each."""
    for number, group in enumerate(found[:DRAWN], 1):
        for place, picture in enumerate(group["pictures"][:COLUMNS]):
            shown = small(images.decode(picture["path"])).picture
            rank = None if place else number
            yield Hit(group["likeness"], shown, None, rank, (picture["folder"], picture["name"]))
