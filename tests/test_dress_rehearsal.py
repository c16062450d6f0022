"""The script that rehearses a reproduction: what it types, how it kills, and what it compares."""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import rehearsal, shortened, stand_ins, watched
from gluon_cgd.experiment import REVISION, Experiment
from gluon_cgd.files.whole import write_json
from reproduce.tables import TABLES
from reproduce.training import costs


def test_a_command_is_killed_with_all_that_it_started_when_it_has_a_checkpoint(tmp_path):
    checkpoint, child = tmp_path / "checkpoint.npz", tmp_path / "child"
    code = (
        "import subprocess, sys, time; "
        "wait = [sys.executable, '-c', 'import time; time.sleep(60)']; "
        "process = subprocess.Popen(wait, start_new_session=True); "  # as PyTorch's process has a session of its own
        "open(sys.argv[2], 'w').write(str(process.pid)); open(sys.argv[1], 'w').close(); time.sleep(60)"
    )
    one = watched.Watched()
    line = [sys.executable, "-c", code, str(checkpoint), str(child)]
    assert one.run(line, checkpoint.exists)
    assert 0 < one.seconds < 50
    commands = Path(f"/proc/{child.read_text()}/cmdline")  # gone, or empty until somebody asks for its status
    end = time.monotonic() + 20
    while commands.exists() and commands.read_bytes() and time.monotonic() < end:
        time.sleep(0.05)
    assert not commands.exists() or not commands.read_bytes()


def test_the_memory_of_a_process_in_a_session_of_its_own_counts():
    wait = [sys.executable, "-c", "data = bytearray(64 << 20); print(flush=True); input()"]
    code = f"import subprocess; subprocess.run({wait}, start_new_session=True)"
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **pipes) as process:
        process.stdout.readline()
        assert watched.memory_of(watched.started_by(process.pid)) > 64 << 20
        process.stdin.close()


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


COMMAND = """
import json, pathlib, sys, time
run, report = map(pathlib.Path, sys.argv[1:])
if not (run / "result.json").exists():
    run.mkdir(parents=True, exist_ok=True)
    log, checkpoint = run / "train.log", run / "checkpoint.npz"
    resumes = checkpoint.exists()
    with open(log, "a") as handle:
        handle.write("now resumed at iteration 1 of 2 from there\\n" * resumes)
    time.sleep(0.3)
    checkpoint.write_text("a checkpoint")
    time.sleep(0.5 if resumes else 60)
    checkpoint.unlink()
    (run / "result.json").write_text(json.dumps({"seconds": 2}))
report.mkdir(exist_ok=True)
(report / "table1-rehearsal.md").write_text("a report")
sys.exit(1)
"""


@pytest.fixture
def typed(tmp_path, monkeypatch):
    """A function that rehearses a command, which is killed at its checkpoint and then ends, in `tmp_path`."""
    experiment = rehearsal.experiment_of("table1", True)
    run = tmp_path / experiment.key() / f"r{REVISION}-seed0"
    line = [sys.executable, "-c", COMMAND, str(run), str(tmp_path / "reports")]
    monkeypatch.setattr(watched, "REST", 0.05)
    monkeypatch.setattr(watched, "memory_of", lambda processes: 5_000_000)
    monkeypatch.setattr(watched, "used_by_gpu", lambda: 0)
    monkeypatch.setattr(rehearsal, "predicted", lambda *arguments: {})
    return lambda kills=True: rehearsal.rehearsed("table1", experiment, line, tmp_path, tmp_path, kills)


def test_what_was_seen_of_a_run_is_kept_when_the_rehearsal_is_started_again(typed, tmp_path, monkeypatch, capsys):
    first = typed()
    assert first["resumed"] == ["at iteration 1 of 2"]
    assert 0 < first["killed_at"] < first["command"] < 50
    assert first["measured"] == {"seconds": 2, "memory": 5_000_000, "pictures": 0, "parameters": 0}
    monkeypatch.setattr(watched, "memory_of", lambda processes: 1)  # of a command that only reports
    assert typed() == first
    assert "is there: this run is not trained again" in capsys.readouterr().out
    next(tmp_path.glob("watched-*.json")).unlink()  # of an earlier version: only what the run says is known
    again = typed()
    assert (again["measured"].get("memory"), again["command"], again["killed_at"]) == (None, None, None)


def test_a_rehearsal_that_is_stopped_goes_on_and_kills_at_the_next_checkpoint(typed, tmp_path, monkeypatch):
    def stop(*arguments):
        if list(tmp_path.glob("*/*/checkpoint.npz")):
            raise KeyboardInterrupt
        return 7

    with monkeypatch.context() as stopped:
        stopped.setattr(watched, "memory_of", stop)
        with pytest.raises(KeyboardInterrupt):
            typed()
    found = typed()  # the checkpoint of before is no reason to kill, else it is killed before it says that it resumes
    assert found["killed_at"]
    assert found["resumed"] == 2 * ["at iteration 1 of 2"]


def test_a_command_without_a_report_has_failed(typed, tmp_path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "table1-rehearsal.md").mkdir()  # so it ends with a traceback, and status 1
    with pytest.raises(ValueError, match="left no result, or no report, under"):
        typed(kills=True)


def test_a_plan_that_cannot_be_made_is_told_before_anything_is_drawn(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(rehearsal.sys, "executable", "false")
    monkeypatch.setattr(rehearsal, "PROJECT", tmp_path)
    assert rehearsal.main([str(tmp_path / "a folder"), "--short"]) == 2
    out, err = capfd.readouterr()
    assert "the plan could not be made, as it says above" in err
    assert f"--runs '{tmp_path}/a folder/runs-short'" in out  # as it is typed
    assert not (tmp_path / "a folder").exists()


@pytest.mark.slow  # it counts ResNet-50's parameters
def test_predictions_are_those_of_the_plan(tmp_path):
    experiment = Experiment(dataset="cars196", descriptors="SM", smoothing=0, temperature=1)
    by_pytorch = {"engine": {"name": "pytorch", "precision": "tf32"}}
    on_cpu, on_gpu = ({"machine": f"a {kind}", "device": f"{kind}(0)"} for kind in ("cpu", "gpu"))
    assert "seconds" not in rehearsal.predicted(experiment, on_cpu, tmp_path)
    (tmp_path / "reports").mkdir()
    rates = {"a cpu": 9.0, "a gpu by PyTorch in tf32": 0.01, "a gpu": 0.02}
    cost = {name: {"resnet50 at 224": {"train": rate, "embed": 0.001}} for name, rate in rates.items()}
    cost["a gpu by PyTorch in tf32"]["resnet50 at 224"]["memory"] = 14e9
    write_json(tmp_path / "reports" / "steps.json", cost)
    embedded = (experiment.evaluations + 1) * 8131 * 0.001
    for result, rate in ((on_cpu, 9), (on_gpu, 0.02), ({**on_gpu, **by_pytorch}, 0.01)):
        found = rehearsal.predicted(experiment, result, tmp_path)
        assert found["seconds"] == pytest.approx(experiment.iterations(8054) * 128 * rate + embedded)
        assert found["pictures"] == 3 * (252**2 * 8054 + 224**2 * 8131)
        assert found["parameters"] == 8 * costs.parameters(experiment) > 2e8
        assert ("memory" in found) == (result is on_cpu)
        assert found.get("gpu memory") == (14e9 + 3 * 252**2 * 8054 if "engine" in result else None)
    assert rehearsal.predicted(experiment, on_cpu, tmp_path)["memory"] == pytest.approx(15.9e9, rel=0.01)
    assert "memory" not in rehearsal.predicted(experiment, {**on_cpu, **by_pytorch}, tmp_path)
    write_json(tmp_path / "reports" / "steps.json", {"a GPU by PyTorch in tf32": cost["a gpu"]})  # another name of it
    assert rehearsal.predicted(experiment, {**on_gpu, **by_pytorch}, tmp_path)["seconds"] > 0


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
    unknown = {**found, "predicted": {"parameters": 2e8}, "measured": {"seconds": 9, "parameters": 0}, "command": None}
    rows = {row[0]: row[1:] for row in rehearsal.rows_of(unknown)}
    assert rows["seconds"] == ["-", "9 s", "not predicted"]
    assert rows["parameters"] == ["0.20 GB", "0.0 MB", "missed: -100 %"]
    assert rows["the whole command"][1] == "-"


def test_files_of_the_cache_are_known_by_their_sizes(tmp_path):
    experiment = Experiment(dataset="cub200", descriptors="SM", input_size=16)
    (tmp_path / "pictures").mkdir()
    for name, size in (("train", 3 * 18**2 * 5864), ("test", 3 * 16**2 * 5924), ("other", 3 * 16**2 * 5864)):
        with open(tmp_path / "pictures" / f"{name}.uint8", "wb") as handle:
            handle.truncate(size)
    assert {file.stem for file in rehearsal.cached_for(experiment, tmp_path)} == {"train", "test"}


def test_what_a_run_took_is_kept_when_the_next_one_is_stopped(tmp_path, monkeypatch, capfd):
    found = dict(table="table1 Both", predicted={}, measured={"seconds": 109}, command=150, killed_at=None, resumed=[])

    def one(table, *_):
        if table == "table3":
            raise KeyboardInterrupt
        return found

    (tmp_path / "runs-short").mkdir()
    monkeypatch.setenv("GLUON_CGD_CACHE", "")  # run() sets it: this restores it afterwards
    monkeypatch.setattr(rehearsal.subprocess, "run", lambda *_, **__: argparse.Namespace(returncode=0))
    monkeypatch.setattr(rehearsal, "rehearsed", one)
    monkeypatch.setattr(stand_ins, "write", lambda *_: None)
    monkeypatch.setattr(stand_ins, "write_parameters", lambda *_: tmp_path)
    with pytest.raises(KeyboardInterrupt):
        rehearsal.run(
            argparse.Namespace(
                folder=str(tmp_path),
                tables=["table1", "table3"],
                ctx=None,
                engine=None,
                precision=None,
                short=True,
                no_kill=False,
            )
        )
    assert "109 s" in capfd.readouterr().out
    assert "109 s" in (tmp_path / "runs-short" / "rehearsal.md").read_text()
    assert json.loads((tmp_path / "runs-short" / "rehearsal.json").read_text()) == [found]
