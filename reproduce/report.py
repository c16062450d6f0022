"""A table, published beside ours: as text, Markdown, JSON and a plot. Nothing here trains."""

import fnmatch
from pathlib import Path

import numpy as np

from gluon_cgd.atomic import replacing, write_json, write_text

from . import runs as store
from .tables import TABLES, mini

TOLERANCE = 1.0  # points that our mean may be away from the published one before a cell counts as differing


def rows_of(table, pattern="*"):
    """The rows of `table` whose name matches the glob `pattern`. Raises ValueError when none does."""
    rows = [row for row in table.rows if fnmatch.fnmatchcase(row.name, pattern)]
    if not rows:
        names = ", ".join(dict.fromkeys(row.name for row in table.rows))
        raise ValueError(f"no row of {table.name} matches {pattern!r}: its rows are {names}")
    return rows


def asked(row, small):
    """The experiment that is run for `row`: its own, or its mini form; None for other people's work."""
    return mini(row.experiment) if small and row.experiment else row.experiment


def ours(results, which, columns):
    """Mean, standard deviation and number of `results` at `which` ("last", "best", "untrained") for each of `columns`.

    {"R@1": {"mean": %, "std": % or None, "runs"}, ...}, of Table 7's "CUB200 R@1" the "R@1"; None without results.
    """
    cells = {}
    for column in columns:
        name = column.rpartition(" ")[2]
        values = 100 * np.array([result[which][name] for result in results if name in result[which]])
        if len(values):
            std = float(values.std(ddof=1)) if len(values) > 1 else None
            cells[column] = {"mean": float(values.mean()), "std": std, "runs": len(values)}
    return cells or None


def entries(table, runs, seeds, small, which):
    """The table for a program: one dict a row, as `python -m reproduce --json` prints it."""
    found = []
    for row in table.rows:
        experiment = asked(row, small)
        results = store.results(runs, experiment, seeds) if experiment else []
        entry = {"table": table.name, "row": row.name, "experiment": experiment and experiment.to_dict()}
        entry["published"] = {name: cell._asdict() for name, cell in row.published.items()}
        entry["ours"] = ours(results, which, row.published)
        entry["untrained"] = ours(results, "untrained", row.published)
        found.append({**entry, "compared": which})
    return found


def number(cell):
    """93.1 ± 0.1, 93.1 or - for a dict with mean and std, or None."""
    if cell is None:
        return "-"
    return f"{cell['mean']:.1f}" + (f" ± {cell['std']:.1f}" if cell.get("std") is not None else "")


def difference(published, our):
    """+0.4 for ours less published, in points; - where one is missing."""
    return "-" if our is None or published is None else f"{our['mean'] - published['mean']:+.1f}"


def header(table, small, which):
    """The title of a table, and what its numbers may be compared with."""
    title = f"Table {table.name[-1]}. {table.title}. Recall@K in %."
    note = (
        f"'ours' is the {which} evaluation of each run; a cell differs when it is more than {TOLERANCE} points from "
        "the published mean."
    )
    if small:
        note = (
            "MINI: 'mini' is another dataset than the paper's: the embedded benchmark (glyphs, 100 unseen letters),\n"
            "with a small network from random parameters. Its numbers are not comparable with the published ones,\n"
            "only their orderings are."
        )
    return title, note


def grids(table, rows, small):
    """The table as lists of cells, its head first; one such table a benchmark (Table 7 has four)."""
    fullest = sorted(rows, key=lambda row: -len(row["published"]))  # gives the order of Table 5's columns
    columns = list(dict.fromkeys(column for row in fullest for column in row["published"]))
    for benchmark in dict.fromkeys(column.rpartition(" ")[0] for column in columns):
        chosen = [column for column in columns if column.rpartition(" ")[0] == benchmark]
        body = [line for row in rows if set(chosen) & set(row["published"]) for line in row_lines(row, chosen, small)]
        yield [[table.name.capitalize(), "", *chosen], *body]


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
    """One sentence for each ordering that the paper claims between two of `rows`: does it hold for our means?"""
    recall = {row["row"]: (row["ours"] or {}).get("R@1") for row in rows}
    for better, worse in table.orderings:
        if better in recall and worse in recall:
            high, low = recall[better], recall[worse]
            verdict = "not run"
            if high and low:
                holds = "holds" if high["mean"] > low["mean"] else "DOES NOT HOLD"
                verdict = f"{number(high)} against {number(low)}, {holds} (runs: {high['runs']} and {low['runs']})"
            yield f"{better} > {worse}: {verdict}"


def as_text(table, rows, small, which):
    """The whole report for a terminal."""
    text = [*header(table, small, which)]
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
    for head, *body in grids(table, rows, small):
        text += ["| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *body]] + [""]
    return "\n".join(text + [f"- {line}" for line in ordering_lines(table, rows)]) + "\n"


def plot(table, rows, small, file):
    """Recall@1 of each row, published and ours, or untrained and mini: two datasets never share an axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.2 + 1.1 * len(rows), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    published, our = ("published", "published", "0.6"), ("ours", "ours", "tab:blue")
    pair = (("untrained", "untrained", "0.8"), ("ours", "mini: glyphs", "tab:blue")) if small else (published, our)
    for i, (source, name, colour) in enumerate(pair):
        cells = [(row[source] or {}).get("R@1") for row in rows]
        heights = [cell["mean"] if cell else 0 for cell in cells]
        spreads = (
            [cell["std"] or 0 for cell in cells] if all(cell and cell["std"] is not None for cell in cells) else None
        )
        bar = axes.bar(
            np.arange(len(rows)) + 0.4 * i - 0.2, heights, 0.38, color=colour, label=name, yerr=spreads, capsize=3
        )
        axes.bar_label(bar, [f"{cell['mean']:.1f}" if cell else "not run" for cell in cells], fontsize=8, padding=2)
    axes.set_xticks(range(len(rows)), [row["row"] for row in rows])
    axes.set_ylabel("Recall@1 (%)")
    axes.set_ylim(0, 110)
    axes.set_title(f"Table {table.name[-1]}" + " on the embedded benchmark" * small, fontsize=10)
    figure.legend(loc="outside lower center", ncol=2, frameon=False)
    figure.savefig(file, dpi=150, format="png")


def write(table, rows, small, which, runs):
    """Leave the report under `runs`/reports as .md, .json and .png; returns the files without their ending."""
    name = table.name + ("-mini" if small else "") + ("-best" if which == "best" else "")
    stem = Path(runs) / "reports" / name
    stem.parent.mkdir(parents=True, exist_ok=True)
    write_text(f"{stem}.md", as_markdown(table, rows, small, which))
    write_json(f"{stem}.json", rows)
    with replacing(f"{stem}.png") as temporary:
        plot(table, rows, small, temporary)
    return stem


def status(rows, seeds, small, pattern="*"):
    """0 when all runs of the rows like `pattern` are there, and (but for mini) all cells within TOLERANCE; else 1."""
    for row in rows:
        if row["experiment"] and fnmatch.fnmatchcase(row["row"], pattern):
            for column, published in row["published"].items():
                our = (row["ours"] or {}).get(column)
                if our is None or our["runs"] < seeds:
                    return 1
                if not small and abs(our["mean"] - published["mean"]) > TOLERANCE:
                    return 1
    return 0


def listing():
    """Every table and its rows as differences from the paper's defaults."""
    text = ["Defaults: the fields of gluon_cgd.experiment.Experiment. Each row: what differs from them."]
    for table in TABLES.values():
        text += ["", f"{table.name}: {table.title}"]
        if table.missing:
            text.append(f"  cannot be trained yet, for want of {table.missing}")
        for row in table.rows:
            told = "published only"
            if row.experiment:
                changes = {"dataset": row.experiment.dataset, **row.experiment.changes()}
                told = ", ".join(f"{name}={value!r}" for name, value in changes.items())
            text.append(f"  {row.name:24} {told}")
    return "\n".join(text)
