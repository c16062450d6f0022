"""The verdict on a whole table, and the exit status that follows from it."""

import json

import numpy as np
import pytest

from reproduce import store
from reproduce.command import main
from reproduce.report import comparison
from reproduce.tables import TABLES
from reproduce.verdicts.table import Shown, judge_table, sentence


def number(name, *p):
    """A number of a table with these p."""
    return Shown(name, p, "is more than 1 point higher")


def claim(name, *p):
    """A claim of a table with these p."""
    return Shown(name, p, "is contradicted", is_claim=True)


def test_a_table_is_reproduced_when_each_number_and_each_claim_is_shown():
    parts = [*(number(f"cell {i}", 0.04, 1.0) for i in range(16)), claim("A > B", 0.03, 0.97)]
    verdict = judge_table(parts)
    assert (verdict.outcome, verdict.p_reproduced) == ("reproduced", 0.04)  # all at once: no correction
    assert sentence("Table 2", verdict) == (
        "Table 2 is reproduced: 16 of 16 numbers are within a point, 1 of 1 claims hold (p = 0.04)"
    )
    for one in (number("far", 0.06, 0.9), claim("C > D", 0.3, 0.7), number("one run", None, None)):
        assert judge_table([*parts, one]).outcome == "undecided"


def test_a_table_is_not_reproduced_when_a_number_is_beyond_the_margin_or_a_claim_is_contradicted():
    parts = [*(number(f"cell {i}", 0.001, 1.0) for i in range(9))]
    far, wrong = number("far", 1.0, 0.004), claim("A > B", 0.996, 0.004)
    assert judge_table([*parts, far]).outcome == "not reproduced"
    assert judge_table([*parts, wrong]).how == "A > B is contradicted"
    assert judge_table([*parts, wrong]).p_not == pytest.approx(10 * 0.004)
    assert judge_table([*parts, *parts, far]).outcome == "undecided"  # 19 parts ask for more
    assert judge_table([far, number("not run", None, None)]).outcome == "not reproduced"


def test_a_table_without_runs_is_not_run():
    assert judge_table([]).outcome == "not run"
    assert sentence("Table 1", judge_table([])) == "Table 1: not run"
    assert judge_table([number("one run", None, None)]).outcome == "undecided"


def runs_of(name, truth, seeds=5, spread=0.1):
    """A function that gives an experiment's results: R@K of each run around truth(row, column), in %."""
    table, results = TABLES[name], {}
    for place, row in enumerate(table.rows):
        for seed in range(seeds if row.experiment else 0):
            noise = spread * np.random.default_rng((place, seed)).normal()
            recalls = {k: (truth(row.name, k) + noise) / 100 for k in row.published}
            forms = {"last": recalls, "best": recalls, "untrained": {"R@1": 0.02}}
            result = {"experiment": row.experiment.to_dict(), "seed": seed, "classes": 98, "branches": {}, **forms}
            results.setdefault(row.experiment, []).append(result)
    return lambda experiment: results.get(experiment, [])


def printed(name):
    """The published means of a table, as a function of row and column."""
    cells = {(row.name, column): cell.mean for row in TABLES[name].rows for column, cell in row.published.items()}
    return lambda row, column: cells[row, column]


def verdict_of(name, truth, **options):
    """The verdict on the table `name` with runs around `truth`."""
    rows = comparison.entries(TABLES[name], runs_of(name, truth, **options), False, "last")
    return comparison.table_verdict(TABLES[name], rows)


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table4", "table6"])
def test_runs_as_published_reproduce_a_table_and_runs_without_tricks_do_not(name):
    means = printed(name)
    assert verdict_of(name, means).outcome == "reproduced"
    base = {"table1": "Rank", "table2": "None", "table3": "A", "table4": "Sum", "table6": "S + Triplet†"}[name]
    assert verdict_of(name, lambda row, column: means(base, column)).outcome != "reproduced"
    assert verdict_of(name, lambda row, column: means(row, column) + 3).outcome == "not reproduced"
    assert verdict_of(name, means, seeds=1).outcome == "undecided"
    assert verdict_of(name, means, seeds=0).outcome == "not run"


def test_a_table_all_of_whose_numbers_are_within_a_point_is_not_reproduced_if_its_claims_are_contradicted():
    means = {"None": 93.5, "LS": 93.2, "TS": 93.5, "Both": 93.9}
    rest = printed("table2")
    rows = comparison.entries(
        TABLES["table2"],
        runs_of("table2", lambda row, k: means[row] if k == "R@1" else rest(row, k), spread=0.05),
        False,
        "last",
    )
    assert {verdict.outcome for row in rows for verdict in row.verdicts.values()} == {"within a point"}
    verdict = comparison.table_verdict(TABLES["table2"], rows)
    assert verdict.outcome == "not reproduced"
    assert "LS > None is contradicted" in verdict.how


def stored(folder, name, truth):
    """Put the runs around `truth` of the table `name` into the store `folder`."""
    results = runs_of(name, truth)
    for experiment in {row.experiment for row in TABLES[name].rows}:
        for result in results(experiment):
            file = store.folder(folder, experiment, result["seed"]) / "result.json"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps(result))


def test_the_exit_status_is_0_only_for_a_table_that_is_reproduced(tmp_path, capsys):
    means = printed("table1")
    stored(tmp_path / "good", "table1", means)
    assert main(["table1", "--report", "--runs", str(tmp_path / "good")]) == 0
    assert "Table 1 is reproduced: 8 of 8 numbers are within a point, 1 of 1 claims hold" in capsys.readouterr().out
    stored(tmp_path / "bad", "table1", lambda row, column: means("Rank", column))
    assert main(["table1", "--report", "--runs", str(tmp_path / "bad")]) == 1
    assert "Table 1 is not reproduced: Both R@1 is more than 1 point lower" in capsys.readouterr().out
    assert main(["table1", "--json", "--runs", str(tmp_path / "bad")]) == 0
    verdicts = [entry["table_verdict"] for entry in json.loads(capsys.readouterr().out)]
    assert {verdict["outcome"] for verdict in verdicts} == {"not reproduced"}
    assert verdicts[0]["sentence"].startswith("Table 1 is not reproduced: Both R@1 is more than 1 point lower")
    # of some rows: their numbers, and the claims between them
    assert main(["table1", "--report", "--rows", "Rank", "--runs", str(tmp_path / "bad")]) == 0
    assert main(["table1", "--report", "--rows", "Both", "--runs", str(tmp_path / "bad")]) == 1


def test_the_help_says_what_the_exit_status_means(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "Exit status: 0 complete and the table is reproduced (mini: complete)" in out
    assert "1 complete but not reproduced or undecided" in out
