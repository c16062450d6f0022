"""A map of the test pictures by their embeddings, with thumbnails: python visualize/embedding.py"""

if __name__ == "__main__":  # started by its path: go on as a module of the project
    import _signal  # `signal` takes longer to import than all that comes before

    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # until the program runs, Ctrl-C ends it without a traceback
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from gluon_cgd.machine import process

    sys.exit(process.run_module("visualize.embedding", __file__))


from pathlib import Path

import numpy as np

from gluon_cgd.commands.options import main_of
from gluon_cgd.commands.output import say
from gluon_cgd.files import figures
from gluon_cgd.machine import facts
from visualize import model

SIZE = 11, 8  # inches
SIDES = 22, 60  # points of the longer side of a thumbnail, at least and at most
IN_A_COLUMN = 40  # classes in a column of the legend
BESIDE = 3  # inches of the width that the legend may take; a wider one makes the figure wider


def add_flags(p):
    """The flags of this script."""
    p.add_argument("--method", choices=("pca", "tsne"), default="pca", help="tsne needs scikit-learn (default pca)")
    p.add_argument("--classes", type=int, default=12, metavar="N", help="number of random classes (default 12)")
    p.add_argument("--seed", type=int, default=0, help="draws the classes and starts t-SNE (default 0)")
    model.add_flags(p, "embedding.png")


def flattened(embedding, method, seed=0):
    """Places (N, 2) of the embeddings (N, D), by principal components ("pca") or t-SNE ("tsne").

    Raises ValueError for fewer than 3 embeddings, and ImportError for t-SNE without scikit-learn.
    """
    if len(embedding) < 3:
        raise ValueError(f"{len(embedding)} pictures make no map: take more --classes")
    if method == "pca":
        centred = embedding - embedding.mean(axis=0)
        return centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ImportError(
            f"t-SNE needs scikit-learn: {facts.install('requirements-extra.txt')}, or take --method pca"
        ) from error
    perplexity = min(30, (len(embedding) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(embedding.astype(np.float32))


def draw(places, pictures, labels, title, file, class_name=str):
    """Draw a thumbnail of each of `pictures`, uint8 (N, H, W, 3), at its place (N, 2), framed in its class's colour.

    The legend names the classes, with their number of pictures; class_name: a function from labels to names. Two
    classes of one colour differ in the line of their frames. Thumbnails are as large as their number allows.
    """
    from matplotlib import colormaps
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage
    from matplotlib.patches import Patch

    numbers = dict(zip(*np.unique(labels, return_counts=True)))
    names = [f"{class_name(label)} ({count})" for label, count in numbers.items()]
    columns = -(-len(names) // IN_A_COLUMN)
    legend = columns * (max(map(len, names)) * 8 * figures.LETTER / 72 + 0.6)  # inches
    figure = figures.empty(SIZE[0] + max(0, legend - BESIDE), SIZE[1])
    axes = figure.add_subplot()
    axes.scatter(*places.T, s=1)  # sets the limits
    side, handles = thumbnail_side(len(pictures)), []
    for number, label in enumerate(numbers):
        style = dict(edgecolor=colormaps["tab20"](number % 20), linewidth=2.5)
        style["linestyle"] = ("solid", "dashed", "dotted")[number // 20 % 3]
        rows = np.flatnonzero(labels == label)
        for row in rows:
            thumbnail = OffsetImage(pictures[row], zoom=side / max(pictures[row].shape[:2]))
            axes.add_artist(AnnotationBbox(thumbnail, places[row], pad=0.1, bboxprops=style))
        handles.append(Patch(facecolor="none", label=str(number), **style))
    axes.margins(0.05)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=9)
    shown = figure.legend(handles=handles, loc="outside right upper", fontsize=8, frameon=False, ncol=columns)
    for text, name in zip(shown.get_texts(), names):
        text.set_text(name)  # matplotlib leaves out a label that begins with _
    figures.save(figure, file)


def thumbnail_side(count):
    """Points of the longer side of each of `count` thumbnails: together they cover at most a third of the map."""
    return float(np.clip(72 * np.sqrt(SIZE[0] * SIZE[1] / 3 / count), *SIDES))


def folders_of(records):
    """{label: name} of benchmarks' classes: of their folders, or "class 99" where several share one."""
    folders = {}
    for record in records:
        folders.setdefault(record.label, set()).add(Path(record.path).parent.name)
    own = len(set.union(*folders.values())) == len(folders) and all(len(names) == 1 for names in folders.values())
    return {label: names.pop() if own else f"class {label}" for label, names in folders.items()}


def run(options):
    """Embed some classes of the test part, flatten their embeddings and draw."""
    from gluon_cgd import datasets
    from gluon_cgd.datasets.cache import cached
    from gluon_cgd.evaluate import compute_named, paths_of

    if not 0 <= options.seed < 2**31:
        raise ValueError(f"--seed {options.seed} must be from 0 to 2147483647")
    if options.classes < 1:
        raise ValueError(f"--classes {options.classes} must be at least 1")
    trained, split, name = model.open_test_set(options)
    labels = np.array([record.label for record in split.query])
    chosen = np.random.default_rng(options.seed).permutation(np.unique(labels))[: options.classes]
    rows = np.flatnonzero(np.isin(labels, chosen))
    records = [split.query[row] for row in rows]
    pictures = cached(records, trained.input_size)
    places = flattened(compute_named(trained.embed, pictures, paths_of(records)), options.method, options.seed)
    title = f"{name}: {len(rows)} test pictures of {len(chosen)} classes"
    names = datasets.class_names(options.dataset or trained.experiment.dataset)
    class_name = (names or folders_of(records)).__getitem__
    draw(places, pictures, labels[rows], f"{title}, {options.method}", options.out, class_name)
    say(f"{title}\nWritten: {options.out}")


main = main_of(__doc__, add_flags, run)
