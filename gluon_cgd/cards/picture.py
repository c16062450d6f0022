"""The picture of a model's card: its losses, its recall, and which classes it confuses."""

import textwrap

from gluon_cgd.cards import confusion
from gluon_cgd.files.figures import DASHES, LINES, empty, plain, save
from gluon_cgd.files.printable import printable

LARGEST = 30  # classes in a heat map; with more, bars show the most confused pairs
PAIRS = 15
LINE, MOST_LINES = 26, 3  # characters of a line of a class's name, and lines of it
CELL = 0.27  # inches of a class in the heat map
CURVES = 4.2  # inches of the width of the curves
DOTS = 3  # evaluations from which on a line is drawn through them: two are before and after


def draw(losses, history, pairs, class_name, file, where=""):
    """Draw into the PNG `file`.

    losses: {iteration: {"ranking": mean, ...}}, {} without a log.  history: that of a result.  pairs: as
    `confusion.pairs` returns them.  class_name: a function from labels to names.  where: in what the test pictures of
    `pairs` are searched, in words, if not as for the recall.
    """
    import matplotlib

    labels = sorted({label for pair in pairs for label in pair})
    few = len(labels) <= LARGEST
    # Here and not by `save`: matplotlib writes the labels of ticks anew when it draws
    names = {label: wrapped(printable(class_name(label))) for label in labels}
    longest = max((len(line) for name in names.values() for line in name.split("\n")), default=1)
    text = 0.065 * longest + 0.3  # inches of the longest line
    thickest = max((name.count("\n") + 1 for name in names.values()), default=1)
    if few:
        cell = max(CELL, 0.13 * thickest)
        side = max(3.0, cell * len(labels))
        width, height = side + text + 1, side + text + 0.8
    else:
        width, height = 5.5, 1 + PAIRS * max(0.25, 0.28 * thickest)
    with matplotlib.rc_context({"text.parse_math": False}):  # a $ in a class's name does not begin a formula
        figure = empty(CURVES + width, max(4.6, height))
        curves, right = figure.subfigures(1, 2, width_ratios=(CURVES, width))
        upper, lower = curves.subplots(2, 1, sharex=True)
        draw_losses(upper, losses)
        draw_recall(lower, history)
        if where:
            lower.set_title("among the test pictures (the paper's protocol)", fontsize=8, loc="left")
        if few:
            heat_map(right.subplots(), [names[label] for label in labels], confusion.matrix(pairs)[1], where)
        else:
            bars(right.subplots(), confusion.most_confused(pairs, PAIRS), names, where)
        save(figure, file)


def way(points):
    """How a curve is drawn: a dot at each of its `points`, and a line through them if they are more than two."""
    return dict(marker="o", markersize=3.5, linewidth=1.3, linestyle="solid" if len(points) >= DOTS else "none")


def draw_losses(axes, losses):
    """One line for each loss; a point is the mean since the point before."""
    plain(axes, y="loss")
    for number, name in enumerate(dict.fromkeys(name for terms in losses.values() for name in terms)):
        points = [(at, terms[name]) for at, terms in losses.items() if name in terms]
        axes.plot(*zip(*points), color=LINES[number], label=name, **way(points))
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
        axes.plot(steps, values, color=LINES[number % len(LINES)], label=k, **way(steps))
    branches = history[-1].get("branches", {}) if history else {}
    for number, name in enumerate(branches if len(branches) > 1 else ()):
        values = [100 * entry["branches"][name]["R@1"] for entry in history]
        style = dict(way(steps), linewidth=1, marker="ds"[number % 2], markerfacecolor="none")
        style["linestyle"] = DASHES[1 + number % 2] if len(steps) >= DOTS else "none"
        axes.plot(steps, values, color="0.4", label=f"R@1 {name}", **style)
    axes.set_ylim(0, 100)
    if history:
        axes.legend(frameon=False, fontsize=7, ncol=2, loc="best")


def heat_map(axes, names, shares, where=""):
    """One row for each class, one column for each class of the nearest picture; where: see `draw`."""
    drawn = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    places, size = range(len(names)), 8 if len(names) <= 12 else 7
    axes.set_xticks(places, names, rotation=90, fontsize=size)
    axes.set_yticks(places, names, fontsize=size)
    for row, column in zip(*shares.nonzero()):
        share, style = shares[row, column], dict(ha="center", va="center", fontsize=7)
        axes.text(column, row, f"{100 * share:.0f}", color="white" if share > 0.5 else "black", **style)
    title = "Of the pictures of a class (line), the nearest is of (column), %"
    axes.set_title(f"{title}\n{where}".strip(), fontsize=9, loc="left")
    bar = axes.figure.colorbar(drawn, ax=axes, shrink=0.7, pad=0.02)
    bar.ax.tick_params(labelsize=7)


def bars(axes, confused, names, where=""):
    """One bar for each of the most confused pairs of classes; names: {label: name}; where: see `draw`."""
    plain(axes, "of the class's pictures (%)")
    shares = [100 * times / size for _, _, times, size in confused]
    drawn = axes.barh(range(len(confused)), shares, color=LINES[0], height=0.7)
    axes.bar_label(drawn, [f"{times} of {size}" for _, _, times, size in confused], fontsize=7, padding=2)
    pairs = [
        f"{names[own]} →\n{names[other]}" if "\n" in names[own] + names[other] else f"{names[own]} → {names[other]}"
        for own, other, _, _ in confused
    ]
    axes.set_yticks(range(len(confused)), pairs, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3 * max(shares, default=100))
    title = "Class → class of its nearest picture, most often wrong"
    axes.figure.suptitle(f"{title}\n{where}".strip(), fontsize=9)


def wrapped(name):
    """`name` in lines of at most LINE characters, broken between words where it can be; the MOST_LINES-th ends it."""
    return "\n".join(textwrap.wrap(name, LINE, max_lines=MOST_LINES, placeholder=" …")) or name
