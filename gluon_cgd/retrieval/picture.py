"""Draws what a search found: the query, and the results by rank with their cosines."""

from typing import NamedTuple, Optional, Tuple

import numpy as np

from gluon_cgd.files import figures
from gluon_cgd.files.figures import grey

COLUMNS = 6


class Hit(NamedTuple):
    """A result: its picture, uint8 (H, W, 3), or None where it cannot be read; (query's map, its map), each (h, w)."""

    cosine: float
    picture: Optional[np.ndarray]
    maps: Optional[Tuple[np.ndarray, np.ndarray]] = None


def draw(queries, hits, told, file):
    """Queries first, then `hits`, COLUMNS a line; below a hit with maps itself and the query under their heatmaps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tiles = [("query", picture, None) for picture in queries]
    tiles += [(f"{rank}   {hit.cosine:.3f}", hit.picture, hit.maps) for rank, hit in enumerate(hits, 1)]
    lines = -(-len(tiles) // COLUMNS)
    depth = 3 if any(maps for _, _, maps in tiles) else 1
    figure = Figure(figsize=(1.5 * COLUMNS, 1.6 * lines * depth + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(told, fontsize=8, color="0.35")
    axes = figure.subplots(lines * depth, COLUMNS, squeeze=False)
    for place in axes.ravel():
        place.set_axis_off()
    for number, (title, picture, maps) in enumerate(tiles):
        line, column = divmod(number, COLUMNS)
        place = axes[line * depth, column]
        place.set_title(title, fontsize=8, pad=3)
        if picture is None:
            place.text(0.5, 0.5, "cannot be read", fontsize=7, ha="center", va="center", color="0.35")
            continue
        place.imshow(picture)
        if maps:
            low, high = min(0, *(heat.min() for heat in maps)), max(1e-9, *(heat.max() for heat in maps))
            below = ((picture, maps[1]), (queries[0], maps[0]))
            for place, (under, heat) in zip(axes[line * depth + 1 : line * depth + 3, column], below):
                extent = (0, under.shape[1], under.shape[0], 0)
                style = dict(cmap="viridis", vmin=low, vmax=high, alpha=0.6, interpolation="bilinear")
                place.imshow(grey(under), extent=extent)
                place.imshow(heat, extent=extent, **style)
    if depth > 1:  # below the one query there is room to say what the maps are
        for place, picture in zip(axes[1:3, 0], ("result", "query")):
            text = f"what in the {picture}\nmakes them alike"
            place.text(0.5, 0.5, text, fontsize=7, ha="center", va="center", color="0.35")
    figures.save(figure, file)
