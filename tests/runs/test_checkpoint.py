import copy
import gc
import json
import re
import resource
import shutil
import tracemalloc
import zipfile

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

from gluon_cgd.engines.gluon import restore, state_of
from gluon_cgd.experiment import Experiment
from gluon_cgd.machine.sentences import sentence
from gluon_cgd.models import opened
from gluon_cgd.runs import checkpoint, results
from gluon_cgd.runs.parameters import hash_of_file, parameters_hash, save_parameters

META = {"experiment": {}, "seed": 0, "iteration": 2, "history": [{"iteration": 0}], "seconds": 1.5}


def learner(seed):
    """A small net and its trainer after two updates."""
    mx.random.seed(seed)
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(3, in_units=4), gluon.nn.BatchNorm(in_channels=3))
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.1}, kvstore=None)
    return net, trainer


def update(net, trainer, times):
    for i in range(times):
        with autograd.record():
            (net(mx.nd.arange(20).reshape((5, 4)) * (i + 1)) ** 2).mean().backward()
        trainer.step(1)


def test_a_restored_learner_goes_on_as_the_saved_one(tmp_path):
    net, trainer = learner(0)
    update(net, trainer, 2)
    checkpoint.save_checkpoint(tmp_path / "c.npz", state_of(net, trainer), META)
    other_net, other_trainer = learner(1)
    arrays, meta = checkpoint.load_checkpoint(tmp_path / "c.npz")
    assert meta == META
    restore(arrays, other_net, other_trainer, 2)
    assert parameters_hash(other_net) == parameters_hash(net)
    for each in ((net, trainer), (other_net, other_trainer)):
        update(*each, 3)
    assert parameters_hash(other_net) == parameters_hash(net)


@pytest.mark.parametrize("lost", ["adam_mean", "adam_variance", "count"])
def test_adams_moments_and_step_count_matter(tmp_path, lost):
    net, trainer = learner(0)
    update(net, trainer, 2)
    checkpoint.save_checkpoint(tmp_path / "c.npz", state_of(net, trainer), META)
    other_net, other_trainer = learner(1)
    arrays, _ = checkpoint.load_checkpoint(tmp_path / "c.npz")
    changed = {name: array * 0 if name.startswith(lost) else array for name, array in arrays.items()}
    if lost != "count":
        without = {name: array for name, array in arrays.items() if not name.startswith(lost)}
        with pytest.raises(ValueError, match="lacks Adam's state"):
            restore(without, other_net, other_trainer, 2)
    restore(changed, other_net, other_trainer, 1 if lost == "count" else 2)
    for each in ((net, trainer), (other_net, other_trainer)):
        update(*each, 1)
    assert parameters_hash(other_net) != parameters_hash(net)


def test_the_hash_is_of_names_and_values(tmp_path):
    net, _ = learner(0)
    before = parameters_hash(net)
    net[0].bias.set_data(mx.nd.array(np.full(3, 1e-7)))
    assert parameters_hash(net) != before


def test_the_hash_of_a_file_is_that_of_its_network(tmp_path):
    net, _ = learner(0)
    save_parameters(net, tmp_path / "p")
    data = (tmp_path / "p").read_bytes()
    assert hash_of_file(tmp_path / "p") == parameters_hash(net)
    for broken in (data[: len(data) // 2], b"", b"\0" * len(data), data[:-100] + b"\0" * 100):
        (tmp_path / "p").write_bytes(broken)
        assert hash_of_file(tmp_path / "p") != parameters_hash(net)


def test_runs_are_told_apart_by_seed_data_and_every_field():
    run = {"experiment": Experiment().to_dict(), "seed": 0, "data": "a"}
    results.same_run("f", {**run, "more": 1}, run)
    margin = {**run, "experiment": Experiment(margin=0.2).to_dict()}
    for other, name in ((margin, "margin 0.2"), ({**run, "seed": 1}, "seed 1"), ({**run, "data": "b"}, "data 'b'")):
        with pytest.raises(ValueError, match=f"f is of another run \\({name} there"):
            results.same_run("f", other, run)


def test_a_run_that_is_older_than_a_field_had_its_default():
    run = {"experiment": Experiment().to_dict(), "seed": 0}
    older = {"experiment": {k: v for k, v in run["experiment"].items() if k != "evaluations"}, "seed": 0}
    results.same_run("f", older, run)
    with pytest.raises(ValueError, match="evaluations 15 there, 3 asked for"):
        results.same_run("f", older, {"experiment": Experiment(evaluations=3).to_dict(), "seed": 0})


def test_a_run_stored_before_a_field_was_removed_is_the_same_run_unless_it_used_it():
    run = {"experiment": Experiment().to_dict(), "seed": 0}
    off, on = ({"experiment": {**run["experiment"], "margin_underflow": value}, "seed": 0} for value in (False, True))
    results.same_run("f", off, run)
    with pytest.raises(ValueError, match="margin_underflow True there, False asked for"):
        results.same_run("f", on, run)


def test_a_checkpoint_of_another_net_is_refused(tmp_path):
    net, trainer = learner(0)
    update(net, trainer, 1)
    checkpoint.save_checkpoint(tmp_path / "c.npz", state_of(net, trainer), META)
    arrays, _ = checkpoint.load_checkpoint(tmp_path / "c.npz")
    name = next(name for name in arrays if name.startswith("parameter:"))
    for changed in ({**arrays, name: arrays[name][:1]}, {k: v for k, v in arrays.items() if k != name}):
        with pytest.raises(ValueError, match="does not fit the model"):
            restore(changed, net, trainer, 1)


def test_moments_are_kept_by_structure_not_by_the_names_of_a_process(tmp_path):
    net, trainer = learner(0)
    update(net, trainer, 2)
    checkpoint.save_checkpoint(tmp_path / "c.npz", state_of(net, trainer), META)
    for _ in range(12):  # Gluon counts its blocks: dense9 and dense10 sort the other way round
        other_net, other_trainer = learner(1)
    restore(checkpoint.load_checkpoint(tmp_path / "c.npz")[0], other_net, other_trainer, 2)
    for each in ((net, trainer), (other_net, other_trainer)):
        update(*each, 2)
    assert parameters_hash(other_net) == parameters_hash(net)


@pytest.mark.parametrize(
    "change",
    [
        {"iteration": "7"},
        {"iteration": -5},
        {"history": []},
        {"history": None},
        {"seconds": None},
        {"experiment": None},
    ],
)
def test_a_checkpoint_with_nonsense_in_it_is_refused(tmp_path, change):
    net, trainer = learner(0)
    update(net, trainer, 1)
    checkpoint.save_checkpoint(tmp_path / "c.npz", state_of(net, trainer), {**META, **change})
    with pytest.raises(ValueError, match="c.npz cannot be read"):
        checkpoint.load_checkpoint(tmp_path / "c.npz")


def test_the_best_run_is_of_real_pictures_and_of_the_parameters_that_are_asked_for(tmp_path):
    recalls = {"letters": ("glyphs", 0.9, 0.9), "one": ("photos", 0.3, 0.6), "two": ("photos", 0.5, 0.5)}
    for name, (dataset, last, best) in recalls.items():
        (tmp_path / name).mkdir()
        experiment = {**Experiment().to_dict(), "dataset": dataset}
        result = dict(experiment=experiment, seed=0, classes=2, untrained={}, last={"R@1": last}, best={"R@1": best})
        (tmp_path / name / "result.json").write_text(json.dumps(result))
        for which in ("last", "best"):
            (tmp_path / name / f"{which}.params").touch()
    assert opened.find_best(tmp_path) == str(tmp_path / "two")
    assert opened.find_best(tmp_path, "best") == str(tmp_path / "one")
    (tmp_path / "two" / "last.params").unlink()
    assert opened.find_best(tmp_path) == str(tmp_path / "one")
    assert opened.best_run(tmp_path, letters=False) == str(tmp_path / "one")
    for name in ("one", "two"):
        shutil.rmtree(tmp_path / name)
    assert opened.best_run(tmp_path) == str(tmp_path / "letters")
    assert opened.best_run(tmp_path, letters=False) is None  # `index` takes no model of letters for photos
    with pytest.raises(FileNotFoundError, match="holds no trained model"):
        opened.find_best(tmp_path / "nowhere")
    (tmp_path / "another user's" / "result.json").mkdir(parents=True)  # cannot be read, as one without permission
    assert opened.best_run(tmp_path) == str(tmp_path / "letters")


def members(file):
    """{name: bytes} of a checkpoint."""
    with zipfile.ZipFile(file) as stored:
        return {entry.filename: stored.read(entry) for entry in stored.infolist()}


def npy(text, data=b""):
    """An .npy file that describes itself by `text`."""
    head = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + data


def bomb(file):
    """As `file`, compressed, with 64 MB of zeros."""
    arrays = dict(np.load(file))
    np.savez_compressed(file, **{**arrays, "parameter:0.weight": np.zeros(2**24, np.float32)})


def overlapping(file):
    """As `file`, with a thousand more names for one array."""
    parts = members(file)
    with zipfile.ZipFile(file, "w") as stored:
        for name, data in parts.items():
            stored.writestr(name, data)
        for number in range(1000):
            entry = copy.copy(stored.getinfo("parameter:0.weight.npy"))
            entry.filename = f"{number}.npy"
            stored.filelist.append(entry)


def with_array(data):
    """A change: the first array of a checkpoint is `data`."""

    def change(file):
        parts = {**members(file), "parameter:0.weight.npy": data}
        with zipfile.ZipFile(file, "w") as stored:
            for name, part in parts.items():
                stored.writestr(name, part)

    return change


def with_meta(text):
    """A change: the description in a checkpoint is `text`."""

    def change(file):
        np.savez(file, **{**dict(np.load(file)), "meta": np.array(text)})

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (bomb, "it is compressed, as checkpoints are not"),
        (overlapping, "its parts overlap"),
        (with_array(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000,), }")), "another size or"),
        (with_array(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", b"1234")), ""),
        (
            with_array(npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"12345678")),
            "another size",
        ),
        (with_array(npy("{'descr': '<U0', 'fortran_order': False, 'shape': (9,), }")), ""),
        (with_array(npy("(" * 60000)), ""),
        (with_array(b"no array"), ""),
        (with_array(b"\x93NUMPY\x02\x00" + b"\xff" * 8), "of another version of NumPy"),
        (with_meta("[" * 100_000), ""),
        (with_meta('{"iteration": ' + "9" * 5000 + "}"), ""),
        (with_meta("{}"), "it has no 'experiment'"),
        (
            with_meta(json.dumps({**META, "iteration": 10**12})),
            "it has 'iteration' 1000000000000, which must",
        ),
        (with_meta(json.dumps({**META, "iteration": True})), "it has 'iteration' True"),
        (with_meta(json.dumps({**META, "seconds": float("nan")})), "it has 'seconds' nan"),
        (with_meta(json.dumps({**META, "history": [7]})), "it has 'history' 7, which must be a table"),
        (with_meta(json.dumps({**META, "files": {"best.params": 1}})), "it has 'files' 1, which must be a text"),
        (with_meta(json.dumps({**META, "experiment": {"dim": 10**9}})), "dim 1000000000 must be from 1 to 65536"),
    ],
)
def test_a_hostile_checkpoint_is_refused_before_it_takes_memory(tmp_path, change, message):
    net, trainer = learner(0)
    update(net, trainer, 1)
    file = tmp_path / "c.npz"
    checkpoint.save_checkpoint(file, state_of(net, trainer), META)
    change(file)
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"c.npz cannot be read .*{message}.*: delete it to train from the start"):
        checkpoint.load_checkpoint(file)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert checkpoint.iteration(file) in (0, META["iteration"])


@pytest.mark.parametrize("history", [[{"iteration": 0}], [{"iteration": 0, "recall": {"R@1": 7}}]])
def test_a_history_that_cannot_be_is_refused_before_training_goes_on(tmp_path, history):
    net, trainer = learner(0)
    update(net, trainer, 1)
    checkpoint.save_checkpoint(tmp_path / "checkpoint.npz", state_of(net, trainer), {**META, "history": history})
    with pytest.raises(ValueError, match="checkpoint.npz has .* under 'history'.*: delete it to train from the start"):
        checkpoint.resumable(tmp_path, {"experiment": {}, "seed": 0})


@pytest.mark.parametrize("room", [0, 500, 2000])
def test_a_disk_that_is_full_is_one_error_that_names_the_file_and_the_old_file_stays(tmp_path, room, monkeypatch):
    """Also nothing is printed when the half-written archive is forgotten: pytest makes an error of that."""
    net, trainer = learner(0)
    update(net, trainer, 2)
    checkpoint.save_checkpoint(tmp_path / "c.npz", state_of(net, trainer), META)
    save_parameters(net, tmp_path / "p.params")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    net[0].weight.set_data(mx.nd.ones((3, 4)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))  # bytes of a file: writing more fails
    try:
        with pytest.raises(OSError, match=r"c\.npz") as full:
            checkpoint.save_checkpoint(tmp_path / "c.npz", state_of(net, trainer), META)
        assert re.search(r"c.npz cannot (be written|become so large).*: ", sentence(full.value))
        if room < 500:
            with pytest.raises(OSError, match=r"p\.params") as full:
                save_parameters(net, tmp_path / "p.params")
            assert re.search(r"p.params cannot (be written|become so large).*: ", sentence(full.value))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    gc.collect()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("every", "step", "takes", "expected"),
    [
        (None, 0.05, 0.01, [100, 200, 300, 400]),
        (None, 0.05, 0.4, [100, 300, 500, 700]),  # a twentieth of 8 seconds, which 160 steps take
        (None, 14, 1, [43, 86, 100, 143]),  # ten minutes
        (7, 0.05, 60, [7, 14, 21, 28]),
    ],
)
def test_a_checkpoint_is_due_after_so_many_steps_or_so_long_and_takes_a_twentieth_at_most(every, step, takes, expected):
    now, found = 1000.0, []
    due = checkpoint.Due(every, now)
    for iteration in range(1, 1000):
        now += step
        if due.at(iteration, now) and len(found) < 4:
            found.append(iteration)
            due.written(now, now + takes)
            now += takes
    assert found == expected
