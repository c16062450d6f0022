"""Plots of runs: their recalls beside the published ones, and their recall during training."""

import numpy as np

from gluon_cgd.files.figures import DASHES, LINES, OURS, PUBLISHED, empty, plain

FEWEST = 3  # evaluations that make a curve


def dots(panels, median=False):
    """The Figure with one dot for each run, and a dash at their mean, or with `median` at their median.

    panels: {title: [(row, recall in % of each run, published `tables.Cell` or None), ...]}.
    """
    lengths = [len(rows) for rows in panels.values()]
    figure = empty(6.4, 0.6 + sum(0.55 + 0.3 * length for length in lengths))
    grid = figure.subplots(len(panels), squeeze=False, gridspec_kw={"height_ratios": lengths})
    for axes, (title, rows) in zip(grid[:, 0], panels.items()):
        for place, (_, values, published) in enumerate(rows):
            if published:
                bar = dict(xerr=published.std or None, fmt="D", markersize=5, capsize=3)
                axes.errorbar(published.mean, place - 0.2, color=PUBLISHED, **bar)
            if values:
                heights = place + 0.17 + np.linspace(-0.1, 0.1, len(values)) * (len(values) > 1)
                axes.plot(values, heights, "o", color=OURS, markersize=4.5, alpha=0.75, markeredgewidth=0)
                middle = np.median(values) if median else np.mean(values)
                axes.plot([middle, middle], [place - 0.02, place + 0.36], color="black", linewidth=1.5)
        axes.set_yticks(range(len(rows)), [row for row, _, _ in rows], fontsize=9)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        plain(axes, grid="x")
        for place in range(1, len(rows)):
            axes.axhline(place - 0.5, color="0.9", linewidth=0.8, zorder=0)
        axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel("Recall@1 (%)", fontsize=9)
    dash = "their median" if median else "their mean"
    legend = [("o", OURS, "a run of ours"), ("|", "black", dash), ("D", PUBLISHED, "published (bar: ± std)")]
    if not any(published for rows in panels.values() for _, _, published in rows):
        del legend[2]
    handles = [axes.plot([], [], mark, color=colour, markersize=5, label=text)[0] for mark, colour, text in legend]
    figure.legend(handles=handles, loc="outside upper left", ncol=3, frameon=False, fontsize=9)
    return figure


def curves(results):
    """The Figure of Recall@1 on the test set over the iterations, one line for each run, from its `history`.

    Each evaluation has a dot: between two of them nothing was measured.
    """
    figure = empty(5.8, 2.5)
    axes = figure.subplots()
    for number, result in enumerate(results):
        iterations = [entry["iteration"] for entry in result["history"]]
        recalls = [100 * entry["recall"]["R@1"] for entry in result["history"]]
        style = dict(color=LINES[number % len(LINES)], linestyle=DASHES[number // len(LINES) % len(DASHES)])
        axes.plot(iterations, recalls, marker="o", markersize=3, linewidth=1.5, label=f"seed {result['seed']}", **style)
    plain(axes, "iteration", "Recall@1 (%)")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8, ncol=-(-len(results) // 12))
    return figure
