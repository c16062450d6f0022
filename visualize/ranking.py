"""Queries and their ranked results, green for the same class and red for another: python visualize/ranking.py"""

if __name__ == "__main__":  # started by its name: go on as a module of the project
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from gluon_cgd.machine import process

    sys.exit(process.run_module("visualize.ranking", __file__))


import argparse
import sys
from pathlib import Path

from gluon_cgd.files import figures
from gluon_cgd.machine import process
from visualize import model

RIGHT, WRONG = "#1a9850", "#d73027"


def parser():
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--queries", type=int, default=6, metavar="N", help="how many, drawn by --seed (default 6)")
    p.add_argument("--seed", type=int, default=0, help="draws the queries (default 0)")
    p.add_argument("-k", type=int, default=8, help="results of each query (default 8)")
    model.add_options(p, "ranking.png")
    return p


def ranked(found, itself, rows, k):
    """The `k` nearest gallery items of the queries `rows`, nearest first: int (len(rows), k).

    found: as `evaluate.embedded` returns it; itself: the query is its own gallery, less itself.
    """
    import numpy as np

    query = np.asarray(found[0])[rows]
    gallery = np.asarray(found[0] if itself else found[2])
    distance = (gallery**2).sum(axis=1) - 2 * query @ gallery.T  # (rows, M), less the query's own square
    if itself:
        distance[np.arange(len(rows)), rows] = np.inf
    return np.argsort(distance, axis=1, kind="stable")[:, :k]


def draw(lines, told, file):
    """A line a query: its picture, then the results with their ranks in a green or red frame.

    lines: [(picture, [(picture, same class), ...]), ...], pictures uint8 (H, W, 3).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 1 + max(len(results) for _, results in lines)
    figure = Figure(figsize=(1.25 * columns + 0.2, 1.4 * len(lines) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(told, fontsize=8, color="0.35")
    for line, (query, results) in zip(figure.subplots(len(lines), columns, squeeze=False), lines):
        frames = [(query, "black", "query"), *((p, RIGHT if same else WRONG, None) for p, same in results)]
        for rank, (place, (picture, colour, title)) in enumerate(zip(line, frames)):
            place.imshow(picture)
            place.set_xticks([])
            place.set_yticks([])
            place.set_title(title or str(rank), fontsize=8, color=colour, pad=4)
            for side in place.spines.values():
                side.set_color(colour)
                side.set_linewidth(1 if title else 2.5)
        for place in line[len(frames) :]:
            place.set_axis_off()
    figures.save(figure, file)


def run(options):
    """Embed the test part, rank, draw; returns the exit status."""
    import numpy as np

    from gluon_cgd.datasets.cache import cached
    from gluon_cgd.evaluate import embedded

    if min(options.queries, options.k) < 1:
        raise ValueError(f"--queries {options.queries} and -k {options.k} must be at least 1")
    net, experiment, split, ctx, name = model.load(options)
    query, gallery = (part and cached(part, experiment.input_size) for part in split[1:])
    found = embedded(net, split, query, gallery, ctx)
    shown = query if gallery is None else gallery
    rows = np.random.default_rng(options.seed).permutation(len(query))[: options.queries]
    labels, gallery_labels = np.asarray(found[1]), np.asarray(found[1] if gallery is None else found[3])
    lines = []
    for row, nearest in zip(rows, ranked(found, gallery is None, rows, options.k)):
        lines.append((query[row], [(shown[i], gallery_labels[i] == labels[row]) for i in nearest]))
    told = f"{name}: {len(lines)} of {len(query):,} queries, drawn"
    draw(lines, told, options.out)
    right = np.mean([same for _, results in lines for _, same in results])
    print(
        f"{told}; {100 * right:.0f} % of the {options.k} results shown are of the query's class\nWritten: {options.out}"
    )
    return 0


def main(arguments=None):
    """Run the command line; returns the exit status."""
    options = parser().parse_args(arguments)
    return process.exit_status(lambda: run(options))
