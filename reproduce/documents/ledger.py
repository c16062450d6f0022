"""What the paper leaves open, what we do, and where that comes from: ledger.md with the values of today."""

from pathlib import Path
from typing import NamedTuple, Tuple

from gluon_cgd.experiment import Experiment
from gluon_cgd.files import grid

FILE = Path(__file__).with_name("ledger.md")


class Open(NamedTuple):
    """A detail that the paper does not fix: the defaults of `fields` of Experiment, and `ours`, are what we do."""

    detail: str
    fields: Tuple[str, ...]
    ours: str
    source: str
    others: str  # other readings, and the flags that choose them


def read():
    """[Open, ...], one for each row of ledger.md."""
    table = [line for line in FILE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[2:]]
    return [Open(detail, tuple(filter(None, fields.split(", "))), *rest) for detail, fields, *rest in cells]


def as_markdown():
    """The ledger as a table; what we do is read from Experiment's defaults."""
    defaults = Experiment().to_dict()
    lines = [("open detail", "what we do", "why, from where", "other readings")]
    for entry in read():
        values = ", ".join(f"`{name}={shown(defaults[name])}`" for name in entry.fields)
        ours = "; ".join(part for part in (values, entry.ours) if part)
        lines.append((entry.detail, ours, entry.source, entry.others or "-"))
    return grid.as_markdown(lines)


def shown(value):
    """A default as text, with three significant digits."""
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
