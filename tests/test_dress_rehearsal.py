"""The script that rehearses a reproduction: what it types, how it kills, and what it compares."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import rehearsal, shortened, watched
from gluon_cgd.experiment import Experiment
from gluon_cgd.files.whole import write_json
from reproduce.tables import TABLES
from reproduce.training import costs


def test_a_command_is_killed_with_all_that_it_started_when_it_has_a_checkpoint(tmp_path):
    checkpoint, child = tmp_path / "checkpoint.npz", tmp_path / "child"
    code = (
        "import subprocess, sys, time; "
        "process = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "open(sys.argv[2], 'w').write(str(process.pid)); open(sys.argv[1], 'w').close(); time.sleep(60)"
    )
    one = watched.Watched()
    line = [sys.executable, "-c", code, str(checkpoint), str(child)]
    assert one.run(line, lambda: checkpoint if checkpoint.exists() else None)
    assert 0 < one.seconds < 50
    commands = Path(f"/proc/{child.read_text()}/cmdline")  # gone, or empty until somebody asks for its status
    end = time.monotonic() + 20
    while commands.exists() and commands.read_bytes() and time.monotonic() < end:
        time.sleep(0.05)
    assert not commands.exists() or not commands.read_bytes()


@pytest.mark.slow
def test_a_command_that_ends_is_not_killed_its_memory_is_seen_and_its_failure_too(monkeypatch):
    monkeypatch.setattr(watched, "REST", 0.05)
    one = watched.Watched()
    assert not one.run([sys.executable, "-c", "import time; data = bytearray(300 << 20); time.sleep(0.5)"])
    assert 290 << 20 < one.memory < 500 << 20
    assert not one.run([sys.executable, "-c", "raise SystemExit(1)"])  # a table that is not reproduced
    with pytest.raises(ValueError, match="ended with status 2: see what it printed"):
        one.run([sys.executable, "-c", "raise SystemExit(2)"])


def test_the_short_form_changes_the_network_and_the_steps_alone():
    for name, table in TABLES.items():
        for row, short in zip(table.rows, shortened.shortened(table).rows):
            assert short.name == row.name
            if row.experiment:
                back = {field: getattr(row.experiment, field) for field in shortened.SHORT}
                assert replace(short.experiment, **back) == row.experiment, name
                assert short.experiment.key() != row.experiment.key()


def test_what_is_rehearsed_is_a_row_of_the_papers_table():
    for table, (row, dataset) in rehearsal.TABLES.items():
        experiment = rehearsal.experiment_of(table, False)
        assert experiment == next(one.experiment for one in TABLES[table].rows if one.name == row)
        assert (experiment.dataset, experiment.backbone) == (dataset, "resnet50")
        assert (experiment.batch_size, experiment.input_size, experiment.pretrained) == (128, 224, True)
        assert rehearsal.experiment_of(table, True).backbone == shortened.SHORT["backbone"]


@pytest.mark.slow  # it counts ResNet-50's parameters
def test_predictions_are_those_of_the_plan(tmp_path):
    experiment = Experiment(dataset="cars196", descriptors="SM", smoothing=0, temperature=1)
    assert "seconds" not in rehearsal.predicted(experiment, tmp_path)
    for machine, train in (("older", 9.0), ("newer", 0.01)):
        folder = tmp_path / machine / "reports"
        folder.mkdir(parents=True)
        write_json(folder / "steps.json", {machine: {"resnet50 at 224": {"train": train, "embed": 0.001}}})
        os.utime(folder / "steps.json", (1, 1) if machine == "older" else None)
    found = rehearsal.predicted(experiment, tmp_path)
    embedded = (experiment.evaluations + 1) * 8131 * 0.001
    assert found["seconds"] == pytest.approx(experiment.iterations(8054) * 128 * 0.01 + embedded)
    assert found["pictures"] == 3 * (252**2 * 8054 + 224**2 * 8131)
    assert found["parameters"] == 8 * costs.parameters(experiment) > 2e8
    assert found["memory"] == pytest.approx(15.9e9, rel=0.01)


def test_the_table_says_what_was_within_ten_percent_and_what_was_not():
    found = dict(
        predicted={"seconds": 100, "pictures": 3e9, "parameters": 2e8},
        measured={"seconds": 109, "memory": 5.2e6, "pictures": 3e9, "parameters": 3e8},
        command=150.0,
        killed_at=40.0,
        resumed=["at iteration 100 of 2060"],
    )
    rows = {row[0]: row[1:] for row in rehearsal.rows_of(found)}
    assert rows["seconds"] == ["100 s", "109 s", "within +9 %"]
    assert rows["memory"] == ["-", "5.2 MB", ""]
    assert rows["gpu memory"] == ["-", "-", ""]
    assert rows["pictures"] == ["3.00 GB", "3.00 GB", "within +0 %"]
    assert rows["parameters"] == ["0.20 GB", "0.30 GB", "missed: +50 %"]
    assert rows["killed"] == ["-", "40 s", "after that; then it was resumed at iteration 100 of 2060"]
    assert rehearsal.rows_of({**found, "resumed": []})[-1][3] == "after that; it did not go on from a checkpoint"


def test_files_of_the_cache_are_known_by_their_sizes(tmp_path):
    experiment = Experiment(dataset="cub200", descriptors="SM", input_size=16)
    (tmp_path / "pictures").mkdir()
    for name, size in (("train", 3 * 18**2 * 5864), ("test", 3 * 16**2 * 5924), ("other", 3 * 16**2 * 5864)):
        with open(tmp_path / "pictures" / f"{name}.uint8", "wb") as handle:
            handle.truncate(size)
    assert {file.stem for file in rehearsal.cached_for(experiment, tmp_path)} == {"train", "test"}
