"""A table, published beside ours: as text, Markdown, JSON and a plot. Nothing here trains."""

import fnmatch

import numpy as np

from gluon_cgd.atomic import replacing, write_json, write_text
from gluon_cgd.descriptors import DESCRIPTORS

from . import configurations as figure3
from . import runs as store
from .plot import plot
from .tables import BENCHMARKS, FIGURE3, TABLES, mini

TOLERANCE = 1.0  # points that our mean may be away from the published one before a cell counts as differing


def rows_in(table, small):
    """Its rows; on the embedded benchmark the four panels of Figure 3 are one."""
    if small and table is FIGURE3:
        first = [row for row in table.rows if row.name.startswith("CUB200")]
        return [row._replace(name=row.name.replace("CUB200", "glyphs")) for row in first]
    return table.rows


def rows_of(table, pattern="*", small=False):
    """The rows of `table` whose name matches the glob `pattern`. Raises ValueError when none does."""
    rows = [row for row in rows_in(table, small) if fnmatch.fnmatchcase(row.name, pattern)]
    if not rows:
        names = ", ".join(dict.fromkeys(row.name for row in rows_in(table, small)))
        raise ValueError(f"no row of {table.name} matches {pattern!r}: its rows are {names}")
    return rows


def columns_of(table, row):
    """The columns of a row, {"R@1": published Cell or None, ...}; of a row that somebody added, those that fit it."""
    if row.published or not row.experiment:
        return row.published
    if table is FIGURE3:
        return {"R@1": None}
    letters = row.experiment.descriptors
    if table.name == "table5":
        names = [DESCRIPTORS[letter].__name__ for letter in letters]
        return dict.fromkeys(["Combined", *names] if len(names) > 1 else names)
    own = ["", *(name for name, (dataset, _) in BENCHMARKS.items() if dataset == row.experiment.dataset)]
    shared = dict.fromkeys(column for other in table.rows for column in other.published)
    return {column: None for column in shared if column.rpartition(" ")[0] in own}


def asked(row, small):
    """The experiment that is run for `row`: its own, or its mini form; None for other people's work."""
    return mini(row.experiment) if small and row.experiment else row.experiment


def recall(result, which, column):
    """Of one run at `which` ("last", "best", "untrained"), in %: "R@1", Table 7's "CUB200 R@1", or Table 5's "SPoC"."""
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


def entries(table, runs, seeds, small, which):
    """The table for a program: one dict a row, as `python -m reproduce --json` prints it."""
    return entries_of(table, lambda experiment: store.results(runs, experiment, seeds), small, which)


def entries_of(table, results, small, which):
    """The same, of runs that are not in a folder: results(experiment) gives the result of each finished one."""
    found = []
    for row in rows_in(table, small):
        experiment, columns = asked(row, small), columns_of(table, row)
        has_runs = experiment and (table.has_mini or not small)
        finished = results(experiment) if has_runs else []
        median = table.name in ("table5", "figure3")
        entry = {"table": table.name, "row": row.name, "experiment": experiment and experiment.to_dict()}
        entry["published"] = {name: cell._asdict() for name, cell in row.published.items()}
        entry["ours"] = ours(finished, which, columns, median)
        entry["untrained"] = ours(finished, "untrained", columns, median)
        found.append({**entry, "columns": list(columns), "compared": which})
    return found


def number(cell):
    """93.1 ± 0.1, 93.1, for a median of several runs 93.1 (92.8-93.4), or - for None."""
    if cell is None:
        return "-"
    middle, values = f"{cell['mean']:.1f}", cell.get("values", ())
    if cell.get("statistic") == "median":
        return middle + (f" ({min(values):.1f}-{max(values):.1f})" if len(values) > 1 else "")
    return middle + (f" ± {cell['std']:.1f}" if cell.get("std") is not None else "")


def difference(published, our):
    """+0.4 for ours less published, in points; - where one is missing."""
    return "-" if our is None or published is None else f"{our['mean'] - published['mean']:+.1f}"


def header(table, small, which):
    """The title of a table, and what its numbers may be compared with."""
    title = f"{table.name[:-1].capitalize()} {table.name[-1]}. {table.title}. Recall@K in %."
    note = (
        f"'ours' is the {which} evaluation of each run; a cell differs when it is more than {TOLERANCE} points from "
        "the published number."
    )
    if small:
        note = (
            f"'mini' is the {which} evaluation of each run, 'untrained' that of its first moment.\n"
            "MINI: 'mini' is another dataset than the paper's: the embedded benchmark (glyphs, 100 unseen letters),\n"
            "with a small network from random parameters. Its numbers are not comparable with the published ones,\n"
            "only their orderings are."
        )
    return title, note


def parts(rows):
    """(columns, rows that have them) of each benchmark: Table 7 has four, the others one."""
    fullest = sorted(rows, key=lambda row: -len(row["columns"]))  # gives the order of Table 5's columns
    columns = list(dict.fromkeys(column for row in fullest for column in row["columns"]))
    for benchmark in dict.fromkeys(column.rpartition(" ")[0] for column in columns):
        chosen = [column for column in columns if column.rpartition(" ")[0] == benchmark]
        yield chosen, [row for row in rows if set(chosen) & set(row["columns"])]


def grids(table, rows, small):
    """The table as lists of cells, its head first; one such table a benchmark."""
    for columns, shown in parts(rows):
        body = [line for row in shown for line in row_lines(row, columns, small)]
        yield [[table.name.capitalize(), "", *columns], *body]


def row_lines(row, columns, small):
    """The lines of one row: published and, unless it is other people's work, ours and what puts it into proportion."""
    published, our, untrained = (row[source] or {} for source in ("published", "ours", "untrained"))
    yield [row["row"], "published", *(number(published.get(c)) for c in columns)]
    if row["experiment"] and small:
        yield ["", "mini", *(number(our.get(c)) for c in columns)]
        yield ["", "untrained", *(number(untrained.get(c)) for c in columns)]
    elif row["experiment"]:
        yield ["", "ours", *(number(our.get(c)) for c in columns)]
        yield ["", "difference", *(difference(published.get(c), our.get(c)) for c in columns)]


def ordering_lines(table, rows):
    """One sentence for each ordering that the paper claims: does it hold for our numbers, and with what spread?"""
    by_name = {row["row"]: row for row in rows}

    def told(place):
        return place if isinstance(place, str) else " ".join(place)

    def cell(place):
        name, column = (place, None) if isinstance(place, str) else place
        row = by_name.get(name) or {"columns": ["R@1"], "ours": None}
        return (row["ours"] or {}).get(column or row["columns"][0])

    for better, *worse in table.orderings:
        high, lows = cell(better), [cell(place) for place in worse]
        verdict = "not run"
        if high and all(lows):
            low = max(lows, key=lambda one: one["mean"])
            holds = "holds" if high["mean"] > low["mean"] else "DOES NOT HOLD"
            runs = ", ".join(str(one["runs"]) for one in (high, *lows))
            if high["std"] and low["std"] and abs(high["mean"] - low["mean"]) < np.hypot(high["std"], low["std"]):
                runs += "; within the spread"
            verdict = f"{number(high)} against {', '.join(map(number, lows))}, {holds} (runs: {runs})"
        yield f"{told(better)} > {', '.join(map(told, worse))}: {verdict}"


def as_text(table, rows, small, which):
    """The whole report for a terminal."""
    text = [*header(table, small, which)]
    if table.name == "figure3":
        return "\n".join([*text, figure3.as_text(rows)])
    for grid in grids(table, rows, small):
        widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
        text += ["", *("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in grid)]
    orderings = list(ordering_lines(table, rows))
    if orderings:
        text += ["", "The paper's orderings by R@1, in our numbers:", *orderings]
    return "\n".join(text)


def as_markdown(table, rows, small, which):
    """The same for a document."""
    title, note = header(table, small, which)
    text = [f"# {title}", "", note, ""]
    if table.name == "figure3":
        return "\n".join([*text, "```", figure3.as_text(rows).strip(), "```"]) + "\n"
    for head, *body in grids(table, rows, small):
        text += ["| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *body]] + [""]
    return "\n".join(text + [f"- {line}" for line in ordering_lines(table, rows)]) + "\n"


def write(table, rows, small, which, runs):
    """Leave the report under `runs`/reports as .md, .json and .png; returns the files without their ending."""
    name = table.name + ("-mini" if small else "") + ("-best" if which == "best" else "")
    stem = store.reports(runs) / name
    write_text(f"{stem}.md", as_markdown(table, rows, small, which))
    write_json(f"{stem}.json", rows)
    with replacing(f"{stem}.png") as temporary:
        plot(table, rows, small, temporary)
    return stem


def status(rows, seeds, small, pattern="*"):
    """0 when all runs of the rows like `pattern` are there, and (but for mini) all cells within TOLERANCE; else 1."""
    for row in rows:
        if row["experiment"] and fnmatch.fnmatchcase(row["row"], pattern):
            for column in row["columns"]:
                our, published = (row["ours"] or {}).get(column), row["published"].get(column)
                if our is None or our["runs"] < seeds:
                    return 1
                if published and not small and abs(our["mean"] - published["mean"]) > TOLERANCE:
                    return 1
    return 0


def listing():
    """Every table and its rows as differences from the paper's defaults."""
    text = ["Defaults: the fields of gluon_cgd.experiment.Experiment. Each row: what differs from them."]
    for table in (*TABLES.values(), FIGURE3):
        text += ["", f"{table.name}: {table.title}"]
        for row in table.rows:
            told = "published only"
            if row.experiment:
                changes = {"dataset": row.experiment.dataset, **row.experiment.changes()}
                told = ", ".join(f"{name}={value!r}" for name, value in changes.items())
            text.append(f"  {row.name:24} {told}")
    return "\n".join(text)
