"""The picture of a model's card: its losses, its recall, and which classes it confuses."""

import warnings

from gluon_cgd.cards import confusion
from gluon_cgd.files.figures import DASHES, LINES, empty, plain, save

LARGEST = 30  # classes in a heat map; with more, bars show the most confused pairs
PAIRS = 15
LONGEST = 24  # characters of a class's name


def draw(losses, history, pairs, class_name, file, where=""):
    """Draw into the PNG `file`.

    losses: {iteration: {"ranking": mean, ...}}, {} without a log.  history: that of a result.  pairs: as
    `confusion.pairs` returns them.  class_name: a function from labels to names.  where: in what the test pictures of
    `pairs` are searched, in words, if not as for the recall.
    """
    import matplotlib

    labels = sorted({label for pair in pairs for label in pair})
    few = len(labels) <= LARGEST
    lines = len(labels) if few else PAIRS
    # A $ in a class's name does not begin a formula; a letter that the font lacks is drawn as a box
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure = empty(9.5 + 0.06 * lines, max(4.6, 1.8 + 0.17 * lines))
        curves, right = figure.subfigures(1, 2, width_ratios=(1, 1.3))
        upper, lower = curves.subplots(2, 1, sharex=True)
        draw_losses(upper, losses)
        draw_recall(lower, history)
        if where:
            lower.set_title("among the test pictures (the paper's protocol)", fontsize=8, loc="left")
        if few:
            heat_map(right.subplots(), [cut(class_name(label)) for label in labels], confusion.matrix(pairs)[1], where)
        else:
            bars(right.subplots(), confusion.most_confused(pairs, PAIRS), class_name, where)
        save(figure, file)


def draw_losses(axes, losses):
    """One line for each loss; a point is the mean since the point before."""
    plain(axes, y="loss")
    for number, name in enumerate(dict.fromkeys(name for terms in losses.values() for name in terms)):
        points = [(at, terms[name]) for at, terms in losses.items() if name in terms]
        style = dict(color=LINES[number], marker="o" * (len(points) == 1) or None, linewidth=1.5, label=name)
        axes.plot(*zip(*points), **style)
    if losses:
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=8)
    else:
        axes.text(0.5, 0.5, "train.log is not there", transform=axes.transAxes, ha="center", fontsize=8, color="0.35")


def draw_recall(axes, history):
    """Recall@K of the whole model, and Recall@1 of its branches in dashes."""
    plain(axes, "iteration", "recall (%)")
    steps = [entry["iteration"] for entry in history]
    for number, k in enumerate(history[-1]["recall"] if history else ()):
        values = [100 * entry["recall"][k] for entry in history]
        axes.plot(steps, values, color=LINES[number % len(LINES)], linewidth=1.5, label=k)
    branches = history[-1].get("branches", {}) if history else {}
    for number, name in enumerate(branches if len(branches) > 1 else ()):
        values = [100 * entry["branches"][name]["R@1"] for entry in history]
        axes.plot(steps, values, color="0.4", linestyle=DASHES[1 + number % 2], linewidth=1, label=f"R@1 {name}")
    axes.set_ylim(0, 100)
    if history:
        axes.legend(frameon=False, fontsize=7, ncol=2, loc="best")


def heat_map(axes, names, shares, where=""):
    """One row for each class, one column for each class of the nearest picture; where: see `draw`."""
    drawn = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    places, size = range(len(names)), 8 if len(names) <= 15 else 6
    axes.set_xticks(places, names, rotation=90, fontsize=size)
    axes.set_yticks(places, names, fontsize=size)
    if len(names) <= 12:
        for row, values in enumerate(shares):
            for column, value in enumerate(values):
                if value:
                    colour = "white" if value > 0.5 else "black"
                    axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=7, color=colour)
    title = "Of the pictures of a class (line), the nearest is of (column), %"
    axes.set_title(f"{title}\n{where}".strip(), fontsize=9, loc="left")
    bar = axes.figure.colorbar(drawn, ax=axes, shrink=0.7, pad=0.02)
    bar.ax.tick_params(labelsize=7)


def bars(axes, confused, class_name, where=""):
    """One bar for each of the most confused pairs of classes; where: see `draw`."""
    plain(axes, "of the class's pictures (%)")
    shares = [100 * times / size for _, _, times, size in confused]
    drawn = axes.barh(range(len(confused)), shares, color=LINES[0], height=0.7)
    axes.bar_label(drawn, [f"{times} of {size}" for _, _, times, size in confused], fontsize=7, padding=2)
    pairs = [f"{cut(class_name(own))} → {cut(class_name(other))}" for own, other, _, _ in confused]
    axes.set_yticks(range(len(confused)), pairs, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3 * max(shares, default=100))
    title = "Class → class of its nearest picture, most often wrong"
    axes.figure.suptitle(f"{title}\n{where}".strip(), fontsize=9)


def cut(name):
    """`name`, shortened in the middle if it is long: the names of a collection often begin alike."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[1 - LONGEST // 2 :]}"
