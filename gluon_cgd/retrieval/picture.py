"""Draws the result of a search: the queries, then the results by rank, with cosine, folder and name."""

import os
import textwrap
from typing import List, NamedTuple, Optional, Sequence

import numpy as np

from gluon_cgd.files import figures, heatmaps
from gluon_cgd.retrieval.collection import is_in
from gluon_cgd.retrieval.finding import Finder

COLUMNS = 6
DRAWN = 30  # rows
SIDE = 1.5  # inches, the width of a picture
WIDTH = 24  # characters of a line below a result
LARGEST = 400  # pixels of the longer side of a photo here


class Query(NamedTuple):
    """A picture that is searched for: uint8 (H, W, 3), and the box x1, y1, x2, y2 that it is searched with, or None."""

    picture: np.ndarray
    box: Optional[Sequence[int]] = None

    def part(self):
        """The picture inside the box."""
        if self.box is None:
            return self.picture
        x1, y1, x2, y2 = self.box
        return self.picture[max(y1, 0) : max(y2, 1), max(x1, 0) : max(x2, 1)]


class Hit(NamedTuple):
    """One result of a search.

    picture: uint8 (H, W, 3), or None if it cannot be read.  maps: the heatmaps (h, w) of each query, then of it; apart:
    the same of what keeps them apart.  rank: None for another picture of the folder before.  place: its folder and
    its name.
    """

    cosine: float
    picture: Optional[np.ndarray]
    maps: Optional[List[np.ndarray]] = None
    rank: Optional[int] = None
    place: Sequence[str] = ()
    apart: Optional[List[np.ndarray]] = None


KINDS = {"maps": heatmaps.ALIKE, "apart": heatmaps.APART}
WORDS = {"maps": "makes them alike", "apart": "keeps them apart"}
NOTE = "(bright: most of it,\nhalf inside the line,\na scale for each result)"


def spare(file, snapshot):
    """Raise ValueError if the figure `file` would overwrite a picture of the index of `snapshot`."""
    if not os.path.exists(file):
        return
    real = os.path.realpath(file)
    places = [os.path.abspath(file), real]
    for root in snapshot.manifest.get("folders", ()):  # it may be a link, or behind one
        real_root = os.path.realpath(root)
        places += [os.path.join(root, os.path.relpath(real, real_root))] * is_in(real, real_root)
    finder = Finder(snapshot)
    if any(finder.row(place) >= 0 for place in places):
        raise ValueError(f"--figure {file} would overwrite a picture of {snapshot.folder}: name another file")


def small(picture, box=None):
    """The Query of `picture`, shrunk to LARGEST in its own proportions, and of the `box` in it."""
    import cv2

    factor = min(1, LARGEST / max(picture.shape[:2]))
    height, width = (max(1, round(side * factor)) for side in picture.shape[:2])
    if factor < 1:
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return Query(picture, box and [round(side * factor) for side in box])


def draw(queries, hits, title, file, by_folder=False):
    """Draw `queries` and `hits` into `file`, COLUMNS in a row; heatmaps, if any, go below each hit.

    by_folder: begin a new row with each hit that has a rank.
    """
    tiles = [
        [(f"query {number}" if len(queries) > 1 else "query", query.picture, None)]
        for number, query in enumerate(queries, 1)
    ]
    rows = [sum(tiles, [])]
    for hit in hits:
        if by_folder and hit.rank:
            rows.append([])
        label = f"{hit.cosine:.3f}" if hit.rank is None else f"{hit.rank}   {hit.cosine:.3f}"
        rows[-1].append((label, hit.picture, hit))
    lines = [row[first : first + COLUMNS] for row in rows for first in range(0, len(row), COLUMNS)]
    kinds = [kind for kind in KINDS if any(getattr(hit, kind) for hit in hits)]
    each = 1 + len(queries)  # heatmaps of a kind
    parts = [query.part() for query in queries]
    heights = [height for line in lines for height in heights_of([tile[1] for tile in line], parts, len(kinds))]
    depth = 1 + each * len(kinds)
    figure = figures.empty(SIDE * COLUMNS, sum(heights) + 0.3)
    figure.suptitle(title, fontsize=8, color="0.35")
    grid = figure.subplots(len(heights), COLUMNS, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes in grid.ravel():
        axes.set_axis_off()
    for number, line in enumerate(lines):
        for column, (label, picture, hit) in enumerate(line):
            axes, *below = grid[number * depth : (number + 1) * depth, column]
            axes.set_title(label, fontsize=8, pad=3)
            if hit:
                caption(axes, hit.place)
            if picture is None:
                write(axes, "cannot be read")
                continue
            axes.imshow(picture)
            for place, kind in enumerate(kinds if hit else ()):
                *of_queries, own = getattr(hit, kind)
                shown = below[place * each : (place + 1) * each]
                heatmaps.draw(shown, [picture, *parts], [own, *of_queries], KINDS[kind])
    for number, query in enumerate(queries):
        if query.box is not None:
            mark(grid[number // COLUMNS * depth, number % COLUMNS], query)
    names = ["result", *(f"query {n}" if len(queries) > 1 else "query" for n in range(1, len(queries) + 1))]
    places = [(kind, name) for kind in kinds for name in names]
    for axes, (kind, name) in zip(grid[1:depth, 0], places):  # the free places below the first query explain the maps
        write(axes, f"what in the {name}\n{WORDS[kind]}\n{NOTE}")
    figures.save(figure, file)


def heights_of(pictures, queries, kinds):
    """The heights in inches of a line of tiles: of its pictures with their captions, and of `kinds` of heatmaps."""

    def tallest(photos):
        return SIDE * max(min(photo.shape[0] / photo.shape[1], 1.6) if photo is not None else 0.7 for photo in photos)

    first = tallest(pictures)
    return [first + 0.65, *[first + 0.1, *(tallest([query]) + 0.1 for query in queries)] * kinds]


def mark(axes, query):
    """Draw the outline of its box, as far as it is inside, into the picture of a `query`."""
    from matplotlib.patches import Rectangle

    height, width = query.picture.shape[:2]
    (x1, x2), (y1, y2) = np.clip(query.box[::2], 0, width), np.clip(query.box[1::2], 0, height)
    for colour, width in (("white", 3), ("red", 1.5)):  # seen on every photo
        axes.add_patch(Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=width))


def caption(axes, place):
    """Write the folder and the name of a picture below it."""
    text = "\n".join(line for part in place for line in wrapped(part))
    axes.text(0.5, -0.03, text, transform=axes.transAxes, fontsize=6, ha="center", va="top", color="0.25")


def wrapped(text):
    """`text` in one or two lines; the middle of a longer one is left out."""
    lines = textwrap.wrap(text, WIDTH) or [text]
    return lines if len(lines) <= 2 else [text[: WIDTH - 1] + "…", text[-WIDTH:]]


def write(axes, text):
    """Write a small grey `text` into the middle of `axes`."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, fontsize=7, ha="center", va="center", color="0.35")
