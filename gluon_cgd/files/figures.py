"""Figures: `check` refuses a bad file name before anything is computed; the other functions draw and save.

matplotlib is imported where it is used: most commands draw nothing.
"""

from importlib.util import find_spec
from pathlib import Path

from gluon_cgd.files.printable import printable
from gluon_cgd.files.whole import replacing

SUFFIXES = (".png", ".pdf", ".svg")
# Colours of Okabe and Ito, which colour-blind people can tell apart
OURS, PUBLISHED = "#0072b2", "#d55e00"
LINES = (OURS, PUBLISHED, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)))


def check(flag, file):
    """Raise ValueError if no figure can be written to `file`, the value of `flag`; ImportError without matplotlib."""
    if Path(file).suffix not in SUFFIXES:
        raise ValueError(f"{flag} {file} must end with {', '.join(SUFFIXES)}")
    if Path(file).is_dir():
        raise ValueError(f"{flag} {file} is a folder: name a file in it")
    if not Path(file).parent.is_dir():
        raise ValueError(f"{flag} {file} cannot be written: there is no folder {Path(file).parent}, make it first")
    if find_spec("matplotlib") is None:
        raise ImportError(f"{flag} needs matplotlib: python -m pip install matplotlib")


def save(figure, file):
    """Write a matplotlib figure to `file`; its suffix decides the format. Its texts are drawn as they are."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a $ in a name does not begin a formula
        text.set_text(printable(text.get_text(), lines=True))
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=150, format=Path(file).suffix[1:])


def empty(width, height):
    """A matplotlib Figure of `width` x `height` inches that needs no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


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
