"""`python -m gluon_cgd index` and `search`: find pictures that look like a given one among people's own."""

import json
import logging
import os
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from gluon_cgd.commands.options import add_ctx, add_model, model_of, name, parse_pixels
from gluon_cgd.datasets import folders, images
from gluon_cgd.experiment import Experiment
from gluon_cgd.retrieval import approximate, collection, exact
from gluon_cgd.retrieval import index as pictures
from gluon_cgd.retrieval.model import check_same, open_model

log = logging.getLogger(__name__)


def add_index(p):
    """The flags of `index`."""
    p.description = "Embeds what is new or changed since the last time, and says what it did. It can be interrupted."
    p.add_argument("--images", type=name, metavar="DIR", help="the pictures, in this folder and those inside it")
    p.add_argument("--out", required=True, type=name, metavar="IDX", help="the folder of the index")
    p.add_argument("--prune", action="store_true", help="take pictures out that are not in --images any more")
    p.add_argument("--skip-bad", action="store_true", help="leave pictures out that cannot be read, and say which")
    p.add_argument("--compact", action="store_true", help="then give the room of what was taken out back to the disk")
    add_engine(p)
    p.set_defaults(run=index)


def add_search(p):
    """The flags of `search`."""
    p.description = "A query that is in the index itself is found like any other picture, and marked as the query."
    p.add_argument("index", type=name, metavar="IDX", help="a folder that `index` made")
    p.add_argument("query", nargs="+", type=name, help="a picture, or several that are searched for by their mean")
    p.add_argument("-k", type=int, default=10, help="number of results (default 10)")
    p.add_argument("--box", metavar="X1,Y1,X2,Y2", help="search by this part of the query, in pixels")
    p.add_argument("--figure", type=name, metavar="FILE", help="draw query and results: .png, .pdf or .svg")
    p.add_argument("--heatmaps", action="store_true", help="show in the figure what makes each result alike")
    p.add_argument("--json", action="store_true", help="print JSON")
    add_engine(p)
    p.set_defaults(run=search)


def add_engine(p):
    """What both take: the model, and what searches."""
    add_model(p, default="the index's")
    add_ctx(p)
    p.add_argument(
        "--engine", choices=("exact", "faiss", "milvus"), default="exact", help="what searches (default exact)"
    )
    p.add_argument("--kind", choices=tuple(approximate.FAISS), default="hnsw", help="of FAISS index (default hnsw)")
    p.add_argument("--uri", type=name, metavar="FILE_OR_URL", help="of Milvus: a .db file, or http://...")


def index(options):
    """Bring an index up to date with a folder of pictures, and the engine too, and say what was done."""
    about_images = ("prune", "skip_bad", "checkpoint", "model", "runtime", "which", "ctx")
    idle = [f"--{flag.replace('_', '-')}" for flag in about_images if getattr(options, flag)]
    if idle and not options.images:
        raise ValueError(f"{', '.join(idle)} need pictures that are embedded: name their folder with --images")
    if options.engine == "milvus" and not options.uri:
        raise ValueError("--engine milvus needs --uri: a file for Milvus Lite (pictures.db), or a cluster's http://...")
    check_uri(options)
    if options.images:
        print(updated(options))
    elif options.engine == "exact" and not options.compact:
        raise ValueError("there is nothing to do: name the folder of pictures with --images")
    if options.compact:
        print(f"{collection.compact(options.out):,} rows of replaced and removed pictures gave their room back")
    snapshot = collection.read(options.out)
    if options.engine == "exact":
        return
    with tqdm(total=snapshot.count, unit="img", desc=options.engine, disable=not sys.stderr.isatty()) as bar:
        engine = prepared(snapshot, options, lambda rows: bar.update(rows - bar.n))
    share, queries = exact.recall(snapshot, engine)
    kind = f" {options.kind}" if options.engine == "faiss" else ""
    print(f"{options.engine}{kind}: recall@10 against exact {share:.3f}, on {queries} pictures of the index")
    engine.close()


def check_uri(options):
    """Raise ValueError for a --uri that nothing would look at."""
    if options.uri and options.engine != "milvus":
        raise ValueError(f"--uri {options.uri} is for --engine milvus: name both, or leave it out")


def updated(options):
    """Embed what is new or changed; returns a sentence of what was done."""
    folders.check_pictures(options.images)
    before = None
    if (Path(options.out) / "collection.json").exists():
        before = collection.read_manifest(options.out)["model"]
    model = open_model(options.out, before, **model_of(options))
    dim = model.embed([np.zeros((model.input_size, model.input_size, 3), np.uint8)]).shape[1]
    total = sum(1 for _ in pictures.pictures_under(options.images))
    with collection.writing(options.out, dim, model.about) as writer:
        check_same(options.out, writer.manifest["model"], model.about)  # another process may have made it just now
        writer.describe(model.about)
        progress = tqdm(total=total, unit="img", desc="indexing", disable=not sys.stderr.isatty())
        with progress as bar:
            for told in pictures.update(
                writer, options.images, model.embed, model.input_size, options.prune, options.skip_bad
            ):
                bar.update(told.same + told.added + told.changed + len(told.bad) - bar.n)
    words = [f"{told.added:,} added", f"{told.changed:,} changed", f"{told.same:,} as before"]
    words += [f"{len(told.bad):,} left out that cannot be read"] * bool(told.bad)
    words += [f"{told.removed:,} removed that are gone"] * options.prune
    words += [f"{told.gone:,} still in the index that are gone (--prune removes them)"] * bool(told.gone)
    return f"{told.found:,} pictures in {shown(options.images)}: {', '.join(words)}"


def prepared(snapshot, options, progress):
    """The engine that the command line asks for, brought to the state of `snapshot`."""
    if options.engine == "milvus":
        engine = approximate.Milvus(snapshot, options.uri)
        engine.send(progress)
        return engine
    try:
        engine = approximate.Faiss(snapshot, options.kind)
        if engine.rows == snapshot.count:
            return engine
    except ValueError:  # not there, or damaged: built anew
        pass
    return approximate.build_faiss(snapshot, options.kind, progress)


def search(options):
    """Print, and draw, the pictures of an index that are most like the query."""
    if options.k < 1:
        raise ValueError(f"-k {options.k} must be at least 1")
    if len(options.query) > 1 and (options.box or options.heatmaps):
        raise ValueError("--box and --heatmaps are about one query: name one picture")
    if options.heatmaps and not options.figure:
        raise ValueError("--heatmaps are drawn into a figure: name one with --figure")
    if options.figure:
        from gluon_cgd.files import figures

        figures.check("--figure", options.figure)
    if options.engine == "milvus" and not options.uri:
        raise ValueError("--engine milvus needs the --uri that was given to index")
    check_uri(options)
    snapshot = collection.read(options.index)
    if not len(snapshot):
        raise ValueError(f"{options.index} holds no pictures: python -m gluon_cgd index --images DIR adds some")
    box = options.box and parse_pixels("--box", options.box, "X1,Y1,X2,Y2")
    queries = [query_picture(path, box, side_of(snapshot)) for path in options.query]
    model = open_model(options.index, snapshot.manifest["model"], **model_of(options))
    if options.heatmaps:
        model.projections()  # where there are none it says so now, and not behind the results
    asked = pictures.query_of(model.embed, queries, options.query)
    (cosines, rows), engine = answered(snapshot, asked, options)
    own = {os.path.abspath(path) for path in options.query} if not options.box else set()
    hits = [(float(cosine), snapshot.path(row)) for cosine, row in zip(cosines, rows)]
    if options.json:
        results = [dict(cosine=cosine, path=path, is_query=path in own) for cosine, path in hits]
        told = dict(index=options.index, pictures=len(snapshot), query=options.query, box=options.box)
        print(json.dumps(dict(told, engine=engine, results=results)))
    else:
        for rank, (cosine, path) in enumerate(hits, 1):
            note = "  (the query itself)" if path in own else "" if os.path.exists(path) else "  (not there any more)"
            print(f"{rank:3}  {cosine:.4f}  {shown(path)}{note}")
    if options.figure:
        draw(options, model, queries, hits, len(snapshot))


def query_picture(path, box, side):
    """The picture, or its `box`, in the file `path`: uint8 (side, side, 3). Raises ValueError where it has none."""
    try:
        return images.load_picture(path, side, box)
    except OSError as error:
        raise ValueError(f"the query {path} cannot be read ({error.strerror}): name a picture") from error


def answered(snapshot, asked, options):
    """((cosines, rows) of the one query `asked` (1, D), the engine in words)."""
    if options.engine == "exact":
        return exact.search(snapshot, asked, options.k)[0], "exact"
    engine = (
        approximate.Milvus(snapshot, options.uri)
        if options.engine == "milvus"
        else approximate.Faiss(snapshot, options.kind)
    )
    try:
        if engine.rows == 0:
            raise ValueError(
                f"Milvus at {options.uri} has nothing of {options.index}: "
                f"python -m gluon_cgd index --out {options.index} --engine milvus --uri {options.uri} sends it"
            )
        words = f"faiss {options.kind}" if options.engine == "faiss" else "milvus"
        return exact.search(snapshot, asked, options.k, engine)[0], words
    finally:
        engine.close()


def draw(options, model, queries, hits, count):
    """Draw the query and its results into --figure, with their heatmaps if they are asked for."""
    from gluon_cgd.retrieval.picture import Hit
    from gluon_cgd.retrieval.picture import draw as draw_results

    explain = explainer(model, queries[0]) if options.heatmaps else lambda picture: None
    drawn = []
    for cosine, path in hits:
        try:
            picture = images.load_picture(path, model.input_size)
        except (ValueError, OSError):
            log.warning("%s cannot be read any more and is drawn as an empty place", shown(path))
            picture = None
        drawn.append(Hit(cosine, picture, None if picture is None else explain(picture)))
    told = f"{len(hits)} of {count:,} pictures, by {model.about['name']}"
    draw_results(queries, drawn, told, options.figure)
    print(f"Written: {options.figure}", file=sys.stderr)


def explainer(model, query):
    """A function of a result: (map of `query`, map of the result), what each position adds to the cosine.

    It passes the query through the network once, however many results there are.
    """
    from gluon_cgd.similarity import arguments, decompose

    (of_query,), how = model.features([query]), arguments(model.projections(), model.experiment)

    def explain(result):
        found = decompose(of_query, *model.features([result]), **how)
        return found.map1, found.map2

    return explain


def side_of(snapshot):
    """Pixels of a side of the pictures that the index's model takes."""
    return Experiment.from_dict(snapshot.manifest["model"]["experiment"]).input_size


def shown(path):
    """`path` on one line, whatever characters are in it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))
