import json

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

from gluon_cgd.experiment import Experiment
from gluon_cgd.models import opened
from gluon_cgd.runs import checkpoint, results

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
    checkpoint.save_checkpoint(tmp_path / "c.npz", net, trainer, META)
    other_net, other_trainer = learner(1)
    arrays, meta = checkpoint.load_checkpoint(tmp_path / "c.npz")
    assert meta == META
    checkpoint.restore(arrays, other_net, other_trainer, 2)
    assert checkpoint.parameters_hash(other_net) == checkpoint.parameters_hash(net)
    for each in ((net, trainer), (other_net, other_trainer)):
        update(*each, 3)
    assert checkpoint.parameters_hash(other_net) == checkpoint.parameters_hash(net)


@pytest.mark.parametrize("lost", ["adam_mean", "adam_variance", "count"])
def test_adams_moments_and_step_count_matter(tmp_path, lost):
    net, trainer = learner(0)
    update(net, trainer, 2)
    checkpoint.save_checkpoint(tmp_path / "c.npz", net, trainer, META)
    other_net, other_trainer = learner(1)
    arrays, _ = checkpoint.load_checkpoint(tmp_path / "c.npz")
    changed = {name: array * 0 if name.startswith(lost) else array for name, array in arrays.items()}
    if lost != "count":
        without = {name: array for name, array in arrays.items() if not name.startswith(lost)}
        with pytest.raises(ValueError, match="lacks Adam's state"):
            checkpoint.restore(without, other_net, other_trainer, 2)
    checkpoint.restore(changed, other_net, other_trainer, 1 if lost == "count" else 2)
    for each in ((net, trainer), (other_net, other_trainer)):
        update(*each, 1)
    assert checkpoint.parameters_hash(other_net) != checkpoint.parameters_hash(net)


def test_the_hash_is_of_names_and_values(tmp_path):
    net, _ = learner(0)
    before = checkpoint.parameters_hash(net)
    net[0].bias.set_data(mx.nd.array(np.full(3, 1e-7)))
    assert checkpoint.parameters_hash(net) != before


def test_the_hash_of_a_file_is_that_of_its_network(tmp_path):
    net, _ = learner(0)
    checkpoint.save_parameters(net, tmp_path / "p")
    data = (tmp_path / "p").read_bytes()
    assert checkpoint.hash_of_file(tmp_path / "p") == checkpoint.parameters_hash(net)
    for broken in (data[: len(data) // 2], b"", b"\0" * len(data), data[:-100] + b"\0" * 100):
        (tmp_path / "p").write_bytes(broken)
        assert checkpoint.hash_of_file(tmp_path / "p") != checkpoint.parameters_hash(net)


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
    checkpoint.save_checkpoint(tmp_path / "c.npz", net, trainer, META)
    arrays, _ = checkpoint.load_checkpoint(tmp_path / "c.npz")
    name = next(name for name in arrays if name.startswith("parameter:"))
    for changed in ({**arrays, name: arrays[name][:1]}, {k: v for k, v in arrays.items() if k != name}):
        with pytest.raises(ValueError, match="does not fit the model"):
            checkpoint.restore(changed, net, trainer, 1)


def test_moments_are_kept_by_structure_not_by_the_names_of_a_process(tmp_path):
    net, trainer = learner(0)
    update(net, trainer, 2)
    checkpoint.save_checkpoint(tmp_path / "c.npz", net, trainer, META)
    for _ in range(12):  # Gluon counts its blocks: dense9 and dense10 sort the other way round
        other_net, other_trainer = learner(1)
    checkpoint.restore(checkpoint.load_checkpoint(tmp_path / "c.npz")[0], other_net, other_trainer, 2)
    for each in ((net, trainer), (other_net, other_trainer)):
        update(*each, 2)
    assert checkpoint.parameters_hash(other_net) == checkpoint.parameters_hash(net)


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
    checkpoint.save_checkpoint(tmp_path / "c.npz", net, trainer, {**META, **change})
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
