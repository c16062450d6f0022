"""The hand-over between the engines: written and read, and refused in a sentence where it is damaged or foreign."""

import json

import numpy as np
import pytest

from gluon_cgd import train
from gluon_cgd.engines import choice, process, training_file
from gluon_cgd.engines.material import Material, identity
from gluon_cgd.files.arrays import write_stored
from gluon_cgd.runs.parameters import hash_of
from gluon_cgd.train import fit

PYTORCH = {"engine": {"name": "pytorch", "precision": "float32"}}


@pytest.fixture
def written(small_experiment, small_split, tmp_path):
    """(file, the run's identity) of a training file."""
    run = {**identity(small_experiment, small_split, 3, None), **PYTORCH, "weights": None}
    file = tmp_path / training_file.NAME
    process.write(file, Material(small_experiment, small_split), run, None)
    return file, run


def test_it_holds_all_that_a_run_needs(written, small_experiment, small_split):
    file, run = written
    found = training_file.read(file)
    assert (found.experiment, found.split, found.run) == (small_experiment, small_split, run)
    assert found.heads[:3] == ("ranking", "classification", "embedding")
    assert set(found.learned) < set(found.values)
    assert {value.dtype for value in found.values.values()} == {np.dtype(np.float32)}
    train, query, gallery = (training_file.opened(found, part) for part in training_file.PARTS)
    assert (train.shape, query.shape, gallery) == ((48, 18, 18, 3), (32, 16, 16, 3), None)
    np.testing.assert_array_equal(train, Material(small_experiment, small_split).pictures()[0])
    assert not train.flags.owndata  # it is memory-mapped


def test_equal_seeds_give_equal_first_parameters_and_others_do_not(small_experiment, small_split, tmp_path):
    hashes = []
    for number, seed in enumerate((0, 0, 1)):  # one more than the other needs: Gluon counts its networks
        run = {**identity(small_experiment, small_split, seed, None), **PYTORCH}
        process.write(tmp_path / str(number), Material(small_experiment, small_split), run, None)
        hashes.append(hash_of(training_file.read(tmp_path / str(number)).values))
    assert hashes[0] == hashes[1] != hashes[2]


def described(file, change):
    """Write the training file `file` anew, its table changed by `change`."""
    arrays = training_file.read_stored(file, "fu")
    table = json.loads(arrays[training_file.META].tobytes())
    change(table)
    write_stored(file, {**arrays, training_file.META: np.frombuffer(json.dumps(table).encode(), np.uint8)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.update(format=7), "'format' 7, and this version"),
        (lambda table: table.update(graph=[]), "'graph' that is no text"),
        (lambda table: table["learned"].append("nowhere.weight"), "lacks the parameter nowhere.weight"),
        (lambda table: table["experiment"].update(dim=-1), "dim -1 must be"),
        (lambda table: table["run"].update(revision=1), "of another version"),
        (lambda table: table["run"].pop("engine"), "no 'engine'"),
        (lambda table: table["split"]["train"].pop(), "train pictures are not those of its records"),
        (lambda table: table["split"]["query"].append(["a", "b"]), "no picture's record"),
        (lambda table: table["pictures"].update(train=["a", [1, 2]]), "names no file of pictures"),
        (lambda table: table.pop("heads"), "no 'heads'"),
    ],
)
def test_a_foreign_one_is_refused_in_a_sentence(written, change, message):
    described(written[0], change)
    with pytest.raises(ValueError, match=rf"training.npz is not a training file .*{message}.*: the same command"):
        training_file.read(written[0])


def test_a_damaged_one_is_refused_in_a_sentence(written):
    file, data = written[0], written[0].read_bytes()
    for broken in (b"", data[: len(data) // 2], b"\0" * len(data), data[:-100] + b"\0" * 100, b"{}"):
        file.write_bytes(broken)
        with pytest.raises(ValueError, match=r"training.npz is not a training file that can be read"):
            training_file.read(file)
    np.savez(file, training=np.array([{"pickled": "object"}], dtype=object))
    with pytest.raises(ValueError, match="is not a training file that can be read"):
        training_file.read(file)


def test_pictures_that_are_gone_are_noticed(written):
    found = training_file.read(written[0])
    place, shape = found.pictures["train"]
    gone = found._replace(pictures={"train": (place + ".gone", shape)})
    with pytest.raises(ValueError, match="the resized pictures of this run, is gone or was changed"):
        training_file.opened(gone, "train")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (dict(engine="tensorflow"), "tensorflow is unknown: choose from mxnet, pytorch"),
        (dict(engine="pytorch", precision="float64"), "float64 is unknown: choose from float32, tf32, bf16"),
        (dict(engine="mxnet", precision="bf16"), "MXNet trains in float32: add --engine pytorch"),
        (dict(engine="mxnet", deterministic=True), "--deterministic is PyTorch's"),
        (dict(engine="pytorch", parts=2), "--parts 2 is for --engine mxnet"),
        (dict(engine="pytorch", ctx="gpu0"), "--ctx gpu0 is no device of PyTorch"),
        (dict(engine="pytorch", ctx="cpu,cpu"), "have one twice"),
        (dict(engine="pytorch", ctx="cpu", precision="tf32"), "tf32 is of NVIDIA's GPUs, not of cpu"),
        (dict(engine="pytorch", ctx=[1]), "ctx .* is MXNet's"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_what_does_not_go_together_is_refused(where, message, small_experiment, small_split, tmp_path):
    with pytest.raises(ValueError, match=message):
        fit(small_experiment, small_split, tmp_path / "run", **where)
    assert not (tmp_path / "run" / training_file.NAME).exists()


@pytest.mark.slow
def test_a_run_of_another_engine_or_precision_is_refused(small_experiment, small_split, tmp_path, monkeypatch):
    result = fit(small_experiment, small_split, tmp_path / "done")
    assert "engine" not in result  # of MXNet's, as ever
    assert choice.of(result) == choice.MXNET
    message = r"is of another run \(engine 'mxnet in float32' there, 'pytorch in bf16' asked for\): choose another"
    with pytest.raises(ValueError, match=f"result.json {message}"):
        fit(small_experiment, small_split, tmp_path / "done", engine="pytorch", precision="bf16", ctx="cpu")
    monkeypatch.setattr(train.Run, "finish", lambda run: None)
    fit(small_experiment, small_split, tmp_path / "half")
    with pytest.raises(ValueError, match=f"checkpoint.npz {message}"):
        fit(small_experiment, small_split, tmp_path / "half", engine="pytorch", precision="bf16", ctx="cpu")
