"""`python -m gluon_cgd search`: find the pictures of an index that look like a given one."""

import contextlib
import json
import logging
import os

from gluon_cgd.commands.answers import add_answers, as_values, find, lines, looking_up
from gluon_cgd.commands.options import model_of, name, parse_pixels
from gluon_cgd.commands.output import say
from gluon_cgd.commands.search_engine import add_engine, engine_of
from gluon_cgd.datasets import images
from gluon_cgd.experiment import Experiment
from gluon_cgd.files import figures
from gluon_cgd.files.printable import printable
from gluon_cgd.retrieval import approximate, collection
from gluon_cgd.retrieval import index as pictures
from gluon_cgd.retrieval.explained import alike, apart, explainer
from gluon_cgd.retrieval.model import open_model, remembered_by
from gluon_cgd.retrieval.picture import COLUMNS, DRAWN, Hit, draw, small, spare
from gluon_cgd.retrieval.reranking import effect
from gluon_cgd.retrieval.threshold import parse as parse_threshold

log = logging.getLogger(__name__)


def add_command(p):
    """The flags of `search`."""
    p.description = (
        "Prints rank, cosine and path of the pictures in an index that are most like the query, or of the folders. A "
        "query that is in the index is found too, and marked."
    )
    p.add_argument("index", type=name, metavar="IDX", help="a folder that `index` made")
    p.add_argument("query", nargs="+", type=name, help="a picture; several are searched for by their mean")
    p.add_argument("-k", type=int, default=10, metavar="N", help="the number of results (default 10)")
    add_answers(p)
    p.add_argument("--box", type=name, metavar="X1,Y1,X2,Y2", help="search with this part of the query only, in pixels")
    p.add_argument("--figure", type=name, metavar="FILE", help="draw query and results into FILE: .png, .pdf or .svg")
    p.add_argument("--heatmaps", action="store_true", help="show in the figure what makes each result similar")
    p.add_argument("--difference", action="store_true", help="show in the figure what keeps each result apart")
    p.add_argument("--json", action="store_true", help="print JSON")
    add_engine(p)
    p.set_defaults(run=command)


def command(options):
    """Print, and draw, the pictures of an index that are most like the query."""
    if options.k < 1:
        raise ValueError(f"-k {options.k} must be at least 1")
    if len(options.query) > 1 and options.box:
        raise ValueError("--box is about one query: name one picture")
    kinds = [alike] * options.heatmaps, [apart] * options.difference
    if options.threshold is not None:
        parse_threshold(options.threshold)
    if options.figure:
        figures.check("--figure", options.figure, options.query)
    engine_of(options)
    snapshot = collection.read(options.index)
    if not len(snapshot):
        raise ValueError(f"{options.index} holds no pictures: python -m gluon_cgd index --images DIR adds some")
    if options.figure:
        spare(options.figure, snapshot)
    remembered = remembered_by(options.index, snapshot.manifest)
    side = Experiment.from_dict(remembered["experiment"]).input_size
    box = options.box and parse_pixels("--box", options.box, "X1,Y1,X2,Y2")
    rule = "--box X1,Y1,X2,Y2 needs X1 < X2 and Y1 < Y2 inside the picture"
    queries = [images.load_picture(path, side, box, remedy=rule) for path in options.query]
    model = open_model(options.index, remembered, **model_of(options))
    if any(kinds):
        model.projections()  # a model without them is refused before the results are printed
    query = pictures.query_of(model.embed, queries, options.query)
    engine = approximate.open_engine(snapshot, *engine_of(options))
    own = set() if options.box else {os.path.abspath(path) for path in options.query}
    with contextlib.closing(engine) if engine else contextlib.nullcontext():
        found = find(options, snapshot, looking_up(options.rerank, snapshot, query, engine), own)
    if options.json:
        about = dict(index=options.index, pictures=len(snapshot), query=options.query, box=options.box)
        about.update(engine=engine.name if engine else "exact", **as_values(found, own, options.by_folder))
        about.update(dict(rerank=options.rerank) if options.rerank else {})
        print(json.dumps(about))
    else:
        if found.threshold:
            say(found.threshold.sentence(), to_stderr=True)
        for sentence in effect(options.rerank) if options.rerank else ():
            say(f"{options.rerank}, measured on {sentence}", to_stderr=True)
        for line in lines(found, own, options.by_folder):
            say(line)
    if options.figure:
        hits = list(drawn(model, queries, found.groups, kinds, options.by_folder))
        answers = sum(len(group.answers) for group in found.groups)
        shown_of = f"{len(hits)} of" if len(hits) == answers else f"{len(hits)} of {answers:,} results, found among"
        title = f"{shown_of} {len(snapshot):,} pictures, by {model.about['name']}"
        shown = [small(images.decode(path), box) for path in options.query]
        draw(shown, hits, title, options.figure, options.by_folder)
        say(f"Written: {options.figure}", to_stderr=True)


def drawn(model, queries, groups, kinds, by_folder):
    """Yield a Hit for each picture in `groups`, DRAWN rows of them at most, a folder at most one row.

    kinds: [alike] or [], [apart] or [].
    """
    explainers = [explainer(model, query) for query in queries if any(kinds)]
    for number, group in enumerate(groups[:DRAWN], 1):
        for rank, answer in enumerate(group.answers[: COLUMNS if by_folder else COLUMNS * DRAWN], 1):
            photo, maps = None, (None, None)
            try:
                photo = images.decode(answer.path)
            except (ValueError, OSError):
                log.warning("%s cannot be read any more and is drawn as an empty place", printable(answer.path))
            if photo is not None and any(kinds):
                picture = images.resized(photo, model.input_size)
                similarities = [explain(picture) for explain in explainers]
                maps = [kind[0](similarities) if kind else None for kind in kinds]
            rank = rank if not by_folder else number if rank == 1 else None
            shown = None if photo is None else small(photo).picture
            yield Hit(answer.cosine, shown, maps[0], rank, (answer.folder, answer.name), maps[1])
