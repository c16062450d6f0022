"""The files that are drawn into: looked at before anything is computed, and written whole or not at all."""

from importlib.util import find_spec
from pathlib import Path

from gluon_cgd.atomic import replacing

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
