"""Recorded runs, which the documents are generated from."""

import json

import pytest

from reproduce import recorded, selection
from reproduce.documents import record
from reproduce.report import comparison
from reproduce.tables import TABLES
from tests.reproduce.test_reproduce import run_of

TABLE1 = (TABLES["table1"],)


def test_runs_are_recorded_once_and_read_as_the_store_gives_them(tmp_path):
    runs, folder = tmp_path / "runs", tmp_path / "results"
    folder.mkdir()
    rank, both = (selection.experiment_of(row, True) for row in TABLES["table1"].rows)
    run_of(runs, rank, 0, 0.123456789)
    run_of(runs, rank, 2, 0.25)
    run_of(runs, TABLES["table1"].rows[1].experiment, 0, 0.9)
    assert recorded.read(rank, folder) == []
    assert len(record.record(runs, TABLE1, folder)) == 2  # mini and real ones
    assert record.record(runs, TABLE1, folder) == []
    found = recorded.read(rank, folder)
    assert [(run["seed"], run["last"]["R@1"]) for run in found] == [(0, 0.123457), (2, 0.25)]
    assert found[0]["experiment"] == rank.to_dict()
    run_of(runs, rank, 1, 0.5)
    assert record.record(runs, TABLE1, folder) == [f"{rank.key()}.json"]
    assert [run["seed"] for run in recorded.read(rank, folder)] == [0, 1, 2]
    (entry, _) = comparison.entries(TABLES["table1"], lambda e: recorded.read(e, folder), True, "last")
    assert entry.ours["R@1"].runs == 3
    assert recorded.read(both, folder) == []


def test_what_was_recorded_elsewhere_stays(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    rank = selection.experiment_of(TABLES["table1"].rows[0], True)
    run_of(tmp_path / "mine", rank, 0, 0.1)
    run_of(tmp_path / "yours", rank, 1, 0.2)
    for runs in ("mine", "yours"):
        record.record(tmp_path / runs, TABLE1, folder)
    assert [run["last"]["R@1"] for run in recorded.read(rank, folder)] == [0.1, 0.2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:100], "cannot be read"),
        (lambda text: text.replace('"margin": 0.1', '"margin": 0.5'), "is of another experiment than its name says"),
        (lambda text: json.dumps({"runs": []}), "cannot be read"),
        (lambda text: text.replace('"seed": 0', '"seed": "0"'), "cannot be read, it has 'seed' under 'runs' '0'"),
        (lambda text: text.replace('"R@1": 0.1', '"R@1": [1]'), "cannot be read, it has a recall under 'last' under"),
        (lambda text: '{"experiment": 7, "runs": []}', "cannot be read, it has 'experiment' 7, which must be a table"),
    ],
)
def test_a_broken_or_foreign_file_is_refused(tmp_path, change, message):
    folder = tmp_path / "results"
    folder.mkdir()
    rank = selection.experiment_of(TABLES["table1"].rows[0], True)
    run_of(tmp_path / "runs", rank, 0, 0.1)
    record.record(tmp_path / "runs", TABLE1, folder)
    file = recorded.file_of(rank, folder)
    file.write_text(change(file.read_text()))
    with pytest.raises(ValueError, match=message):
        recorded.read(rank, folder)


@pytest.mark.parametrize("part", ["seed", "recall", "untrained", "data", "another experiment's run", "seal"])
def test_a_recorded_run_that_was_changed_afterwards_is_refused(tmp_path, part):
    folder = tmp_path / "results"
    folder.mkdir()
    rank, both = (selection.experiment_of(row, True) for row in TABLES["table1"].rows)
    run_of(tmp_path / "runs", rank, 0, 0.1)
    run_of(tmp_path / "runs", rank, 1, 0.2)
    run_of(tmp_path / "runs", both, 0, 0.3)
    record.record(tmp_path / "runs", TABLE1, folder)
    assert [run["seed"] for run in recorded.read(rank, folder)] == [0, 1]
    file = recorded.file_of(rank, folder)
    values = json.loads(file.read_text())
    run, other = values["runs"]
    if part == "seed":
        run["seed"], other["seed"] = other["seed"], run["seed"]
    elif part == "another experiment's run":
        values["runs"][0] = json.loads(recorded.file_of(both, folder).read_text())["runs"][0]
    else:
        {"recall": run["last"], "untrained": run["untrained"], "data": run, "seal": run}[part].update(
            {"data": "x"} if part == "data" else {"seal": "0" * 64} if part == "seal" else {"R@1": 0.1001}
        )
    file.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="the run with seed [01] is not what was recorded .its seal is another.: take"):
        recorded.read(rank, folder)
