"""Draws Figure 4: pairs of pictures under their heatmaps, and how far the maps are spread."""

from typing import NamedTuple

import numpy as np

from gluon_cgd.files import figures
from gluon_cgd.files.figures import grey
from visualize.ranking import RIGHT, WRONG


class Panel(NamedTuple):
    """A query and a result, uint8 (H, W, 3), with their maps (h, w), and whether they are of one class."""

    title: str
    query: np.ndarray
    result: np.ndarray
    map1: np.ndarray
    map2: np.ndarray
    same: bool


def draw_grid(lines, file):
    """A line of panels a result, a column a configuration; frames are green for the same class and red for another."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = len(lines[0])
    figure = Figure(figsize=(4.3 * columns, 2.35 * len(lines)), layout="constrained")
    FigureCanvasAgg(figure)
    inner = figure.subfigures(len(lines), columns, squeeze=False, wspace=0.04, hspace=0.04)
    for line, parts in zip(lines, inner):
        for panel, part in zip(line, parts):
            part.suptitle(panel.title, fontsize=8)
            low = min(0, panel.map1.min(), panel.map2.min())
            high = max(panel.map1.max(), panel.map2.max(), 1e-9)
            axes = part.subplots(1, 2)
            for place, picture, heat, colour in zip(
                axes, (panel.query, panel.result), (panel.map1, panel.map2), ("black", RIGHT if panel.same else WRONG)
            ):
                height, width = picture.shape[:2]
                extent = (0, width, height, 0)
                place.imshow(grey(picture), extent=extent)
                place.imshow(
                    heat, extent=extent, cmap="viridis", vmin=low, vmax=high, alpha=0.6, interpolation="bilinear"
                )
                place.set_xticks([])
                place.set_yticks([])
                for side in place.spines.values():
                    side.set_color(colour)
                    side.set_linewidth(3)
    figures.save(figure, file)


def draw_spreads(found, file):
    """Histograms of the entropy and of the share of positions, {"SPoC": (n, 2), "MAC": (n, 2)}."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.8), layout="constrained")
    FigureCanvasAgg(figure)
    names = ("entropy of the map (1: all positions alike)", "share of positions that make 90 %")
    for i, (place, what) in enumerate(zip(figure.subplots(1, 2), names)):
        for (name, values), colour in zip(found.items(), ("tab:blue", "tab:orange")):
            place.hist(values[:, i], bins=np.linspace(0, 1, 41), alpha=0.6, color=colour, label=name)
        place.set_xlabel(what, fontsize=9)
        place.set_ylabel("pairs")
    figure.legend(*place.get_legend_handles_labels(), loc="outside lower center", ncol=2, frameon=False)
    figures.save(figure, file)
