"""A table, published beside ours, as data: its entries, their verdicts and the exit status."""

import fnmatch
from collections import Counter
from typing import Dict, NamedTuple, Optional, Tuple

import numpy as np

from gluon_cgd.experiment import WITHOUT_FILES, Experiment
from gluon_cgd.runs import findings, ranks
from reproduce.report import trained_by
from reproduce.selection import columns_of, experiment_of, rows_in
from reproduce.tables import BENCHMARKS, Cell
from reproduce.verdicts import orderings
from reproduce.verdicts.care import is_rehearsal
from reproduce.verdicts.table import Shown, counts, judge_table
from reproduce.verdicts.verdict import Verdict, judge, sentence

TOLERANCE = 1.0  # points: a number of ours is shown to be nearer than that to the published one, or it is not


class Entry(NamedTuple):
    """A row of a table, published beside ours. Cells that are missing are left out; without runs `ours` is empty."""

    table: str
    row: str
    experiment: Optional[Experiment]  # None for other people's work
    published: Dict[str, Cell]
    ours: Dict[str, Cell]
    untrained: Dict[str, Cell]
    columns: Tuple[str, ...]
    compared: str  # "last" or "best": the evaluation of each run that counts
    verdicts: Dict[str, Verdict]
    findings: Dict[str, int] = {}  # {"worse than untrained": how many of its runs, ...}
    curves: Dict[int, tuple] = {}  # {seed: ((iteration, R@1 in %), ...)} up to the evaluation that counts
    hits: Dict[str, Dict[int, np.ndarray]] = {}  # {column: {seed: whether each test query is found (N,)}}
    classes: Optional[np.ndarray] = None  # of the test queries, (N,)
    engines: Dict[str, int] = {}  # {"PyTorch in tf32": how many of its runs}, {} if MXNet trained all
    left_out: Tuple[Tuple[str, int, str], ...] = ()  # (engine, how many runs of it do not count, why)

    def own_columns(self):
        """The columns that its experiment can fill: on the embedded benchmark not those of Table 7's datasets."""
        dataset = self.experiment.dataset if self.experiment else None
        datasets = {name: own for name, (own, _) in BENCHMARKS.items()}
        return [column for column in self.columns if datasets.get(benchmark_of(column), dataset) == dataset]

    def runs(self):
        """How many runs it has."""
        return max((cell.runs for cell in self.ours.values()), default=0)

    def as_dict(self):
        """The entry as `python -m reproduce --json` prints it."""
        parts = {
            part: {column: as_dict(cell) for column, cell in getattr(self, part).items()}
            for part in ("published", "ours", "untrained")
        }
        verdicts = {
            column: {**verdict._asdict(), "sentence": sentence(verdict)} for column, verdict in self.verdicts.items()
        }
        changed = {"experiment": self.experiment and self.experiment.to_dict(), "verdicts": verdicts, **parts}
        whole = {**self._asdict(), **changed, "ours": parts["ours"] or None, "untrained": parts["untrained"] or None}
        beside = ("curves", "hits", "classes")  # the files of each run have them
        if_any = ("engines", "left_out")
        return {name: part for name, part in whole.items() if name not in beside and (part or name not in if_any)}


def as_dict(cell):
    """A cell as JSON; only measured ones have "values" and "seeds"."""
    return {name: value for name, value in cell._asdict().items() if name not in ("values", "seeds") or value}


def benchmark_of(column):
    """ "CUB200" of Table 7's "CUB200 R@1", "" of the columns of other tables."""
    return column.rpartition(" ")[0]


def recall(result, which, column):
    """A number of one run in %, None where the run has none.

    which: the "last", "best" or "untrained" evaluation.  column: "R@1", Table 7's "CUB200 R@1", or Table 5's "SPoC".
    """
    if column == "Train accuracy":  # of a table of student.py
        value = result.get("train_accuracy", {}).get(which)
        return None if value is None else 100 * value
    benchmark = benchmark_of(column)
    dataset = result["experiment"].get("dataset")
    if benchmark and BENCHMARKS.get(benchmark, (benchmark,))[0] != ("glyphs" if dataset in WITHOUT_FILES else dataset):
        return None
    if column == "Combined" or "R@" in column:
        value = result[which].get("R@1" if column == "Combined" else column.rpartition(" ")[2])
    else:
        value = result.get("branches", {}).get(which, {}).get(column, {}).get("R@1")
    return None if value is None else 100 * value


def curve(result, which):
    """((iteration, R@1 in %), ...) of one run, up to its `which` evaluation, "last" or "best"."""
    history = result.get("history", ())
    end = result.get("best_iteration") if which == "best" else None
    shown = [entry for entry in history if end is None or entry["iteration"] <= end]
    return tuple((entry["iteration"], 100 * entry["recall"]["R@1"]) for entry in shown if "R@1" in entry["recall"])


def ours(results, which, columns, median):
    """{column: Cell} of the runs `results` at `which`: mean and standard deviation, or with `median` the median."""
    cells = {}
    for column in columns:
        known = [(recall(result, which, column), result["seed"]) for result in results]
        known = [(value, seed) for value, seed in known if value is not None]
        if known:
            values, seeds = zip(*known)
            middle, statistic = (np.median, "median") if median else (np.mean, "mean")
            std = float(np.std(values, ddof=1)) if len(values) > 1 else None
            cells[column] = Cell(float(middle(values)), std, len(values), statistic, values, seeds)
    return cells


def hits(ranks_of_runs, which, columns):
    """({column: {seed: whether each query is found (N,)}}, the queries' classes (N,) or None) at `which` evaluation.

    ranks_of_runs: {seed: arrays of its ranks.npz}. Runs of different test pictures give nothing.
    """
    classes = [arrays[ranks.CLASSES] for arrays in ranks_of_runs.values()]
    if any(not np.array_equal(each, classes[0]) for each in classes):
        return {}, None
    found = {}
    for column in columns:
        branch = "" if column == "Combined" or "R@" in column else column
        k = int(column.rpartition("@")[2]) if "R@" in column else 1
        of_runs = {seed: ranks.of(arrays, which, branch) for seed, arrays in ranks_of_runs.items()}
        found[column] = {seed: array <= k for seed, array in of_runs.items() if array is not None}
    return found, classes[0] if classes else None


def no_ranks(experiment):
    """The ranks of the runs of `experiment` where they are not asked for: none."""
    return {}


def entries(table, results_of, small, which, ranks_of=no_ranks, left_out_of=trained_by.none_left_out):
    """[Entry, ...], one a row of `table`.

    results_of: a function that gives the results of an experiment's runs, [{...}, ...] (see `train.fit`).
    small: on the embedded benchmark.  which: the evaluation of each run that counts, "last" or "best".
    ranks_of: a function that gives the ranks of an experiment's runs, {seed: arrays of its ranks.npz}.
    left_out_of: a function that gives the runs of an experiment that do not count, as `averaging.left_out`.
    """
    rows = []
    for row in rows_in(table, small):
        experiment, columns = experiment_of(row, small), columns_of(table, row)
        results = results_of(experiment) if experiment else []
        median = table.name in ("table5", "figure3")
        published = {column: cell for column, cell in row.published.items() if cell}
        measured, untrained = (ours(results, when, columns, median) for when in (which, "untrained"))
        names = table.name, row.name, experiment
        found = Counter(finding for result in results for finding in findings.findings(result, which))
        curves = {result["seed"]: curve(result, which) for result in results if result.get("history")}
        at_queries = hits(ranks_of(experiment) if measured and table.orderings else {}, which, measured)
        numbers = published, measured, untrained
        made = trained_by.counted(results), trained_by.named(left_out_of(experiment) if experiment else ())
        rows.append(Entry(*names, *numbers, tuple(columns), which, {}, dict(found), curves, *at_queries, *made))
    judged = table.judged and not small and not is_rehearsal(rows)
    for (name, column), verdict in (verdicts(table, rows) if judged else {}).items():
        entry = next(entry for entry in rows if entry.row == name and column in entry.columns)
        entry.verdicts[column] = verdict
    return rows


def doubtful(rows):
    """Sentences: which rows have runs that say little (see `runs.findings`); [] without such runs."""
    found = {}
    for row in rows:
        for finding, count in row.findings.items():
            found.setdefault(finding, []).append(f"{row.row} ({count} of {row.runs()})")
    return [f"runs that {findings.predicate(finding)}: {', '.join(rows)}" for finding, rows in found.items()]


def parts(rows, small):
    """(columns, rows that have them) of each benchmark: Table 7 has four, the others and the embedded one have one."""
    fullest = sorted(rows, key=lambda row: -len(row.columns))  # gives the order of Table 5's columns
    columns = list(dict.fromkeys(column for row in fullest for column in row.columns))
    benchmarks = {"": columns} if small else {}
    for column in () if small else columns:
        benchmarks.setdefault(benchmark_of(column), []).append(column)
    for chosen in benchmarks.values():
        yield chosen, [row for row in rows if set(chosen) & set(row.columns)]


def verdicts(table, rows):
    """{(row, column): Verdict} of every published number of the rows with an experiment; Table 7 by benchmark.

    rows: `entries` of the table in the paper's form.
    """
    families = {}
    for row in rows:
        for column, published in row.published.items() if row.experiment else ():
            values = row.ours[column].values if column in row.ours else []
            families.setdefault(benchmark_of(column), {})[row.row, column] = (values, published)
    return {place: verdict for cells in families.values() for place, verdict in judge(cells, TOLERANCE).items()}


def table_verdict(table, rows):
    """The TableVerdict of `table` in the paper's form; None where the paper prints nothing to judge by.

    rows: its `entries`, or some of them: claims that need other rows are then left out.
    """
    if not (table.judged and table.has_published) or is_rehearsal(rows):
        return None
    parts = []
    for row in rows:
        for column, found in row.verdicts.items():
            side = "higher" if (found.difference or 0) > 0 else "lower"
            against = f"is more than {TOLERANCE:g} point {side}"
            parts.append(Shown(f"{row.row} {column}", found.alone or (None, None), against))
    whole = len(rows) == len(rows_in(table, False))
    for claim in orderings.claims(table, rows):
        if counts(claim.published) and (whole or all(claim.sides)):
            p = claim.ordering.alone or (None, None)
            parts.append(Shown(claim.name, p, "is contradicted", is_claim=True))
    ran = any(row.ours for row in rows)
    return judge_table(parts) if ran else judge_table([])


def status(table, rows, seeds, small, pattern="*"):
    """0 when all runs of the rows like `pattern` are there, and (but for mini) the table is reproduced by them; else 1.

    Without a published number there is nothing to reproduce, and being complete is enough. A rehearsal reproduces none.
    """
    rows = [row for row in rows if fnmatch.fnmatchcase(row.row, pattern)]
    for row in rows:
        for column in row.own_columns() if row.experiment else ():
            if column not in row.ours or row.ours[column].runs < seeds:
                return 1
    if is_rehearsal(rows):
        return 1
    verdict = None if small else table_verdict(table, rows)
    return 0 if verdict is None or verdict.outcome == "reproduced" else 1
