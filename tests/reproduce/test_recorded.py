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
