"""Means, medians and spreads of the recorded runs, and how the documents print them."""

from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from reproduce.auditing.declared import BENCHMARKS, Row, Table


class Sample(NamedTuple):
    """A number of our runs in %: its mean or median, standard deviation, and the value of each run."""

    middle: float
    std: Optional[float]
    statistic: str
    values: Tuple[float, ...]
    seeds: Tuple[int, ...]


class Entry(NamedTuple):
    """A row with the samples of its runs, {column: Sample}, the runs themselves, and the ranks {"seed0/last": (N,)}."""

    row: Row
    ours: Dict[str, Sample]
    untrained: Dict[str, Sample]
    runs: List[dict]
    ranks: Dict[str, np.ndarray] = {}

    def count(self):
        """How many runs it has."""
        return max((len(sample.values) for sample in self.ours.values()), default=0)

    def own_columns(self):
        """The columns that its experiment can fill."""
        dataset = self.row.experiment["dataset"] if self.row.experiment else None
        own = {name: of for name, (of, _) in BENCHMARKS.items()}
        return [column for column in self.row.columns if own.get(column.rpartition(" ")[0], dataset) == dataset]


def entries(table: Table, evidence, small: bool, seeds=None) -> List[Entry]:
    """The rows of `table` in one form with their samples. seeds: how many runs count, None for all."""
    found = []
    for row in table.mini if small else table.paper:
        recorded = evidence.get(row.key) if row.experiment else None
        runs = recorded.runs[:seeds] if recorded else []
        median = table.name in ("table5", "figure3")
        ours, before = (samples(row, runs, stage, median) for stage in ("last", "untrained"))
        ranks = getattr(recorded, "ranks", {})  # attested runs come without
        found.append(Entry(row, ours, before, runs, ranks))
    return found


def samples(row, runs, stage, median):
    """{column: Sample} of the runs at one stage; a column that they have not is left out."""
    found = {}
    for column in row.columns:
        known = [(recall(row, run, stage, column), run["seed"]) for run in runs]
        known = [(value, seed) for value, seed in known if value is not None]
        if known:
            values, seeds = zip(*known)
            middle = np.median(values) if median else np.mean(values)
            std = float(np.std(values, ddof=1)) if len(values) > 1 else None
            found[column] = Sample(float(middle), std, "median" if median else "mean", values, seeds)
    return found


def recall(row, run, stage, column):
    """The number of one run in %, None if it has none."""
    benchmark, _, k = column.rpartition(" ")
    if benchmark in BENCHMARKS and BENCHMARKS[benchmark][0] != row.experiment["dataset"]:
        return None
    if column == "Combined" or "R@" in column:
        value = run[stage].get("R@1" if column == "Combined" else k)
    else:
        value = run.get("branches", {}).get(stage, {}).get(column, {}).get("R@1")
    return None if value is None else 100 * value


def shown(number):
    """A published number or one of ours as the documents print it."""
    if number is None:
        return "-"
    if isinstance(number, Sample):
        if number.statistic == "median":
            ends = f" ({min(number.values):.1f}-{max(number.values):.1f})" if len(number.values) > 1 else ""
            return f"{number.middle:.1f}{ends}"
        return f"{number.middle:.1f}" + (f" ± {number.std:.1f}" if number.std is not None else "")
    return f"{number.mean:.1f}" + (f" ± {number.std:.1f}" if number.std is not None else "")


def markdown(lines):
    """A grid, its head first, as the lines of a Markdown table."""
    escaped = [[str(cell).replace("\\|", "|").replace("|", "\\|") for cell in line] for line in lines]
    return [f"| {' | '.join(line)} |" for line in (escaped[0], ["---"] * len(escaped[0]), *escaped[1:])]


def parts(found, small):
    """(columns, entries) of each benchmark of a table: Table 7 has four, the mini form and all others one."""
    fullest = sorted(found, key=lambda entry: -len(entry.row.columns))
    columns = list(dict.fromkeys(column for entry in fullest for column in entry.row.columns))
    groups = {"": columns} if small else {}
    for column in () if small else columns:
        groups.setdefault(column.rpartition(" ")[0], []).append(column)
    return [(own, [entry for entry in found if set(own) & set(entry.row.columns)]) for own in groups.values()]
