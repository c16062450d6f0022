"""Histories of a store: runs that are missing, half done, killed, copied, under way elsewhere, among other files.

What learns is a layer of six numbers, everything around it is what trains the tables.
"""

import contextlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd
from mxnet.gluon import nn

from gluon_cgd import train
from gluon_cgd.engines.gluon import GluonEngine
from gluon_cgd.experiment import REVISION
from gluon_cgd.files.lock import locked
from gluon_cgd.runs import checkpoint, regime, results
from gluon_cgd.runs.parameters import save_parameters
from reproduce import selection, store
from reproduce.command import main
from reproduce.report import formats
from reproduce.tables import TABLES, Row, Table
from reproduce.training import backends

SEEDS = 3


class Killed(BaseException):
    """What ends a process at once."""


class Light(train.Run):
    """A run of twenty iterations whose network is one small layer; `dies` says when the process is killed."""

    dies = -1

    def __init__(self, experiment, split, out, run, *_):
        self.experiment, self.out, self.run = experiment, out, run
        self.progress, self.iterations = False, 20
        self.labels, self.pictures = np.arange(4), None
        mx.random.seed(run["seed"] + int(1000 * experiment.margin))
        self.net = nn.Dense(2, in_units=2)
        self.net.initialize(mx.init.Normal(1))
        self.trainer = mx.gluon.Trainer(self.net.collect_params(), "adam", {"learning_rate": 0.1}, kvstore=None)
        self.engine = GluonEngine(SimpleNamespace(net=self.net, trainer=self.trainer, devices=[mx.cpu()], parts=1))
        self.iteration, self.history, self.seconds = 0, [], 0.0
        self.pending, self.files, self.ranks, self.watch = [], {}, {}, regime.Watch(experiment, self.iterations)
        file = out / "checkpoint.npz"
        if file.is_file():
            arrays, meta = checkpoint.load_checkpoint(file)
            results.same_run(file, meta, run)
            self.engine.restore(arrays, meta["iteration"])
            self.iteration, self.history, self.seconds = meta["iteration"], meta["history"], meta["seconds"]
            self.watch = regime.Watch(experiment, self.iterations, meta["curve"])

    def batches(self):
        for iteration in range(self.iteration, self.iterations):
            yield np.array([0, 1]), np.random.default_rng([self.run["seed"], iteration]).normal(size=(2, 2))

    def step(self, batch, labels):
        if Light.dies == 0:
            raise Killed
        Light.dies -= 1
        with autograd.record():
            loss = (self.net(mx.nd.array(batch)) ** 2).mean()
        loss.backward()
        self.trainer.step(1)
        return loss.reshape(1)

    def evaluate(self):
        mx.nd.waitall()
        value = float(abs(np.sin(1e3 * self.net.weight.data().asnumpy())).mean())
        self.history.append({"iteration": self.iteration, "recall": {"R@1": value}})
        if self.iteration and train.results.best_of(self.history) is self.history[-1]:
            save_parameters(self.net, self.out / "best.params")


@pytest.fixture
def table(monkeypatch, small_experiment, small_split):
    """A table of two rows with light runs in this process."""
    from dataclasses import replace

    rows = [Row(name, replace(small_experiment, margin=margin), {}) for name, margin in (("one", 0.1), ("two", 0.2))]
    quick = Table("table1", "light", tuple(rows), orderings=(("two", "one"),))
    monkeypatch.setitem(TABLES, "table1", quick)
    monkeypatch.setattr(selection, "mini", lambda experiment: experiment)
    monkeypatch.setattr(store, "load_data", lambda name, data: small_split)
    monkeypatch.setattr(train, "Run", Light)
    monkeypatch.setattr(train.results.facts, "commit", lambda: None)
    monkeypatch.setattr(
        backends.local,
        "train",
        lambda todo, *_, runs, data, weights, progress, parts, engine: backends.here(
            todo, None, runs, data, weights, parts
        ),
    )
    monkeypatch.setattr(formats, "plot", lambda *arguments: Path(arguments[-1]).write_bytes(b""))
    monkeypatch.setattr(Light, "dies", -1)
    return quick


def reproduce(runs):
    return main(["table1", "--mini", "--seeds", str(SEEDS), "--runs", str(runs)])


def folders(table, runs):
    return [store.folder(runs, row.experiment, seed) for row in table.rows for seed in range(SEEDS)]


def happen(rng, table, runs):
    """Let one thing happen to the store `runs`; returns what a person has to put right by hand, or None."""
    one, other = rng.permutation(len(folders(table, runs)))[:2]
    folder, source = folders(table, runs)[one], folders(table, runs)[other]
    what = rng.integers(8)
    if what <= 1:  # killed while it trains
        Light.dies = int(rng.integers(70))
        with pytest.raises(Killed) if Light.dies < waiting(table, runs) else contextlib.nullcontext():
            reproduce(runs)
        Light.dies = -1
    elif what == 2:
        shutil.rmtree(folder, ignore_errors=True)
    elif what == 3 and (folder / "result.json").is_file():  # its end is lost
        (folder / "result.json").unlink()
    elif what == 4:  # strangers
        folder.mkdir(parents=True, exist_ok=True)
        for stranger in (
            folder / "notes.txt",
            folder.parent / ".DS_Store",
            folder / "result.json.0.tmp",
            runs / "x.npz",
        ):
            stranger.write_text("mine")
        (folder.parent / f"r{REVISION}-seedling").mkdir(exist_ok=True)
        (folder.parent / "r0-seed0").mkdir(exist_ok=True)
    elif what == 5:  # somebody else trains it
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "result.json").is_file():
            with locked(folder):
                assert reproduce(runs) == 2
    elif what == 6 and (source / "result.json").is_file():  # a run copied to another's place
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        assert reproduce(runs) == 2
        return folder
    elif what == 7 and (folder / "result.json").is_file():  # a file cut off
        file = folder / "result.json"
        file.write_bytes(file.read_bytes()[: int(rng.integers(200))])
        assert reproduce(runs) == 0  # it is trained again
    return None


def waiting(table, runs):
    """Iterations that are still to be trained."""
    left = 0
    for folder in folders(table, runs):
        if not (folder / "result.json").is_file():
            left += 20 - checkpoint.iteration(folder / "checkpoint.npz")
    return left


@pytest.mark.slow
@pytest.mark.parametrize("histories", [range(5), pytest.param(range(5, 50), marks=pytest.mark.slow)])
def test_histories_leave_the_store_consistent_and_the_report_true(histories, table, tmp_path, capsys):
    assert reproduce(tmp_path / "quiet") == 0
    quiet = [json.loads((folder / "result.json").read_text()) for folder in folders(table, tmp_path / "quiet")]
    capsys.readouterr()
    for history in histories:
        rng, runs = np.random.default_rng(history), tmp_path / str(history)
        runs.mkdir()
        for _ in range(6):
            wrong = happen(rng, table, runs)
            if wrong:  # the message says to delete it
                shutil.rmtree(wrong) if wrong.is_dir() else Path(wrong).unlink()
        assert reproduce(runs) == 0
        out = capsys.readouterr().out
        after = [json.loads((folder / "result.json").read_text()) for folder in folders(table, runs)]
        for found, expected in zip(after, quiet):
            assert {**found, "seconds": 0} == {**expected, "seconds": 0}
        for row, finished in zip(table.rows, (after[:SEEDS], after[SEEDS:])):
            values = [100 * result["last"]["R@1"] for result in finished]
            cell = f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"
            assert f"{cell} " in out.replace("\n", " "), row.name
        assert not list(runs.rglob("checkpoint.npz"))
        shutil.rmtree(runs)
