"""Runs that are trained by processes of their own on this machine."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from reproduce import store
from reproduce.training import backends, local

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def experiment(small_experiment, glyph_folder):
    """A dozen iterations on a folder of pictures: what a process of its own can read."""
    return replace(small_experiment, dataset=str(glyph_folder), batch_classes=2)


def where(tmp_path):
    return dict(runs=tmp_path / "runs", data=tmp_path / "data", weights=None)


def test_two_workers_give_the_bits_of_one_process_and_a_run_that_fails_stops_no_other(experiment, tmp_path):
    diverges = replace(experiment, learning_rate=1e30)
    todo = [("a", experiment, 0), ("bad", diverges, 0), ("b", experiment, 1), ("c", experiment, 2)]
    failed = local.train(todo, ["cpu", "cpu"], 1, **where(tmp_path))
    assert [run[:2] for run in failed] == [("bad", 0)]
    assert "the run has diverged" in failed[0][2]
    done = store.every(tmp_path / "runs", experiment)
    assert [result["seed"] for result in done] == [0, 1, 2]
    assert {result["threads"] for result in done} == {1}
    assert backends.here([("a", experiment, 0)], None, tmp_path / "alone", tmp_path / "data", None) == []
    alone = store.result(tmp_path / "alone", experiment, 0)
    assert alone["parameters_sha256"] == done[0]["parameters_sha256"]


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_its_run_alone(experiment, tmp_path):
    long = replace(experiment, passes=10**6)
    killed = []

    def kill():
        deadline = time.time() + 60
        lock = store.folder(tmp_path / "runs", long, 0) / "train.log"
        while time.time() < deadline and not (lock.is_file() and "iterations of" in lock.read_text()):
            time.sleep(0.05)
        for status in Path("/proc").glob("[0-9]*/stat"):
            words = status.read_text().rpartition(")")[2].split()
            if int(words[1]) == os.getpid() and b"reproduce.training.local" in (status.parent / "cmdline").read_bytes():
                os.kill(int(status.parent.name), signal.SIGKILL)
                killed.append(status.parent.name)

    killer = threading.Thread(target=kill)
    killer.start()
    failed = local.train([("long", long, 0), ("short", experiment, 0)], ["cpu"], 1, **where(tmp_path))
    killer.join()
    assert len(killed) == 1
    assert failed == [("long", 0, "its process ended with status -9, for want of memory perhaps")]
    assert store.result(tmp_path / "runs", experiment, 0)


def test_a_worker_ends_with_the_one_that_started_it(experiment, tmp_path):
    asked = {
        "experiment": replace(experiment, passes=10**6).to_dict(),
        "seed": 0,
        "ctx": "cpu",
        "weights": None,
        "parts": 1,
    }
    asked = json.dumps({**asked, "runs": str(tmp_path / "runs"), "data": str(tmp_path)}) + "\n"
    worker = local.start(1)
    worker.stdin.write(asked)
    worker.stdin.flush()
    while "log" in json.loads(worker.stdout.readline()) and not list((tmp_path / "runs").glob("*/*/train.log")):
        pass
    worker.stdin.close()  # as when its parent is killed
    assert worker.wait(timeout=30) == 1
    worker.stdout.close()


def test_an_interruption_starts_no_further_run_and_leaves_no_worker(experiment, tmp_path):
    script = (
        "import json, signal, sys; from reproduce.training import local; from gluon_cgd.experiment import Experiment\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it\n"
        "e = Experiment.from_dict(json.loads(sys.argv[1]))\n"
        "local.train([('x', e, s) for s in range(9)], ['cpu'], 1, runs=sys.argv[2], data='.', weights=None)"
    )
    arguments = [json.dumps(replace(experiment, passes=10**6).to_dict()), str(tmp_path / "runs")]
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.time() + 60
    while time.time() < deadline and not list((tmp_path / "runs").glob("*/*/train.log")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) not in (0, None)
    assert len(list((tmp_path / "runs").glob("*/*/train.log"))) == 1


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
    with pytest.raises(ValueError, match="--parts 2 is for runs on this machine"):
        backends.train([("a", experiment, 0)], "slurm", False, *place, "cpu", None, parts=2)
