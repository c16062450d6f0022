"""`python -m gluon_cgd index` and `search`: find the pictures in a folder that look like a given one."""

import contextlib
import json
import logging
import os

import numpy as np

from gluon_cgd.commands.answers import add_answers, as_values, find, lines, looking_up
from gluon_cgd.commands.options import OWN_RUN, add_ctx, add_model, choose_model, model_of, name, parse_pixels
from gluon_cgd.commands.output import say
from gluon_cgd.datasets import images
from gluon_cgd.datasets.training_part import warn_of_boxes
from gluon_cgd.evaluate import compute_named
from gluon_cgd.experiment import Experiment
from gluon_cgd.files import figures
from gluon_cgd.files.printable import printable
from gluon_cgd.machine.progress import task
from gluon_cgd.retrieval import approximate, collection, exact, mending, whitening
from gluon_cgd.retrieval import index as pictures
from gluon_cgd.retrieval.explained import alike, apart, explainer
from gluon_cgd.retrieval.manifest import NAME
from gluon_cgd.retrieval.model import check_same, open_model, remembered_by
from gluon_cgd.retrieval.picture import COLUMNS, Hit, draw, small
from gluon_cgd.retrieval.reranking import effect
from gluon_cgd.retrieval.threshold import parse as parse_threshold

log = logging.getLogger(__name__)


def add_index(p):
    """The flags of `index`."""
    p.description = (
        "Embeds the pictures in --images that are new or changed since the last time, and prints how many they were. "
        "An interrupted `index` keeps what it has embedded. --engine builds a faster search over the index."
    )
    p.add_argument("--images", type=name, metavar="DIR", help="the folder of pictures; its subfolders are included")
    p.add_argument("--out", required=True, type=name, metavar="IDX", help="the folder of the index")
    help_text = (
        "remove pictures from the index whose files are gone; those of a folder that has no picture left, as on a disk "
        "that is not mounted, only with `--prune all`"
    )
    p.add_argument("--prune", nargs="?", const="gone", choices=("gone", "all"), metavar="all", help=help_text)
    p.add_argument("--skip-bad", action="store_true", help="skip what cannot be read and name it (default: stop)")
    p.add_argument("--compact", action="store_true", help="free the disk space of replaced and removed pictures")
    help_text = "learn PCA-whitening from the pictures of the index and apply it to them and to queries"
    p.add_argument("--whiten", action="store_true", help=help_text)
    add_engine(p, f"the model of the index; for a new one {OWN_RUN}")
    p.set_defaults(run=index)


def add_search(p):
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
    p.set_defaults(run=search)


def add_engine(p, model="the model of the index"):
    """The flags of both commands: the model, and what searches. model: which one is the default, in words."""
    add_model(p, default=model)
    add_ctx(p)
    help_text = "what searches: every picture, or an approximate index that `index` built (default exact)"
    p.add_argument("--engine", choices=("exact", "faiss", "milvus"), default="exact", help=help_text)
    p.add_argument("--kind", choices=tuple(approximate.FAISS), default="hnsw", help="FAISS's index (default hnsw)")
    p.add_argument("--uri", type=name, metavar="FILE_OR_URL", help="Milvus's place: a .db file, or http://...")


def engine_of(options):
    """(engine, kind, uri) that `options` name. Raises ValueError for milvus without --uri."""
    if options.engine == "milvus" and not options.uri:
        raise ValueError("--engine milvus needs --uri: a file for Milvus Lite (pictures.db), or a cluster's http://...")
    return options.engine, options.kind, options.uri


def index(options):
    """Bring an index up to date with a folder of pictures, then its engine, and print what was done."""
    engine = engine_of(options)
    if options.images:
        say(update(options))
    elif options.engine == "exact" and not (options.compact or options.whiten):
        raise ValueError("there is nothing to do: name the folder of pictures with --images")
    if options.whiten:
        say(whiten(options.out))
    if options.compact:
        say(f"{collection.compact(options.out):,} rows of replaced and removed pictures gave their room back")
    snapshot = collection.read(options.out)
    if options.engine == "exact":
        return
    with task(options.engine, snapshot.count, "img") as bar:
        built = approximate.build(snapshot, *engine, bar.at)
    with contextlib.closing(built), task("comparing with the exact search"):
        share, queries = exact.recall(snapshot, built)
    say(f"{built.name}: recall@10 against exact {share:.3f}, on {queries} pictures of the index")


def update(options):
    """Embed what is new or changed; returns a sentence that says what was done."""
    mending.mend(options.out)
    before = collection.read(options.out) if os.path.lexists(os.path.join(options.out, NAME)) else None
    remembered = None if before is None else remembered_by(options.out, before.manifest)
    if pictures.has_pictures(options.images, before, options.prune):
        done = embed(options, remembered)
    else:  # all that is left to do needs no model
        with collection.writing(options.out, before.dim, remembered) as writer:
            *_, done = pictures.update(writer, options.images, None, 0, options.prune)
    if done.left_out.line():
        log.warning("%s: %s", options.images, done.left_out.line())
    words = [f"{done.added:,} added", f"{done.changed:,} changed", f"{done.same:,} as before"]
    words += [f"{done.moved:,} moved"] * bool(done.moved)
    words += [f"{len(done.bad):,} left out that cannot be read"] * bool(done.bad)
    words += [f"{done.removed:,} removed that are gone"] * bool(options.prune)
    remains, kept = done.gone - sum(done.kept.values()), sum(done.kept.values())
    words += [f"{remains:,} still in the index that are gone (--prune removes them)"] * bool(remains)
    if kept:
        folder, others = printable(next(iter(done.kept))), ", for one," * (len(done.kept) > 1)
        words.append(
            f"{kept:,} still in the index whose folder has no picture left: {folder}{others} is empty, gone or on a "
            "disk that is not mounted (--prune all removes them)"
        )
    return f"{done.found:,} pictures in {printable(options.images)}: {', '.join(words)}"


def whiten(folder):
    """Whiten an index; returns a sentence that says what was done."""
    said = whitening.whiten(folder)
    if said is None:
        return f"{printable(folder)} is whitened as before; index into another folder to learn it anew"
    return f"whitened along {said['axes']:,} directions, learned from {said['pictures']:,} pictures"


def embed(options, remembered):
    """Embed what is new or changed and update the index, and return the Changes. remembered: the model, if any."""
    if remembered is None:
        choose_model(options)
    model = open_model(options.out, remembered, **model_of(options))
    warn_of_boxes(model.trained)
    side, total = model.input_size, sum(1 for _ in pictures.pictures_under(options.images, options.skip_bad))
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)  # black could have no embedding
    dim = compute_named(model.embed, [noise], ["a picture of noise"]).shape[1]
    with collection.writing(options.out, dim, model.about) as writer, task("indexing", total, "img") as bar:
        check_same(options.out, writer.manifest["model"], model.about)  # another process may have made it just now
        if writer.manifest["model"].get("whitening") != model.about.get("whitening"):
            raise ValueError(f"{options.out} was whitened just now by another process: start again")
        writer.describe(model.about, os.path.abspath(options.images))
        for done in pictures.update(writer, options.images, model.embed, side, options.prune, options.skip_bad):
            bar.at(done.same + done.added + done.changed + done.moved + len(done.bad))
    return done


def search(options):
    """Print, and draw, the pictures of an index that are most like the query."""
    if options.k < 1:
        raise ValueError(f"-k {options.k} must be at least 1")
    if len(options.query) > 1 and options.box:
        raise ValueError("--box is about one query: name one picture")
    kinds = [alike] * options.heatmaps, [apart] * options.difference
    if options.threshold is not None:
        parse_threshold(options.threshold)
    if options.figure:
        figures.check("--figure", options.figure)
    engine_of(options)
    snapshot = collection.read(options.index)
    if not len(snapshot):
        raise ValueError(f"{options.index} holds no pictures: python -m gluon_cgd index --images DIR adds some")
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
        title = f"{len(hits)} of {len(snapshot):,} pictures, by {model.about['name']}"
        shown = [small(images.decode(path), box) for path in options.query]
        draw(shown, hits, title, options.figure, options.by_folder)
        say(f"Written: {options.figure}", to_stderr=True)


def drawn(model, queries, groups, kinds, by_folder):
    """Yield a Hit for each picture in `groups`, of a folder at most a row; kinds: [alike] or [], [apart] or []."""
    explainers = [explainer(model, query) for query in queries if any(kinds)]
    for number, group in enumerate(groups, 1):
        for rank, answer in enumerate(group.answers[: COLUMNS if by_folder else None], 1):
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
