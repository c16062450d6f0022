"""Draws two pictures side by side under their heatmaps, in one row for each thing that is shown of them."""

from typing import NamedTuple

import numpy as np

from gluon_cgd.files import figures, heatmaps

LONGER = 3.6  # inches of the longer side of a photo
BAR = 1.0  # inches that a colour bar takes
NOTE = "The white line encloses the positions that make half of what is added. Each row has its own scale"


class Row(NamedTuple):
    """One pair of heatmaps (h, w). two_scales: whether each has a colour scale of its own."""

    title: str
    map1: np.ndarray
    map2: np.ndarray
    kind: heatmaps.Kind = heatmaps.ALIKE
    two_scales: bool = False


def draw(photos, cosine, rows, rectangle, show_sum, caption, file):
    """Draw `photos` under the heatmaps of each of the Rows into `file`.

    rectangle: what to mark in the query, or None.  caption: what the model is.
    """
    sizes = [shown_size(photo) for photo in photos]  # (width, height) of each
    widths = [width + BAR * (rows[0].two_scales or i) for i, (width, _) in enumerate(sizes)]
    height = max(1.3, *(height for _, height in sizes)) + 0.75
    width = max(6.4, sum(widths) + 0.4)
    caption = figures.fitted(caption, width - 0.2, 7)
    more = (caption.count("\n") + 1) // 2  # lines of the title that the other lines of the caption take
    figure = figures.empty(width, 1.1 + 0.22 * more + height * len(rows))
    figure.suptitle(f"cosine {cosine:.4f}\n" + "\n" * more, fontsize=13)
    figure.text(0.5, 1 - 0.36 / figure.get_figheight(), caption, ha="center", va="top", fontsize=7, color="0.35")
    figure.supxlabel(f"{NOTE}{', and so has each photo' * rows[0].two_scales}.", fontsize=8, color="0.35")
    grid = figure.subplots(len(rows), 2, squeeze=False, width_ratios=[width for width, _ in sizes])
    for pair, row in zip(grid, rows):
        draw_row(figure, pair, photos, row)
        for axes, heat, name in zip(pair, (row.map1, row.map2), ("query", "result")):
            axes.set_xlabel(name + f"\nsum {heat.sum():.4f}" * show_sum, fontsize=9)
        if rectangle:
            mark(pair[0], rectangle)
    figures.save(figure, file)


def shown_size(photo):
    """(width, height) in inches at which a photo is drawn: its longer side LONGER, strips stretched."""
    proportion = heatmaps.stretch(photo) * photo.shape[0] / photo.shape[1]
    return (LONGER / proportion, LONGER) if proportion > 1 else (LONGER, LONGER * proportion)


def draw_row(figure, pair, photos, row):
    """Draw the heatmaps of a Row into the `pair` of axes, with their colour bars."""
    maps = row.map1, row.map2
    parts = [([axes], [photo], [heat]) for axes, photo, heat in zip(pair, photos, maps)] if row.two_scales else None
    for axes, shown, heats in parts or [(pair, photos, maps)]:
        scale = heatmaps.draw(axes, shown, heats, row.kind)
        bar = figure.colorbar(scale, ax=list(axes), shrink=0.8, aspect=16)
        bar.set_label(f"what a position {row.kind.meaning}", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    for axes in pair:
        figures.frame(axes)
    pair[0].set_title(row.title, fontsize=10, loc="left")


def mark(axes, rectangle):
    """Mark the `rectangle` (x1, y1, x2, y2) in `axes`, red on white, so that it is seen on every photo."""
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = rectangle
    for colour, width in (("white", 4), ("red", 2)):
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=width))
