"""Draws Figure 4: pairs of pictures under their heatmaps, and how far the heatmaps spread."""

from typing import NamedTuple

import numpy as np

from gluon_cgd.files import figures, heatmaps
from visualize.ranking import RIGHT, WRONG


class Panel(NamedTuple):
    """A query and a result, uint8 (H, W, 3), with their heatmaps (h, w); same: whether both are of one class."""

    title: str
    query: np.ndarray
    result: np.ndarray
    map1: np.ndarray
    map2: np.ndarray
    same: bool


NOTE = """\
One row for each model's first result, beside the query: SM_R1 is the first result of SM. One column for each model
that sees the pair: the rank that it gives the result, and the cosine. Green frame: the query's class, red: another one.
Bright: adds much to the cosine, half of it inside the white line. The bar says how much a position adds to it."""


def draw_grid(lines, file):
    """Draw `lines` of Panels into `file`, a row for each result and a column for each configuration.

    The result's frame is green if it has the query's class and red if not. Each pair of maps has its own scale, from 0
    or the lowest value to the highest one; a bar beside it says which.
    """
    columns = len(lines[0])
    figure = figures.empty(4.7 * columns, 2.35 * len(lines) + 0.65)
    figure.supxlabel(NOTE, fontsize=9)
    subfigures = figure.subfigures(len(lines), columns, squeeze=False, wspace=0.04, hspace=0.04)
    for line, parts in zip(lines, subfigures):
        for panel, part in zip(line, parts):
            part.suptitle(panel.title, fontsize=8)
            pair = part.subplots(1, 2)
            heatmap = heatmaps.draw(pair, (panel.query, panel.result), (panel.map1, panel.map2))
            bar = part.colorbar(
                heatmap, ax=pair, shrink=0.7, aspect=12, pad=0.02, ticks=heatmap.get_clim(), format="%.3f"
            )
            bar.ax.tick_params(labelsize=8)
            for axes, colour in zip(pair, ("black", RIGHT if panel.same else WRONG)):
                figures.frame(axes, colour, 3)
    figures.save(figure, file)


def draw_spreads(spreads, differences, file):
    """Draw how far the maps are spread, in curves, and by how much the gap of SPoC and MAC differs from the controls'.

    spreads, differences: of `reproduce.figure4.Measured` and `reproduce.verdicts.figure4.differences`.
    """
    figure = figures.empty(8, 4)
    names = ("entropy of the map (1: all positions alike)", "share of positions that make 90 %")
    above, below = figure.subplots(2, 2, gridspec_kw={"height_ratios": (3, 1)})
    for i, (axes, name) in enumerate(zip(above, names)):
        for network, dash in (("trained", "solid"), ("untrained", "dashed")):
            for descriptor, colour in (("SPoC", figures.OURS), ("MAC", figures.PUBLISHED)):
                values = np.sort(spreads[network][descriptor][:, i])
                heights = 100 * np.arange(1, len(values) + 1) / len(values)
                style = dict(color=colour, linestyle=dash, linewidth=1.5)
                axes.step(
                    np.r_[0, values, 1], np.r_[0, heights, 100], where="post", label=f"{descriptor}, {network}", **style
                )
        axes.set_xlim(0, 1)
        figures.plain(axes, name, "pairs up to there (%)")
    labels = {"untrained": "trained - untrained", "shuffled": "one class - two classes"}
    for i, axes in enumerate(below):
        for place, control in enumerate(labels):
            mean, low, high = differences[control][i]
            bar = dict(xerr=[[max(0, mean - low)], [max(0, high - mean)]], fmt="o", color="black")
            axes.errorbar(mean, place, markersize=4, capsize=3, **bar)
        axes.axvline(0, color="0.6", linewidth=0.8)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.locator_params(axis="x", nbins=5)
        figures.plain(axes, "the gap of SPoC and MAC: difference, 95 %", grid="x")
        axes.set_yticks(range(len(labels)), labels.values() if i == 0 else [""] * len(labels), fontsize=8)
    figure.legend(*above[0].get_legend_handles_labels(), loc="outside upper center", ncol=4, frameon=False, fontsize=9)
    figures.save(figure, file)
