"""No silence gets long: what says how far a long task is, and that every long loop goes through it."""

import ast
import logging
import re
import threading
from pathlib import Path

import numpy as np
import pytest

from gluon_cgd.datasets import glyphs
from gluon_cgd.datasets.cache import cached, unreadable
from gluon_cgd.evaluate import embed
from gluon_cgd.machine import progress
from gluon_cgd.runs.log import logged_to
from gluon_cgd.train import fit
from reproduce.report import formats
from reproduce.tables import TABLES
from reproduce.training import plan

ROOT = Path(__file__).resolve().parents[2]


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def watch():
    """A Watch of a Clock; `said` are its lines with their seconds."""
    clock, said = Clock(), []
    watch = progress.Watch(progress.FIRST, clock, lambda line: said.append((clock.now - 1000, line)))
    watch.said = said
    return watch


def wait(watch, seconds):
    """As the thread does for `seconds`, in which the main thread is busy with one step."""
    end = watch.clock.now + seconds
    left = watch.look()
    while watch.clock.now + left <= end:
        watch.clock.now += left
        left = watch.look()
    watch.clock.now = end


def doing(watch, title, total=None, unit="", done=0):
    task = progress.Task(title, total, unit, done, False, watch.clock())
    watch.tasks.append(task)
    return task


def test_a_line_comes_within_five_seconds_and_then_every_fifteen_however_long_a_step_takes(watch):
    doing(watch, "rendering the letters", 6000, "pictures")
    wait(watch, 75)
    times = [seconds for seconds, _ in watch.said]
    assert times[0] <= 5
    assert max(np.diff([*times, 75])) <= 15
    assert len(times) <= 8  # not many more than needed


def test_other_lines_of_the_log_count(watch):
    doing(watch, "training", 100, "it")
    for _ in range(20):
        wait(watch, 3)
        watch.hear()
    assert not watch.said
    wait(watch, 14)
    assert len(watch.said) == 1


def test_the_innermost_task_is_named_with_how_far_it_is(watch):
    outer = doing(watch, "train")
    inner = doing(watch, "pictures at 252", 4000, "img", done=1000)
    watch.clock.now += 10
    inner.update(1000)
    assert inner.line(watch.clock()) == "pictures at 252: 2,000 of 4,000 img, 10 s so far, 20 s left at this rate"
    inner.at(4000)
    assert inner.line(watch.clock()) == "pictures at 252: 4,000 of 4,000 img, 10 s so far"
    assert outer.line(watch.clock() + 200) == "train: 4 min so far"
    watch.look()
    assert watch.said[-1][1].startswith("pictures at 252")
    watch.tasks.remove(inner)
    wait(watch, 15)
    assert watch.said[-1][1].startswith("train: ")


@pytest.mark.parametrize(
    ("total", "unit", "done", "line"),
    [
        (None, "B", 2_500_000, "a: 2.5 MB, 8000 s so far"),
        (1_200_000_000, "B", 2_500_000, "a: 2.5 MB of 1,200.0 MB, "),
        (None, "", 0, "a: 2.2 h so far"),
        (None, "files", 7, "a: 7 files, 2.2 h so far"),
        (0, "files", 0, "a: 2.2 h so far"),
        (10, "", 0, "a: 0 of 10, 2.2 h so far"),
    ],
)
def test_what_a_line_says_of_bytes_and_of_an_unknown_total(total, unit, done, line):
    task = progress.Task("a", total, unit, 0, False, 0.0)
    task.update(done)
    assert task.line(8000).startswith(line.replace("8000 s", "2.2 h"))


def test_a_bar_is_refreshed_and_says_no_lines(watch, capsys):
    task = progress.Task("indexing", 10, "img", 0, True, watch.clock())
    watch.tasks.append(task)
    task.update(3)
    task.note("ranking=0.1")
    wait(watch, 60)
    task.bar.close()
    assert not watch.said
    assert "3/10" in capsys.readouterr().err


def test_a_task_that_waits_for_people_says_nothing(watch):
    doing(watch, "serve")
    waiting = doing(watch, "")
    wait(watch, 600)
    assert not watch.said
    watch.tasks.remove(waiting)
    wait(watch, 20)
    assert {line.split(":")[0] for _, line in watch.said} == {"serve"}


def test_the_thread_speaks_while_the_main_thread_works(monkeypatch):
    monkeypatch.setattr(progress, "THEN", 0.05)  # on a busy machine it may speak before it is listened to
    said = threading.Event()
    with progress.watched(0.05) as watch, progress.task("working"):
        watch.say = lambda line: said.set()
        assert said.wait(5)


def test_the_thread_ends_with_the_last_task_and_leaves_the_loggers_as_they_were():
    logger = logging.getLogger("gluon_cgd")
    before = list(logger.handlers)
    with progress.task("outer") as outer, progress.watched() as watch:
        inner = progress.each([1, 2], "inner")
        next(inner)
        assert [task.title for task in watch.tasks] == ["outer", "inner"]
        thread = progress._watching
    assert progress._watching is thread  # the loop that was left half-way still works
    inner.close()
    assert progress._watching is None
    thread.join(5)
    assert not thread.is_alive()
    assert logger.handlers == before
    assert outer.done == 0


def test_a_line_of_the_package_is_heard():
    with progress.watched(progress.FIRST) as watch:
        logging.getLogger("gluon_cgd.somewhere").warning("a line")
        assert watch.limit == progress.THEN


def test_the_run_log_holds_no_lines_of_progress(tmp_path):
    with logged_to(tmp_path / "train.log"):
        progress.log.info("training: 1 of 2 it")
        logging.getLogger("gluon_cgd.train").info("a line")
    assert (tmp_path / "train.log").read_text().endswith(" a line\n")
    assert "1 of 2" not in (tmp_path / "train.log").read_text()


def test_nothing_makes_bars_of_its_own():
    for package in ("gluon_cgd", "reproduce", "visualize"):
        for file in (ROOT / package).rglob("*.py"):
            if file.name == "progress.py":
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    assert getattr(node.func, "id", "") != "tqdm", f"{file}:{node.lineno}: use machine.progress.task"


@pytest.fixture
def titles(monkeypatch):
    """The titles of all tasks that are begun."""
    begun = []

    class Recorded(progress.Task):
        def __init__(self, title, *rest):
            begun.append(title)
            super().__init__(title, *rest)

    monkeypatch.setattr(progress, "Task", Recorded)
    return begun


def test_letters_pictures_and_checks_are_tasks(titles, tmp_path, small_split, monkeypatch):
    monkeypatch.setattr(glyphs, "TRAIN_IMAGES", 0)
    monkeypatch.setattr(glyphs, "TEST_IMAGES", 1)
    monkeypatch.setattr(glyphs, "picture", lambda label, index: np.zeros((2, 2, 3), np.uint8))
    glyphs.write(tmp_path / "glyphs")
    cached(small_split.query, 16, tmp_path)
    unreadable(small_split.query)
    assert titles == ["rendering the letters", "pictures at 16", "verifying"]


def test_many_pictures_are_a_task_and_one_batch_is_none(titles):
    import mxnet as mx

    def net(batch):
        return [mx.nd.ones((len(batch), 2))]

    embed(net, np.zeros((5, 16, 16, 3), np.uint8), mx.cpu(), batch_size=5)
    assert not titles
    embed(net, np.zeros((5, 16, 16, 3), np.uint8), mx.cpu(), batch_size=2)
    assert titles == ["embedding"]
    assert list(progress.by_batches(0, 2)) == []
    for size in (0, -2):  # with -2 there were no batches, and what `embed` returned had never been written
        with pytest.raises(ValueError, match=f"batch_size {size} must be at least 1"):
            list(progress.by_batches(5, size))


def test_training_and_evaluating_are_tasks(titles, small_experiment, small_split, tmp_path):
    fit(small_experiment, small_split, tmp_path)
    assert "training" in titles
    assert "embedding" in titles


def test_plans_are_tasks(titles, tmp_path):
    tables = [TABLES["table1"]]
    plan.as_text(tables, plan.wanted(tables, 1, True, tmp_path), True, tmp_path)
    assert titles == ["looking for runs that are done", "counting parameters"]


def test_every_command_is_watched_from_its_first_moment(titles, tmp_path, capsys):
    from gluon_cgd.__main__ import COMMANDS, main
    from reproduce.command import main as reproduce
    from visualize import similarity

    for command in COMMANDS:
        with pytest.raises(SystemExit):
            main([command, "--help"])
    assert titles == list(COMMANDS)
    titles.clear()
    reproduce([])
    similarity.main([str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--runs", str(tmp_path)])
    assert titles[0] == "reproduce"
    assert len(titles) == 2
    assert formats.listing() in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "title"),
    [
        ("gluon_cgd/fetch/download.py", "task(wanted.file.name"),
        ("gluon_cgd/fetch/archives.py", 'f"unpacking {archive.name}"'),
        ("gluon_cgd/commands/index.py", '"indexing"'),
        ("gluon_cgd/commands/index.py", "task(options.engine"),
        ("gluon_cgd/retrieval/embed.py", '"embedding"'),
        ("gluon_cgd/models/onnx_model.py", "by_batches("),
        ("gluon_cgd/export/int8.py", '"calibrating"'),
        ("reproduce/training/local.py", '"training"'),
        ("reproduce/training/costs.py", '"measuring networks"'),
        ("reproduce/efficiency.py", 'f"measuring, '),
        ("reproduce/figure4.py", '"heatmaps"'),
    ],
)
def test_the_other_long_loops_are_tasks_too(file, title):
    """Their own tests run them; here is only that nobody takes the task away."""
    assert re.search(r"\b(task|each|by_batches)\(", (ROOT / file).read_text(encoding="utf-8"))
    assert title in (ROOT / file).read_text(encoding="utf-8")
