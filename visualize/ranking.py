"""Queries and their ranked results, green for the same class and red for another: python visualize/ranking.py"""

if __name__ == "__main__":  # started by its path: go on as a module of the project
    import _signal  # `signal` takes longer to import than all that comes before

    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # until the program runs, Ctrl-C ends it without a traceback
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from gluon_cgd.machine import process

    sys.exit(process.run_module("visualize.ranking", __file__))


import numpy as np

from gluon_cgd.commands.options import main_of
from gluon_cgd.commands.output import say
from gluon_cgd.files import figures
from visualize import model

RIGHT, WRONG = "#1a9850", "#d73027"
MOST = 1000  # results in the figure


def add_flags(p):
    """The flags of this script."""
    p.add_argument("--queries", type=int, default=6, metavar="N", help="number of random queries (default 6)")
    p.add_argument("--seed", type=int, default=0, help="draws the queries (default 0)")
    p.add_argument("-k", type=int, default=8, help="number of results for each query (default 8)")
    model.add_flags(p, "ranking.png")


def ranked(queries, gallery, rows, k, queries_first=False):
    """The `k` gallery items nearest to each of the queries `rows`, nearest first: int (len(rows), k).

    Fewer than `k` if there are fewer, without the query itself.

    queries: embeddings (N, D).  gallery: embeddings (M, D), or None to search the other queries; with `queries_first`
    it begins with the queries, which do not find themselves.
    """
    items = queries if gallery is None else gallery
    distances = (items**2).sum(axis=1) - 2 * queries[rows] @ items.T  # (rows, M), without the query's own square
    if gallery is None or queries_first:
        distances[np.arange(len(rows)), rows] = np.inf
        k = min(k, len(items) - 1)  # the query itself comes last
    return np.argsort(distances, axis=1, kind="stable")[:, :k]


def draw(lines, title, file):
    """Draw one row for each query into `file`: its picture, then the results in green or red frames.

    Above each result is its rank and its cosine.

    lines: [(picture, [(picture, whether it has the query's class, cosine), ...]), ...], pictures uint8 (H, W, 3).
    """
    columns = 1 + max(len(results) for _, results in lines)
    width = 1.25 * columns + 0.2
    title = figures.fitted(title, width - 0.2, 8)
    figure = figures.empty(width, 1.4 * len(lines) + 0.37 + 0.13 * (title.count("\n") + 1))
    figure.suptitle(title, fontsize=8, color="0.35")
    for row, (query, results) in zip(figure.subplots(len(lines), columns, squeeze=False), lines):
        tiles = [(query, "black", "query")]
        for rank, (picture, same, cosine) in enumerate(results, 1):
            tiles.append((picture, RIGHT if same else WRONG, f"{rank}   {cosine:.3f}"))
        for rank, (axes, (picture, colour, title)) in enumerate(zip(row, tiles)):
            axes.imshow(picture)
            axes.set_title(title, fontsize=8, color=colour, pad=4)
            figures.frame(axes, colour, 2.5 if rank else 1)
        for axes in row[len(tiles) :]:
            axes.set_axis_off()
    figures.save(figure, file)


def run(options):
    """Embed the test part, rank it and draw."""
    from gluon_cgd import datasets
    from gluon_cgd.commands.evaluate import percent
    from gluon_cgd.datasets.cache import cached
    from gluon_cgd.evaluate import searches
    from gluon_cgd.recall import recall_of

    if not 0 <= options.seed < 2**31:
        raise ValueError(f"--seed {options.seed} must be from 0 to 2147483647")
    if min(options.queries, options.k) < 1 or options.queries * options.k > MOST:
        given = f"--queries {options.queries} and -k {options.k}"
        raise ValueError(f"{given} must be at least 1, and together ask for {MOST:,} results at most")
    trained, split, name = model.open_test_set(options)

    def pictures_of(records):
        return cached(records, trained.input_size)

    found = searches(trained.embed, split, pictures_of)
    where, embeddings = found[-1]  # in the whole collection, if that is another number
    query, labels = pictures_of(split.query), embeddings.query_labels
    parts = [split.gallery or split.query, split.train if embeddings.queries_first else []]
    items = [(picture, record.label) for part in parts if part for picture, record in zip(pictures_of(part), part)]
    rows = np.random.default_rng(options.seed).permutation(len(query))[: options.queries]
    nearest = ranked(embeddings.query, embeddings.gallery, rows, options.k, embeddings.queries_first)
    vectors, lines = embeddings.query if embeddings.gallery is None else embeddings.gallery, []
    for row, results in zip(rows, nearest):
        cosines = vectors[results] @ embeddings.query[row]
        shown = [(items[i][0], items[i][1] == labels[row], cosine) for i, cosine in zip(results, cosines)]
        lines.append((query[row], shown))
    title = f"{name}: {len(lines)} of {len(query):,} queries, drawn"
    draw(lines, f"{title}; searched {where}", options.out)
    right = np.mean([same for _, results in lines for _, same, _ in results])
    ks = datasets.recall_ks(options.dataset or trained.experiment.dataset)
    for place, vectors in found:
        say(f"{percent(recall_of(ks, vectors))}  {place}")
    say(f"{title}; searched {where}")
    say(f"{100 * right:.0f} % of the {nearest.shape[1]} results shown are of the query's class")
    say(f"Written: {options.out}")


main = main_of(__doc__, add_flags, run)
