import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

from gluon_cgd import checkpoint


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
    checkpoint.save(tmp_path / "c.npz", net, trainer, {"iteration": 2, "history": [0.5]})
    other_net, other_trainer = learner(1)
    arrays, meta = checkpoint.load(tmp_path / "c.npz")
    assert meta == {"iteration": 2, "history": [0.5]}
    checkpoint.restore(arrays, other_net, other_trainer, 2)
    assert checkpoint.parameters_hash(other_net) == checkpoint.parameters_hash(net)
    for each in ((net, trainer), (other_net, other_trainer)):
        update(*each, 3)
    assert checkpoint.parameters_hash(other_net) == checkpoint.parameters_hash(net)


def test_adams_moments_and_step_count_matter(tmp_path):
    net, trainer = learner(0)
    update(net, trainer, 2)
    checkpoint.save(tmp_path / "c.npz", net, trainer, {})
    other_net, other_trainer = learner(1)
    arrays, _ = checkpoint.load(tmp_path / "c.npz")
    checkpoint.restore(arrays, other_net, other_trainer, 1)  # a wrong count
    for each in ((net, trainer), (other_net, other_trainer)):
        update(*each, 1)
    assert checkpoint.parameters_hash(other_net) != checkpoint.parameters_hash(net)


def test_a_failed_write_keeps_the_old_file(tmp_path):
    file = tmp_path / "result.json"
    checkpoint.write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        checkpoint.write_json(file, {"a": object()})
    assert file.read_text() == '{\n "a": 1\n}'
    assert [f.name for f in tmp_path.iterdir()] == ["result.json"]


def test_the_hash_is_of_names_and_values(tmp_path):
    net, _ = learner(0)
    before = checkpoint.parameters_hash(net)
    net[0].bias.set_data(mx.nd.array(np.full(3, 1e-7)))
    assert checkpoint.parameters_hash(net) != before


def test_runs_are_told_apart_by_seed_and_every_field():
    run = {"experiment": {"margin": 0.1}, "seed": 0}
    checkpoint.same_run("f", {**run, "more": 1}, run)
    for other in ({"experiment": {"margin": 0.2}, "seed": 0}, {"experiment": {"margin": 0.1}, "seed": 1}, {}):
        with pytest.raises(ValueError, match="f is of another run"):
            checkpoint.same_run("f", other, run)
