"""How far all shards are, on one line, and what is said of a process or a job that ended."""

import multiprocessing
import os
import signal
import threading

import pytest

from gluon_cgd.cluster import jobs, watch
from gluon_cgd.cluster.options import Options
from gluon_cgd.machine.progress import Task
from gluon_cgd.shards import filling as shard_filling
from gluon_cgd.shards import local, slurm


def test_progress_counts_the_pictures_of_all_shards_and_names_the_rate(begun, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(local.time, "monotonic", lambda: now[0])
    plan, _ = begun(3)
    shard_filling.fill(plan, 1)
    done = plan.done(1)
    doing = Task("indexing", plan.pictures, "img", done, False, 100.0)
    progress = local.Progress(plan, doing)
    shard_filling.fill(plan, 2)
    plan.summary_file(2).unlink()  # embedded, and not done
    now[0] = 102.0
    progress.look()
    count = done + plan.parts[1].pictures
    rate = f"{plan.parts[1].pictures / 2:.1f}"
    assert doing.line(102.0).startswith(
        f"indexing, 1 of 3 shards done, {rate} pictures/s: {count} of 20 img, 2 s so far, "
    )
    assert doing.line(102.0).endswith(" s left at this rate")
    shard_filling.fill(plan, 2)
    shard_filling.fill(plan, 3)
    progress.look()
    assert doing.done == 20
    assert doing.title.startswith("indexing, 3 of 3 shards done")


def die(plan, number, device, skip_bad, sender, watched):
    """A process of a shard that dies, as when memory runs out."""
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 2:
        raise SystemExit(3)
    sender.send("")


@pytest.mark.slow
def test_a_process_that_dies_is_told_and_the_others_go_on(begun, monkeypatch):
    monkeypatch.setattr(local, "work", die)
    plan, _ = begun(3)
    looks = []
    failed = local.run(plan, [1, 2, 3], ["cpu", "cpu"], False, lambda: looks.append(0))
    assert failed == {
        1: "its process was ended by signal 9, perhaps because memory ran out",
        2: "its process ended with status 3",
    }
    assert looks


def test_whatever_a_process_says_it_ends(begun, monkeypatch):
    """What it says is read when it has ended."""

    def fail(*_):
        raise ValueError("x" * 1_000_000)

    monkeypatch.setattr(local, "fill", fail)
    monkeypatch.setattr(local, "end_with", lambda watched: None)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    work = threading.Thread(target=local.work, args=(None, 1, None, False, sender, None), daemon=True)
    work.start()
    work.join(10)
    assert not work.is_alive()
    assert receiver.recv() == "x" * local.LONGEST


@pytest.mark.parametrize("appears", [True, False])
def test_the_summary_of_a_job_may_be_seen_later_than_its_end(begun, monkeypatch, appears):
    """As on NFS; a shard whose job failed is not waited for."""
    plan, _ = begun(3)
    now, late = [0], plan.folder / "late"

    def sleep(seconds):
        now[0] += seconds
        if now[0] == 5 and appears:
            os.rename(late, plan.summary_file(2))

    monkeypatch.setattr(slurm.time, "sleep", sleep)
    monkeypatch.setattr(slurm.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(jobs, "run", lambda *_: [None, None, "it failed"])
    for number in (1, 2):
        shard_filling.fill(plan, number)
    os.rename(plan.summary_file(2), late)
    assert slurm.run(plan, [1, 2, 3], Options(), False, None, None) == {3: "it failed"}
    assert now[0] == (5 if appears else watch.PATIENCE)
    assert plan.waiting() == ([3] if appears else [2, 3])
