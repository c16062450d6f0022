"""Selects the rows and columns of a table, and the experiment that each row trains."""

import fnmatch

from gluon_cgd.descriptors import DESCRIPTORS
from reproduce.tables import BENCHMARKS, FIGURE3, SMALL_FORM, mini


def rows_in(table, small):
    """The rows of `table`. On the embedded benchmark Figure 3 has one panel, and Table 7 one row for all datasets."""
    if small and table.name == FIGURE3.name and table.form != SMALL_FORM:
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


def seeds_of(table, small, seeds=None):
    """How many runs each row of `table` has: `seeds`, if given; else as many as its form has, of the mini form one."""
    return seeds or (1 if small and table.form != SMALL_FORM else table.seeds)


def columns_of(table, row):
    """The columns of a row, {"R@1": published Cell or None, ...}; a row that a user added has those that fit it."""
    if row.published or not row.experiment:
        return row.published
    if table.name == FIGURE3.name:
        return {"R@1": None}
    letters = row.experiment.descriptors
    if table.name == "table5":
        names = [DESCRIPTORS[letter].__name__ for letter in letters]
        return dict.fromkeys(["Combined", *names] if len(names) > 1 else names)
    own = ["", *(name for name, (dataset, _) in BENCHMARKS.items() if dataset == row.experiment.dataset)]
    shared = dict.fromkeys(column for other in table.rows for column in other.published)
    return {column: None for column in shared if column.rpartition(" ")[0] in own} or {"R@1": None}


def experiment_of(row, small):
    """The experiment that `row` trains: its own, or its mini form with `small`; None for other people's work."""
    return row.mini or mini(row.experiment) if small and row.experiment else row.experiment
