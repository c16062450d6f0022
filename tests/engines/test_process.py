"""What the parent of the PyTorch process does with what it hears; a script stands in for that process."""

import json
import logging
import os
import sys
from types import SimpleNamespace

import pytest

from gluon_cgd.engines import environment, process
from gluon_cgd.runs import checkpoint

CHILD = """
import json, sys
asked = json.loads(sys.argv[1])
with open({log!r}, "a") as log:
    print(json.dumps(asked), file=log)
for told in {told!r}[asked["records"]]:
    print(json.dumps(told))
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Call it to say what the child tells, without and with recordings; returns a function that follows it."""

    def machine(*told):
        script, log = tmp_path / "child.py", tmp_path / "asked"
        script.write_text(CHILD.format(log=str(log), told=told))
        start = lambda python, name, asked: dict(  # noqa: E731
            args=[sys.executable, str(script), json.dumps(asked)], env=dict(os.environ), cwd="/"
        )
        monkeypatch.setattr(environment, "interpreter", lambda: "python")
        monkeypatch.setattr(environment, "module", start)
        material = SimpleNamespace(
            experiment=SimpleNamespace(iterations=lambda count: 60), split=SimpleNamespace(train=[]), progress=False
        )

        def follow():
            lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
            try:
                process.follow(dict(out=str(tmp_path), deterministic=False, records=True), material, lock)
            finally:
                os.close(lock)
            return [json.loads(line)["records"] for line in log.read_text().splitlines()]

        return follow

    return machine


def test_a_step_that_cannot_be_recorded_is_started_by_kernels_in_a_new_process(child, caplog):
    caplog.set_level(logging.INFO)
    follow = child([{"at": 5, "note": ""}], [{"unrecorded": "not permitted"}])
    assert follow() == [True, False]
    assert "each kernel is started by itself, from now on: the step cannot be recorded (not permitted)" in caplog.text


def test_what_the_child_cannot_do_is_raised(child):
    with pytest.raises(ValueError, match="cuda0 has too little free memory"):
        child([], [{"error": "cuda0 has too little free memory"}])()


def test_the_time_that_is_left_counts_the_steps_of_this_process(child, tmp_path, monkeypatch):
    meta = dict(iteration=50, history=[], seconds=1.0, experiment={}, seed=0, data="", revision=1)
    checkpoint.save_checkpoint(tmp_path / "checkpoint.npz", {}, meta)
    begun = []
    task = process.task
    monkeypatch.setattr(process, "task", lambda *words: begun.append(words) or task(*words))
    child([], [{"at": 51, "note": ""}])()
    assert begun == [("training", 60, "it", False, 50)]
