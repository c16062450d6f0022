"""Figures: `check` refuses a bad file name before anything is computed; the other functions draw and save.

matplotlib is imported where it is used: most commands draw nothing.
"""

import os
import textwrap
import warnings
from importlib.util import find_spec
from pathlib import Path

from gluon_cgd.files.printable import printable
from gluon_cgd.files.whole import check_target, may_write, replacing

SUFFIXES = (".png", ".pdf", ".svg")
DPI = 150
LARGEST = 65000  # pixels of a side; matplotlib draws up to 65,535
LETTER = 0.62  # of its size, the width of a letter
# Colours of Okabe and Ito, which colour-blind people can tell apart
OURS, PUBLISHED = "#0072b2", "#d55e00"
LINES = (OURS, PUBLISHED, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)))


def check(flag, file, inputs=()):
    """Raise ValueError if no figure can be written to `file`, the value of `flag`; ImportError without matplotlib.

    inputs: files that are read, and may not be overwritten.
    """
    if Path(file).suffix not in SUFFIXES:
        raise ValueError(f"{flag} {file} must end with {', '.join(SUFFIXES)}")
    if Path(file).is_dir():
        raise ValueError(f"{flag} {file} is a folder: name a file in it")
    if not Path(file).parent.is_dir():
        raise ValueError(f"{flag} {file} cannot be written: there is no folder {Path(file).parent}, make it first")
    check_target(file)
    if not may_write(Path(file).parent):
        rule = f"this user may not write into {Path(file).parent}"
        raise ValueError(f"{flag} {file} cannot be written: {rule}, name a file in another folder")
    for source in inputs:
        if os.path.exists(file) and os.path.exists(source) and os.path.samefile(file, source):
            raise ValueError(f"{flag} {file} would overwrite {source}, which is read: name another file")
    if find_spec("matplotlib") is None:
        raise ImportError(f"{flag} needs matplotlib: python -m pip install matplotlib")


def save(figure, file):
    """Write a matplotlib figure to `file`; its suffix decides the format. Its texts are drawn as they are.

    A letter that the font lacks becomes a box. A figure of many inches has fewer pixels in each.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a $ in a name does not begin a formula
        text.set_text(printable(text.get_text(), lines=True))
    with replacing(file) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        dpi = min(DPI, LARGEST / max(figure.get_size_inches()))
        figure.savefig(temporary, dpi=dpi, format=Path(file).suffix[1:])


def empty(width, height):
    """A matplotlib Figure of `width` x `height` inches that needs no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def fitted(text, width, size):
    """`text` in lines that fit into `width` inches, in letters of `size` points."""
    return textwrap.fill(text, max(1, int(72 * width / (LETTER * size))))


def plain(axes, x="", y="", grid="both"):
    """Label the axes of a plot `x` and `y`, draw the `grid` ("x", "y" or "both"), and remove what it does not need."""
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=9)
    axes.grid(axis=grid, color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def frame(axes, colour="black", width=0.8):
    """Remove the ticks of `axes`, which show a picture, and give them a frame of this colour and line width."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(colour)
    axes.spines[:].set_linewidth(width)
