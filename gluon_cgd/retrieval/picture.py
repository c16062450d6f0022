"""Draws the result of a search: the query, then the results by rank with their cosines."""

from typing import NamedTuple, Optional, Tuple

import numpy as np

from gluon_cgd.files import figures

COLUMNS = 6


class Hit(NamedTuple):
    """One result of a search.

    picture: uint8 (H, W, 3), or None if it cannot be read.  maps: the heatmaps (h, w) of the query and of it.
    """

    cosine: float
    picture: Optional[np.ndarray]
    maps: Optional[Tuple[np.ndarray, np.ndarray]] = None


def draw(queries, hits, title, file):
    """Draw `queries` (pictures) and `hits` into `file`, COLUMNS in a row; heatmaps, if any, go below each hit."""
    tiles = [("query", picture, None) for picture in queries]
    tiles += [(f"{rank}   {hit.cosine:.3f}", hit.picture, hit.maps) for rank, hit in enumerate(hits, 1)]
    lines = -(-len(tiles) // COLUMNS)
    depth = 3 if any(maps for _, _, maps in tiles) else 1
    figure = figures.empty(1.5 * COLUMNS, 1.6 * lines * depth + 0.4)
    figure.suptitle(title, fontsize=8, color="0.35")
    grid = figure.subplots(lines * depth, COLUMNS, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    for number, (label, picture, maps) in enumerate(tiles):
        line, column = divmod(number, COLUMNS)
        axes, *below = grid[line * depth : (line + 1) * depth, column]
        axes.set_title(label, fontsize=8, pad=3)
        if picture is None:
            write(axes, "cannot be read")
            continue
        axes.imshow(picture)
        if maps:
            figures.heatmaps(below, (picture, queries[0]), maps[::-1])
    if depth > 1:  # the free places below the query explain the heatmaps
        for axes, name in zip(grid[1:3, 0], ("result", "query")):
            write(axes, f"what in the {name}\nmakes them alike\n(bright: most of it,\na scale for each result)")
    figures.save(figure, file)


def write(axes, text):
    """Write a small grey `text` into the middle of `axes`."""
    axes.text(0.5, 0.5, text, fontsize=7, ha="center", va="center", color="0.35")
