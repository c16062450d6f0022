"""Draws Figure 4: pairs of pictures under their heatmaps, and how far the heatmaps spread."""

from typing import NamedTuple

import numpy as np

from gluon_cgd.files import figures
from visualize.ranking import RIGHT, WRONG


class Panel(NamedTuple):
    """A query and a result, uint8 (H, W, 3), with their heatmaps (h, w); same: whether both are of one class."""

    title: str
    query: np.ndarray
    result: np.ndarray
    map1: np.ndarray
    map2: np.ndarray
    same: bool


def draw_grid(lines, file):
    """Draw `lines` of Panels into `file`, a row for each result and a column for each configuration.

    The result's frame is green if it has the query's class and red if not.
    """
    columns = len(lines[0])
    figure = figures.empty(4.3 * columns, 2.35 * len(lines))
    subfigures = figure.subfigures(len(lines), columns, squeeze=False, wspace=0.04, hspace=0.04)
    for line, parts in zip(lines, subfigures):
        for panel, part in zip(line, parts):
            part.suptitle(panel.title, fontsize=8)
            pair = part.subplots(1, 2)
            figures.heatmaps(pair, (panel.query, panel.result), (panel.map1, panel.map2))
            for axes, colour in zip(pair, ("black", RIGHT if panel.same else WRONG)):
                figures.frame(axes, colour, 3)
    figures.save(figure, file)


def draw_spreads(spreads, file):
    """Draw histograms of the entropy and of the share of positions, `spreads` = {"SPoC": (n, 2), "MAC": (n, 2)}."""
    figure = figures.empty(8, 2.8)
    names = ("entropy of the map (1: all positions alike)", "share of positions that make 90 %")
    for i, (axes, name) in enumerate(zip(figure.subplots(1, 2), names)):
        for (descriptor, values), colour in zip(spreads.items(), ("tab:blue", "tab:orange")):
            axes.hist(values[:, i], bins=np.linspace(0, 1, 41), alpha=0.6, color=colour, label=descriptor)
        axes.set_xlabel(name, fontsize=9)
        axes.set_ylabel("pairs")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncol=2, frameon=False)
    figures.save(figure, file)
