"""Runs that are trained by processes of their own on this machine."""

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from gluon_cgd.engines.choice import MXNET
from gluon_cgd.machine import progress
from reproduce import store
from reproduce.training import backends, local

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def experiment(small_experiment, glyph_folder):
    """A dozen iterations on a folder of pictures: what a process of its own can read."""
    return replace(small_experiment, dataset=str(glyph_folder), batch_classes=2)


def where(tmp_path):
    return dict(runs=tmp_path / "runs", data=tmp_path / "data", weights=None)


@pytest.mark.slow
def test_two_workers_give_the_bits_of_one_process_and_a_run_that_fails_stops_no_other(experiment, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    diverges = replace(experiment, learning_rate=1e30)
    todo = [("a", experiment, 0), ("bad", diverges, 0), ("b", experiment, 1), ("c", experiment, 2)]
    failed = local.train(todo, ["cpu", "cpu"], 1, **where(tmp_path))
    assert [run[:2] for run in failed] == [("bad", 0)]
    assert "the run has diverged" in failed[0][2]
    for name, _, seed in todo:  # every line of a worker begins with its run's name
        assert sum(line.startswith(f"[{name}, seed {seed}] ") for line in caplog.messages) > 1
    assert sum("learning rate" in line and line.startswith("[bad, seed 0] failed: ") for line in caplog.messages) == 1
    done = store.every(tmp_path / "runs", experiment)
    assert [result["seed"] for result in done] == [0, 1, 2]
    assert {result["threads"] for result in done} == {1}
    assert backends.here([("a", experiment, 0)], None, tmp_path / "alone", tmp_path / "data", None) == []
    alone = store.result(tmp_path / "alone", experiment, 0)
    assert alone["parameters_sha256"] == done[0]["parameters_sha256"]


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_its_run_alone(experiment, tmp_path):
    long = replace(experiment, passes=10**5)
    killed = []

    def kill():
        deadline = time.time() + 60
        lock = store.folder(tmp_path / "runs", long, 0) / "train.log"
        while time.time() < deadline and not (lock.is_file() and "iterations of" in lock.read_text()):
            time.sleep(0.05)
        for status in Path("/proc").glob("[0-9]*/stat"):
            words = status.read_text().rpartition(")")[2].split()
            if int(words[1]) == os.getpid() and b"spawn_main" in (status.parent / "cmdline").read_bytes():
                os.kill(int(status.parent.name), signal.SIGKILL)
                killed.append(status.parent.name)

    killer = threading.Thread(target=kill)
    killer.start()
    failed = local.train([("long", long, 0), ("short", experiment, 0)], ["cpu"], 1, **where(tmp_path))
    killer.join()
    assert len(killed) == 1
    assert failed == [("long", 0, "its process ended with status -9, perhaps because memory ran out")]
    assert store.result(tmp_path / "runs", experiment, 0)


@pytest.mark.slow
def test_a_worker_that_dies_between_two_runs_fails_the_next_run_alone(experiment, tmp_path):
    watched, alive = multiprocessing.Pipe(duplex=False)
    with alive, watched:
        worker = local.Worker("cpu", 1, watched)
        place = (tmp_path / "runs", experiment, 0, tmp_path / "data", "gpu99", None, 1, MXNET)
        assert "device gpu99 is not there" in worker.problem(worker.start("[a] ", place))
        worker.process.kill()
        worker.process.join()
        problem = worker.problem(worker.start("[b] ", place))
    assert problem == "its process ended with status -9, perhaps because memory ran out"
    assert worker.pool is None


@pytest.fixture
def command(experiment, tmp_path):
    """A function that starts a program which trains nine endless runs by one worker; returns (program, worker's pid).

    The worker has begun its first run. The program works in `folder`.
    """
    script = tmp_path / "program.py"
    script.write_text(
        "import json, signal, sys; sys.path.insert(0, sys.argv[3])\n"
        "from reproduce.training import local; from gluon_cgd.experiment import Experiment\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it\n"
        "    e = Experiment.from_dict(json.loads(sys.argv[1]))\n"
        "    local.train([('x', e, s) for s in range(9)], ['cpu'], 1, runs=sys.argv[2], data='.', weights=None)\n"
    )
    started = []

    def start(folder=ROOT):
        endless = json.dumps(replace(experiment, passes=10**5).to_dict())
        arguments = [sys.executable, str(script), endless, str(tmp_path / "runs"), str(ROOT)]
        program = subprocess.Popen(arguments, cwd=folder, stderr=subprocess.PIPE, start_new_session=True)
        started.append(program)
        deadline = time.time() + 60
        while time.time() < deadline and not trained(tmp_path):
            assert program.poll() is None, program.stderr.read()
            time.sleep(0.05)
        return program, workers_of(program.pid)

    yield start
    for program in started:
        program.kill()
        program.wait()
        program.stderr.close()


def trained(tmp_path):
    """The runs that were begun."""
    return list((tmp_path / "runs").glob("*/*/train.log"))


def workers_of(parent):
    """The processes that `parent` started to train."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            words = status.read_text().rpartition(")")[2].split()
            if int(words[1]) == parent and b"spawn_main" in (status.parent / "cmdline").read_bytes():
                found.append(int(status.parent.name))
    return found


def all_ended(workers):
    """Whether the processes `workers` are gone within half a minute."""
    deadline = time.time() + 30
    while time.time() < deadline and any(Path(f"/proc/{worker}").exists() for worker in workers):
        time.sleep(0.05)
    return not any(Path(f"/proc/{worker}").exists() for worker in workers)


@pytest.mark.slow
def test_a_worker_ends_with_the_one_that_started_it(command):
    program, workers = command()
    assert len(workers) == 1
    program.kill()
    assert all_ended(workers)


@pytest.mark.slow
def test_an_interruption_starts_no_further_run_and_leaves_no_worker(command, tmp_path):
    program, workers = command()
    os.killpg(program.pid, signal.SIGINT)  # as from a terminal, which tells the workers too
    assert program.wait(timeout=30) not in (0, None)
    assert len(trained(tmp_path)) == 1
    assert len(workers) == 1
    assert all_ended(workers)
    complaints = program.stderr.read()
    assert complaints.count(b"Traceback") == 1  # the program's own
    assert b"leaked" not in complaints


@pytest.mark.slow
def test_a_users_own_files_named_like_ours_are_not_imported_by_workers(command, tmp_path):
    for name in ("reproduce.py", "visualize.py", "gluon_cgd.py"):
        (tmp_path / name).write_text("raise SystemExit('a file of the user')")
    program, workers = command(folder=tmp_path)
    assert len(workers) == 1
    assert trained(tmp_path)


@pytest.mark.slow
def test_the_command_works_beside_a_users_own_files_named_like_ours(tmp_path):
    for name in ("reproduce.py", "visualize.py"):
        (tmp_path / name).write_text("raise SystemExit('a file of the user')")
    arguments = ["table1", "--mini", "--rows", "Rank", "--runs", str(tmp_path / "runs")]
    command = [sys.executable, str(ROOT / "reproduce" / "__main__.py"), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Written: " in done.stdout
    assert "[table1 Rank, seed 0] " in done.stderr


def test_the_runs_that_failed_are_told_together(experiment, tmp_path):
    todo = [("bad", replace(experiment, learning_rate=1e30), seed) for seed in (0, 1)]
    with pytest.raises(
        ValueError, match=r"2 of 2 runs failed \(the same command tries them again\):\n  - bad, seed 0: "
    ):
        backends.train(todo, "here", True, tmp_path / "runs", tmp_path / "data", "cpu", None)


def test_the_embedded_benchmark_gets_a_process_a_core_and_a_gpu_a_process(monkeypatch, experiment, tmp_path):
    asked = []
    monkeypatch.setattr(local, "train", lambda todo, devices, threads, **rest: asked.append((devices, threads)) or [])
    monkeypatch.setattr(backends.facts, "cores", lambda: 4)
    place = (tmp_path / "runs", tmp_path / "data")
    backends.train([("a", experiment, 0)], None, True, *place, "cpu", None)
    backends.train([("a", experiment, 0)], "local", False, *place, "cpu0,cpu1", None)
    assert asked == [(["cpu"] * 4, 1), (["cpu0", "cpu1"], 4)]


@pytest.mark.slow
def test_batches_are_learned_in_as_many_parts_as_asked_for_here_and_by_workers(experiment, tmp_path):
    for backend in ("here", "local"):
        place = (tmp_path / backend, tmp_path / "data")
        backends.train([("a", experiment, 0)], backend, False, *place, "cpu", None, parts=2)
        assert store.result(tmp_path / backend, experiment, 0)["parts"] == 2
    with pytest.raises(ValueError, match="--parts 2 works only on this machine"):
        backends.train([("a", experiment, 0)], "slurm", False, *place, "cpu", None, parts=2)


def test_a_signal_that_was_swallowed_ends_the_wait_for_workers(monkeypatch):
    class Silent:
        """A worker whose run never ends."""

        device = "cpu"

        def __init__(self, *arguments):
            pass

        def start(self, *arguments):
            progress.ending[:] = [KeyboardInterrupt]  # as the handler of the signal leaves it
            return Future()

    monkeypatch.setattr(local, "Worker", Silent)
    monkeypatch.setattr(progress, "ending", [])
    with pytest.raises(KeyboardInterrupt):
        local.train([("SM", None, 0)], ["cpu"], 1, "runs", "data", {})
