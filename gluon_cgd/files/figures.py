"""Figures: their files are checked before anything is computed and written whole; how they look is decided here."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from gluon_cgd.files.whole import replacing

SUFFIXES = (".png", ".pdf", ".svg")


def check(flag, file):
    """Raise ValueError where `flag` names a `file` that no figure can be written to, ImportError without what draws."""
    if Path(file).suffix not in SUFFIXES:
        raise ValueError(f"{flag} {file} must end with {', '.join(SUFFIXES)}")
    if Path(file).is_dir():
        raise ValueError(f"{flag} {file} is a folder: name a file in it")
    if not Path(file).parent.is_dir():
        raise ValueError(f"{flag} {file} is to be written into {Path(file).parent}, which is no folder: make it first")
    if find_spec("matplotlib") is None:
        raise ImportError(f"{flag} needs matplotlib: python -m pip install matplotlib")


def save(figure, file):
    """Write a figure of matplotlib to `file`, as its ending says."""
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=150, format=Path(file).suffix[1:])


# Okabe and Ito's colours, which colour-blind people tell apart
OURS, PUBLISHED = "#0072b2", "#d55e00"
LINES = (OURS, PUBLISHED, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)))


def empty(width, height):
    """A Figure of `width` x `height` inches, without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain(axes, x, y):
    """Name the axes `x` and `y`, and take from `axes` what a plot of lines does not need."""
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=9)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def grey(photo):
    """`photo` (H, W, 3) without its colours, so that all colour in the picture is the map's."""
    return np.repeat((photo @ np.array([0.299, 0.587, 0.114]))[..., None], 3, axis=2).astype(np.uint8)
