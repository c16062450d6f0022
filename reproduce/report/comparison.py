"""A table, published beside ours, as data: entries, verdicts, exit status."""

import fnmatch

import numpy as np

from reproduce.selection import asked, columns_of, rows_in
from reproduce.tables import BENCHMARKS, Cell, own_columns
from reproduce.verdicts import verdict

TOLERANCE = 1.0  # points that our mean may be away from the published one before a cell counts as differing


def recall(result, which, column):
    """Of one run at `which` ("last", "best", "untrained"), in %: "R@1", Table 7's "CUB200 R@1", or Table 5's "SPoC"."""
    if column == "Train accuracy":  # of a table of student.py
        found = result.get("train_accuracy", {}).get(which)
        return None if found is None else 100 * found
    benchmark = column.rpartition(" ")[0]
    if benchmark and BENCHMARKS.get(benchmark, (benchmark,))[0] != result["experiment"]["dataset"]:
        return None
    if column == "Combined" or "R@" in column:
        found = result[which].get("R@1" if column == "Combined" else column.rpartition(" ")[2])
    else:
        found = result.get("branches", {}).get(which, {}).get(column, {}).get("R@1")
    return None if found is None else 100 * found


def ours(results, which, columns, median):
    """What `results` have at `which` for each of `columns`; None without results.

    {"R@1": {"mean": %, "std": % or None, "runs", "statistic", "values": [% of each run]}, ...}; as in the published
    cells, "mean" holds what "statistic" says, a median with `median`.
    """
    cells = {}
    for column in columns:
        values = [recall(result, which, column) for result in results]
        values = [value for value in values if value is not None]
        if values:
            middle, std = np.median if median else np.mean, float(np.std(values, ddof=1)) if len(values) > 1 else None
            told = {"mean": float(middle(values)), "std": std, "runs": len(values)}
            cells[column] = {**told, "statistic": "median" if median else "mean", "values": values}
    return cells or None


def entries(table, results_of, small, which):
    """The table for a program: one dict a row, as `python -m reproduce --json` prints it.

    results_of: a function that gives the results of an experiment's runs, [{...}, ...] (see `train.fit`).
    """
    found = []
    for row in rows_in(table, small):
        experiment, columns = asked(row, small), columns_of(table, row)
        results = results_of(experiment) if experiment else []
        median = table.name in ("table5", "figure3")
        entry = {"table": table.name, "row": row.name, "experiment": experiment and experiment.to_dict()}
        entry["published"] = {name: cell._asdict() for name, cell in row.published.items() if cell}
        entry["ours"] = ours(results, which, columns, median)
        entry["untrained"] = ours(results, "untrained", columns, median)
        found.append({**entry, "columns": list(columns), "compared": which, "verdicts": {}})
    for (name, column), one in (verdicts(table, found) if table.judged and not small else {}).items():
        row = next(row for row in found if row["row"] == name and column in row["columns"])
        row["verdicts"][column] = {**one._asdict(), "sentence": verdict.sentence(one)}
    return found


def parts(rows, small):
    """(columns, rows that have them) of each benchmark: Table 7 has four, the others and the embedded one have one."""
    fullest = sorted(rows, key=lambda row: -len(row["columns"]))  # gives the order of Table 5's columns
    columns = list(dict.fromkeys(column for row in fullest for column in row["columns"]))
    benchmarks = {"": columns} if small else {}
    for column in () if small else columns:
        benchmarks.setdefault(column.rpartition(" ")[0], []).append(column)
    for chosen in benchmarks.values():
        yield chosen, [row for row in rows if set(chosen) & set(row["columns"])]


def verdicts(table, rows):
    """{(row, column): verdict.Verdict} of every published number of rows with runs of their own; Table 7 by benchmark.

    rows: `entries` of the table in its real form.
    """
    families = {}
    for row in rows:
        for column, published in row["published"].items() if row["experiment"] else ():
            values = ((row["ours"] or {}).get(column) or {}).get("values", [])
            families.setdefault(column.rpartition(" ")[0], {})[row["row"], column] = (values, Cell(**published))
    found = {}
    for cells in families.values():
        found.update(verdict.judge(cells, TOLERANCE))
    return found


def status(rows, seeds, small, pattern="*"):
    """0 when all runs of the rows like `pattern` are there, and (but for mini) no cell differs; else 1.

    A cell differs that is more than TOLERANCE points away, or is shown to be any number of them away.
    """
    for row in rows:
        if row["experiment"] and fnmatch.fnmatchcase(row["row"], pattern):
            for column in own_columns(row):
                our, published = (row["ours"] or {}).get(column), row["published"].get(column)
                if our is None or our["runs"] < seeds:
                    return 1
                outcome = row["verdicts"].get(column, {}).get("outcome")
                if outcome in ("higher", "lower") or outcome and abs(our["mean"] - published["mean"]) > TOLERANCE:
                    return 1
    return 0
