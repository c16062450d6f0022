"""A table, published beside ours: as text, Markdown, JSON and a plot. Nothing here trains."""

import fnmatch

import numpy as np

from gluon_cgd import grid
from gluon_cgd.atomic import write_json, write_text
from gluon_cgd.descriptors import DESCRIPTORS

from . import configurations as figure3
from . import orderings, verdict
from . import runs as store
from .plot import plot
from .tables import BENCHMARKS, FIGURE3, TABLES, Cell, mini, number, own_columns

TOLERANCE = 1.0  # points that our mean may be away from the published one before a cell counts as differing


def rows_in(table, small):
    """Its rows; on the embedded benchmark Figure 3's four panels are one, and the parts of a row of Table 7 too."""
    if small and table is FIGURE3:
        first = [row for row in table.rows if row.name.startswith("CUB200")]
        return [row._replace(name=row.name.replace("CUB200", "glyphs")) for row in first]
    if small and table.name == "table7":
        parts = {}
        for row in table.rows:
            first = {column: cell for column, cell in row.published.items() if column.endswith("R@1")}
            whole = parts.setdefault(row.name, row._replace(published={}))
            whole.published.update(first)
        glyphs = dict.fromkeys(("glyphs R@1", "glyphs R@2", "glyphs R@4", "glyphs R@8"))
        for row in parts.values():
            row.published.update(glyphs if row.experiment else {})
        return list(parts.values())
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
    return {column: None for column in shared if column.rpartition(" ")[0] in own} or {"R@1": None}


def asked(row, small):
    """The experiment that is run for `row`: its own, or its mini form; None for other people's work."""
    return row.mini or mini(row.experiment) if small and row.experiment else row.experiment


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


def difference(published, our):
    """+0.4 for ours less published, in points; - where one is missing."""
    return "-" if our is None or published is None else f"{our['mean'] - published['mean']:+.1f}"


def header(table, small, which):
    """The title of a table, and what its numbers may be compared with."""
    title = f"{table.name[:-1].capitalize()} {table.name[-1]}. {table.title}. Recall@K in %."
    note = (
        f"'ours' is the {which} evaluation of each run. 'reproduced': shown to be within {TOLERANCE} points of what "
        "was published;\n'higher', 'lower': shown to differ; 'undecided': the runs show neither."
    )
    if small:
        networks = "the paper's networks" if table.name == "table7" else "a small network"
        note = (
            f"'mini' is the {which} evaluation of each run, 'untrained' that of its first moment.\n"
            "MINI: 'mini' is another dataset than the paper's: the embedded benchmark (glyphs, 100 unseen letters),\n"
            f"with {networks} from random parameters. Its numbers are not comparable with the published ones,\n"
            "only their orderings are."
        )
        if table.name == "table7":
            note += (
                "\nIt shows that the paper's networks run. Networks this deep fall to chance in so few steps from "
                "random parameters;\nthe small network of Tables 1 to 6 does learn."
            )
    return title, note


def parts(rows, small):
    """(columns, rows that have them) of each benchmark: Table 7 has four, the others and the embedded one have one."""
    fullest = sorted(rows, key=lambda row: -len(row["columns"]))  # gives the order of Table 5's columns
    columns = list(dict.fromkeys(column for row in fullest for column in row["columns"]))
    benchmarks = {"": columns} if small else {}
    for column in () if small else columns:
        benchmarks.setdefault(column.rpartition(" ")[0], []).append(column)
    for chosen in benchmarks.values():
        yield chosen, [row for row in rows if set(chosen) & set(row["columns"])]


def grids(table, rows, small):
    """The table as lists of cells, its head first; one such table a benchmark."""
    for columns, shown in parts(rows, small):
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
        yield ["", "verdict", *(row["verdicts"].get(c, {}).get("outcome", "-") for c in columns)]


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


def unreproduced(rows):
    """A sentence on each cell with a verdict other than reproduced, and one on how many are."""
    told = [(row["row"], column, one) for row in rows for column, one in row["verdicts"].items()]
    told = [(name, column, one) for name, column, one in told if one["outcome"] != "not run"]
    lines = [
        f"{name} {column}: {one['sentence']}; {one['how']}"
        for name, column, one in told
        if one["outcome"] != "reproduced"
    ]
    return [f"{len(told) - len(lines)} of {len(told)} published numbers are reproduced.", *lines] if told else []


def as_text(table, rows, small, which):
    """The whole report for a terminal."""
    text = [*header(table, small, which)]
    if table.name == "figure3":
        return "\n".join([*text, figure3.as_text(rows)])
    for lines in grids(table, rows, small):
        text += ["", *grid.as_text(lines)]
    differing = unreproduced(rows)
    if differing:
        text += ["", *differing]
    claims = [claim.sentence() for claim in orderings.claims(table, rows)]
    if claims:
        text += ["", "The paper's orderings by R@1, in our numbers:", *claims]
    return "\n".join(text)


def as_markdown(table, rows, small, which):
    """The same for a document of its own."""
    title, note = header(table, small, which)
    return "\n".join([f"# {title}", "", note, "", body(table, rows, small)]) + "\n"


def body(table, rows, small):
    """The numbers of a table in Markdown, and below them what is said of them."""
    if table.name == "figure3":
        return "\n".join(["```", figure3.as_text(rows).strip(), "```"])
    text = []
    for lines in grids(table, rows, small):
        text += [grid.as_markdown(lines), ""]
    claims = [claim.sentence() for claim in orderings.claims(table, rows)]
    return "\n".join(text + [f"- {line}" for line in (*unreproduced(rows), *claims)])


def write(table, rows, small, which, runs):
    """Leave the report under `runs`/reports as .md, .json and .png; returns the files without their ending."""
    name = table.name + ("-mini" if small else "") + ("-best" if which == "best" else "")
    stem = store.reports(runs) / name
    write_text(f"{stem}.md", as_markdown(table, rows, small, which))
    write_json(f"{stem}.json", rows)
    plot(table, rows, small, f"{stem}.png")
    return stem


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
