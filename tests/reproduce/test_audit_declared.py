"""What the audit knows by itself is what the project's tables say: the same numbers and experiments, typed twice."""

import pytest

from gluon_cgd.experiment import Experiment
from reproduce import selection
from reproduce.auditing import declared
from reproduce.small import small_table, small_tables
from reproduce.tables import EVERYTHING

TABLES = {table.name: table for table in declared.tables()}
SMALL = {table.name: table for table in declared.small_tables(TABLES.values())}


def test_both_have_the_same_tables():
    assert [(t.name, t.title, t.label, t.seeds) for t in declared.tables()] == [
        (t.name, t.title, t.label, t.seeds) for t in EVERYTHING
    ]
    assert declared.DECLARED["defaults"] == Experiment().to_dict()


@pytest.mark.parametrize("form", ["paper", "mini", "small"])
@pytest.mark.parametrize("table", EVERYTHING, ids=lambda table: table.name)
def test_both_have_the_same_rows_numbers_and_experiments(table, form):
    if form == "small" and table.name not in SMALL:
        with pytest.raises(ValueError, match=f"{table.name} has no small form"):
            small_table(table)
        return
    theirs = {"paper": TABLES[table.name].paper, "mini": TABLES[table.name].mini}.get(form) or SMALL[table.name].mini
    small, table = form != "paper", small_table(table) if form == "small" else table
    ours = selection.rows_in(table, small)
    assert [row.name for row in theirs] == [row.name for row in ours]
    for own, row in zip(theirs, ours):
        experiment = selection.experiment_of(row, small)
        assert own.experiment == (experiment and experiment.to_dict()), row.name
        assert not experiment or own.key == experiment.key()
        cells = selection.columns_of(table, row)
        assert list(own.columns) == list(cells)
        published = {column: tuple(cell[:4]) for column, cell in cells.items() if cell}
        assert {column: tuple(cell) for column, cell in own.published.items()} == published


def test_both_have_the_same_small_form():
    ours = small_tables(EVERYTHING)
    assert [(t.name, t.label, t.seeds, t.reduced) for t in SMALL.values()] == [
        (t.name, t.label, t.seeds, t.reduced) for t in ours
    ]
    assert {table.reduced for table in TABLES.values()} == {table.reduced for table in EVERYTHING} == {"mini"}


def test_every_number_of_the_paper_is_there():
    counts = {name: sum(len(row.published) for row in table.paper) for name, table in TABLES.items()}
    sizes = {"table1": 8, "table2": 16, "table3": 12, "table4": 8, "table5": 33, "table6": 40, "table7": 192}
    assert {name: counts[name] for name in sizes} == sizes
