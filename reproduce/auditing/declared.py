"""What the audit knows without the project's code: the paper's numbers, and the experiment behind each row.

published.json has the numbers, typed from the paper's text and not from reproduce/tables.py. declared.json has the
experiments and orderings, typed a second time too. A test compares both with the project's own tables.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

FOLDER = Path(__file__).resolve().parent
CONFIGURATIONS = ("S", "M", "G", "SM", "MS", "SG", "GS", "MG", "GM", "SMG", "MSG", "GSM")


class Number(NamedTuple):
    """A published number in %."""

    mean: float
    std: Optional[float]
    runs: Optional[int]
    statistic: str


class Row(NamedTuple):
    """A row of a table in one of its two forms; `experiment` is None for other people's work."""

    name: str
    columns: Tuple[str, ...]
    published: Dict[str, Number]
    experiment: Optional[Dict[str, Any]]

    @property
    def key(self):
        """The name of its runs."""
        return key_of(self.experiment)


class Table(NamedTuple):
    """A table or Figure 3: its rows in the paper's form and in the mini form."""

    name: str
    title: str
    seeds: int
    paper: List[Row]
    mini: List[Row]
    orderings: List[List[str]]
    learning: List[List[str]] = []  # claims on how rows learn: [what, better, worse]
    earlier: List[List[str]] = []  # claims against earlier work: [row, column, other people's row]
    baseline: str = ""  # of a table of the project's own: the row that the others are compared with
    against: Dict[str, str] = {}  # of its rows that are tested: the row that each is compared with instead
    reduced: str = "mini"  # what its rows `mini` are called

    @property
    def label(self):
        """ "Table 1", "Figure 3", "Details"."""
        number = self.name[-1] if self.name[-1].isdigit() else ""
        return f"{self.name.rstrip(number or None).capitalize()} {number}".strip()

    @property
    def has_published(self):
        """Whether the paper prints numbers for it."""
        return any(row.published for row in self.paper)


def read(name):
    """The data file `name`."""
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


DECLARED, PUBLISHED = read("declared.json"), read("published.json")
BENCHMARKS = DECLARED["benchmarks"]


def key_of(experiment):
    """The name of an experiment's runs: a readable part, and a hash of its changes from the paper's defaults."""
    changes = {name: value for name, value in experiment.items() if value != DECLARED["defaults"].get(name, "no field")}
    digest = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()
    readable = (experiment[name] for name in ("dataset", "backbone", "descriptors", "dim"))
    return "-".join((*map(str, readable), digest[:10]))


def experiment(changes):
    """All fields of the experiment that differs from the paper's defaults by `changes`."""
    return {**DECLARED["defaults"], **changes}


def mini(changes):
    """The mini form of the experiment that differs from the defaults by `changes`."""
    dim = changes.get("dim", DECLARED["defaults"]["dim"]) // DECLARED["mini dim"]
    return experiment({**changes, **DECLARED["mini"], "dim": dim})


def numbers(part, row):
    """{column: Number} of a row of `part` of published.json; "-" is not printed in the paper."""
    table = PUBLISHED.get(part, {"rows": {}, "columns": (), "statistic": ""})
    texts, width = table["rows"].get(row, "").split(), 2 if table["statistic"] == "mean" else 1
    found = {}
    for column, at in zip(table["columns"], range(0, len(texts), width)):
        if texts[at] != "-":
            std = float(texts[at + 1]) if width == 2 else None
            found[column] = Number(float(texts[at]), std, table["runs"], table["statistic"])
    return found


def plain_table(name, about):
    """Tables 1 to 6, and the project's own: a row is one experiment."""
    paper, small = [], []
    for row, changes in about["rows"].items():
        cells = numbers(name, row)
        paper.append(Row(row, tuple(cells or about["columns"]), cells, experiment(changes)))
        own = {**mini(changes), **about.get("mini", {}).get(row, {})}
        small.append(paper[-1]._replace(experiment=own))
    more = dict(
        learning=about.get("learning", []), baseline=about.get("baseline", ""), against=about.get("against", {})
    )
    return Table(name, about["title"], about["seeds"], paper, small, about["orderings"], **more)


def report():
    """The findings of a student report: a table in the mini form alone."""
    return plain_table("report", DECLARED["report"])._replace(paper=[])


def table7(about):
    """Table 7: a row of the paper's own method is an experiment for each benchmark, and one in the mini form."""
    paper, small = [], []
    for row in about["rows"]:
        cells = {**numbers("table7a", row), **numbers("table7b", row)}
        first = {column: cell for column, cell in cells.items() if column.endswith("R@1")}
        model, backbone, dim = row.split()
        if model != "CGD":
            paper.append(Row(row, tuple(cells), cells, None))
            small.append(Row(row, tuple(first), first, None))
            continue
        own = {**DECLARED["backbones"][backbone], "dim": int(dim)}
        for benchmark, (dataset, letters) in BENCHMARKS.items():
            part = {column: cell for column, cell in cells.items() if column.startswith(benchmark + " ")}
            if part:
                changes = {**own, "dataset": dataset, "descriptors": letters}
                paper.append(Row(row, tuple(part), part, experiment(changes)))
        columns = (*first, *(f"glyphs R@{k}" for k in (1, 2, 4, 8)))
        network = {"backbone": DECLARED["mini backbones"][own["backbone"]]}
        form = {**mini({**own, "descriptors": BENCHMARKS["CARS196"][1]}), **network}
        small.append(Row(row, columns, first, form))
    return Table("table7", about["title"], about["seeds"], paper, small, about["orderings"], earlier=about["earlier"])


def figure3(about):
    """Figure 3: the twelve configurations on each benchmark, and one panel in the mini form."""
    paper = [
        Row(f"{name} {letters}", ("R@1",), {}, experiment({"dataset": of, "descriptors": letters}))
        for name, of in ((name, dataset.replace("sop", "sop_mini")) for name, (dataset, _) in BENCHMARKS.items())
        for letters in CONFIGURATIONS
    ]
    small = [Row(f"glyphs {letters}", ("R@1",), {}, mini({"descriptors": letters})) for letters in CONFIGURATIONS]
    return Table("figure3", about["title"], about["seeds"], paper, small, [])


def small(table):
    """`table` in the small form, on photographs, in the place of the mini form; None if it has none."""
    if table.name not in DECLARED["small rows"]:
        return None
    own, rows = DECLARED["small rows"][table.name], []
    for row in table.paper:
        name = row.name
        if table.name == "figure3":
            benchmark, letters = name.split()
            if benchmark != "CARS196":
                continue
            name = f"cars {letters}"
        changes = own.get(name, {})
        if changes is not None:
            dim = row.experiment["dim"] // DECLARED["small dim"]
            dim -= dim % len(row.experiment["descriptors"])
            form = {**row.experiment, **DECLARED["small"], "dim": dim}
            rows.append(row._replace(name=name, experiment={**form, **changes}))
    return table._replace(mini=rows, seeds=DECLARED["small seeds"], reduced="small")


def small_tables(tables):
    """Those of `tables` that have a small form, in it."""
    return [form for form in map(small, tables) if form]


def tables():
    """[Table, ...] in the order of the documents."""
    special = {"table7": table7, "figure3": figure3}
    return [
        special[name](about) if name in special else plain_table(name, about)
        for name, about in DECLARED["tables"].items()
    ]
