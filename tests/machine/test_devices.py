"""Several devices against one; to MXNet a CPU is as many devices as one likes."""

from dataclasses import replace
from functools import partial

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import nn

from gluon_cgd import losses, train
from gluon_cgd.engines import gluon
from gluon_cgd.engines.material import Material
from gluon_cgd.evaluate import embed
from gluon_cgd.machine import devices
from gluon_cgd.models import opened
from gluon_cgd.runs import checkpoint
from gluon_cgd.runs.parameters import parameters_hash
from gluon_cgd.train import fit

CPUS = [mx.cpu(0), mx.cpu(1), mx.cpu(2)]


def started(experiment, split, out, ctx):
    """A run that has not taken a step."""
    out.mkdir()
    run = {"experiment": experiment.to_dict(), "seed": 0, "data": "", "weights": None}
    return train.Run(experiment, split, out, run, partial(gluon.started, ctx=ctx), Material(experiment, split))


def stepped(run, times=1):
    """Take `times` steps, and return the losses of the last."""
    for indices, batch in run.batches():
        means = run.step(batch, run.labels[indices])
        run.iteration += 1
        if run.iteration == times:
            mx.nd.waitall()
            return means.asnumpy()


def parameters(run):
    return run.engine.net._collect_params_with_prefix()


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        *({"architecture": name, "loss": loss} for name in ("CGD", "A", "B") for loss in ("batch_hard", "margin")),
        {"combine": "sum"},
        {"classification": False},
        {"loss": "hap2s_e", "descriptors": "G", "batch_images": 3},
    ],
    ids=lambda change: "-".join(map(str, change.values())),
)
def test_loss_and_gradients_are_those_of_one_device(change, small_experiment, small_split, tmp_path):
    # Batch norm apart, which looks at each device's part alone; three devices take 3, 3 and 2 pictures of 8
    experiment = replace(small_experiment, frozen_batch_norm=True, classifier_batch_norm=False, **change)
    one = started(experiment, small_split, tmp_path / "1", mx.cpu())
    expected = stepped(one)
    assert (expected > 0).all()
    for count in (2, 3):
        several = started(experiment, small_split, tmp_path / str(count), CPUS[:count])
        np.testing.assert_allclose(stepped(several), expected, rtol=1e-5)
        learned = 0
        for name, parameter in parameters(one).items():
            if parameter.grad_req == "null" or (name.startswith("classifier") and not experiment.classification):
                continue
            gradient = parameter.grad().asnumpy()
            for summed in parameters(several)[name].list_grad():
                np.testing.assert_allclose(summed.asnumpy(), gradient, atol=1e-5 * np.abs(gradient).max(), rtol=0)
            learned += np.abs(gradient).max() > 1e-3
        assert learned > 8


def test_the_hardest_negative_is_found_on_another_device():
    """Each class is alone with one that is far from it on its device, and close to one of the other device."""
    angles = np.deg2rad([0, 2, 90, 92, 4, 6, 94, 96])
    labels = mx.nd.array([0, 0, 1, 1, 2, 2, 3, 3])
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (8, 2)
    parts = [mx.nd.array(part, ctx=ctx) for part, ctx in zip(np.split(points, 2), CPUS)]
    loss = losses.BatchHardTripletLoss(0.1)
    for part, label in zip(parts, (labels[:4], labels[4:])):
        part.attach_grad()
        assert (loss(part.as_in_context(mx.cpu()), label).asnumpy() == 0).all()
    with mx.autograd.record():
        embedding, logits, branches = devices.gathered([(part, 2 * part, [part, 3 * part]) for part in parts])
        found = loss(embedding, labels)
    found.backward()
    for array, factor in ((embedding, 1), (logits, 2), (branches[0], 1), (branches[1], 3)):
        assert array.context == CPUS[0]
        np.testing.assert_allclose(array.asnumpy(), factor * points, rtol=1e-6)
    expected = []
    for i in range(8):
        distances = np.linalg.norm(points - points[i], axis=1)
        positive = max(distances[j] for j in range(8) if j != i and labels[j] == labels[i])
        negative = min(distances[j] for j in range(8) if labels[j] != labels[i])
        expected.append(max(0, 0.1 + positive - negative))
    np.testing.assert_allclose(found.asnumpy(), expected, atol=1e-5)
    assert min(expected) > 0
    assert all((np.abs(part.grad.asnumpy()).max(axis=1) > 0).any() for part in parts)


def test_every_device_has_the_same_parameters_after_some_steps(small_experiment, small_split, tmp_path):
    run = started(small_experiment, small_split, tmp_path / "run", CPUS)
    run.evaluate()
    before = {name: parameter.list_data()[0].asnumpy() for name, parameter in parameters(run).items()}
    stepped(run, times=4)
    moving = devices.statistics(run.engine.net)
    assert moving
    for name, parameter in parameters(run).items():
        first, *others = [value.asnumpy() for value in parameter.list_data()]
        assert (first != before[name]).any()
        assert len(others) == 2
        assert all((other == first).all() for other in others) == (name not in moving)
    run.evaluate()
    for name in moving:
        first, *others = [value.asnumpy() for value in parameters(run)[name].list_data()]
        assert all((other == first).all() for other in others)


def test_running_statistics_become_the_mean_over_devices_and_equal_ones_stay():
    net = nn.BatchNorm(in_channels=1000)
    net.initialize(ctx=CPUS)
    equal = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    net.running_var.set_data(mx.nd.array(equal))
    for array, value in zip(net.running_mean.list_data(), (1, 2, 6)):
        array[:] = value
    devices.average_statistics(net)
    for mean, variance in zip(net.running_mean.list_data(), net.running_var.list_data()):
        np.testing.assert_array_equal(mean.asnumpy(), np.full(1000, 3))
        np.testing.assert_array_equal(variance.asnumpy(), equal)


def interrupted(experiment, split, out, at, ctx, monkeypatch):
    """A run on `ctx` that was interrupted before iteration `at`, with checkpoints every second one."""
    step = train.Run.step

    def until(run, *arguments):
        if run.iteration == at:
            raise KeyboardInterrupt
        return step(run, *arguments)

    monkeypatch.setattr(train.Run, "step", until)
    with pytest.raises(KeyboardInterrupt):
        fit(experiment, split, out, ctx=ctx, checkpoint_every=2)
    monkeypatch.setattr(train.Run, "step", step)


@pytest.mark.slow
@pytest.mark.parametrize("ctx", [CPUS[:2], CPUS[1:2]], ids=devices.names)
def test_a_run_goes_on_to_the_same_bits_on_the_same_devices(ctx, small_experiment, small_split, tmp_path, monkeypatch):
    whole = fit(small_experiment, small_split, tmp_path / "whole", ctx=ctx)
    interrupted(small_experiment, small_split, tmp_path / "run", 7, ctx, monkeypatch)
    found = fit(small_experiment, small_split, tmp_path / "run", ctx=ctx)
    assert "resumed at iteration 6 of 12" in (tmp_path / "run/train.log").read_text()
    assert {**found, "seconds": 0} == {**whole, "seconds": 0}
    assert found["device"] == devices.names(ctx)
    net, _ = opened.load_trained(tmp_path / "run")
    assert parameters_hash(net) == found["parameters_sha256"]


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2), (2, 3)])
def test_a_run_goes_on_on_another_number_of_devices(first, then, small_experiment, small_split, tmp_path, monkeypatch):
    # Without a margin, at which rounding alone would have a triplet count or not
    small = replace(small_experiment, loss="soft_margin")
    frozen = replace(small, frozen_batch_norm=True, classifier_batch_norm=False, decay_at=())
    fit(frozen, small_split, tmp_path / "whole")
    interrupted(frozen, small_split, tmp_path / "run", 7, CPUS[:first], monkeypatch)
    found = fit(frozen, small_split, tmp_path / "run", ctx=CPUS[:then])
    assert "resumed at iteration 6 of 12" in (tmp_path / "run/train.log").read_text()
    assert [entry["iteration"] for entry in found["history"]] == [0, 4, 8, 12]
    expected, found = (opened.load_trained(tmp_path / name)[0] for name in ("whole", "run"))
    for name, parameter in expected._collect_params_with_prefix().items():
        other = found._collect_params_with_prefix()[name].data().asnumpy()
        # In the mean: where a gradient is nearly 0, Adam makes a step of 1e-3 of rounding
        assert np.abs(other - parameter.data().asnumpy()).mean() < 1e-5, name


def test_running_statistics_of_a_checkpoint_are_each_devices_own_or_their_mean(small_experiment, small_split, tmp_path):
    run = started(small_experiment, small_split, tmp_path / "two", CPUS[:2])
    stepped(run, times=2)
    meta = {"experiment": {}, "iteration": 2, "history": [{}], "seconds": 0}
    checkpoint.save_checkpoint(tmp_path / "c.npz", run.engine.state(), meta)
    arrays, _ = checkpoint.load_checkpoint(tmp_path / "c.npz")
    for count in (2, 1, 3):
        other = started(small_experiment, small_split, tmp_path / str(count), CPUS[:count])
        other.engine.restore(arrays, 2)
        for name, parameter in devices.statistics(run.engine.net).items():
            own = [value.asnumpy() for value in parameter.list_data()]
            assert (own[0] != own[1]).any()
            expected = own if count == 2 else [(own[0] + own[1]) / 2] * count
            for value, wanted in zip(parameters(other)[name].list_data(), expected):
                np.testing.assert_allclose(value.asnumpy(), wanted, rtol=0 if count == 2 else 1e-5, atol=1e-7)
    name = next(iter(devices.statistics(run.engine.net)))
    wrong = {**arrays, f"devices:{name}": np.zeros((2, 1000), np.float32)}
    with pytest.raises(ValueError, match="the checkpoint does not fit the model"):
        run.engine.restore(wrong, 2)


def test_embeddings_are_those_of_one_device(small_experiment, small_split, tmp_path):
    run = started(small_experiment, small_split, tmp_path / "run", CPUS)
    pictures = run.query[:19]
    expected = embed(run.engine.net, pictures, mx.cpu(), batch_size=8)
    found = embed(run.engine.net, pictures, CPUS, batch_size=8)
    assert found.shape == (19, 8)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_batch_too_small_for_the_devices_is_refused(small_experiment, small_split, tmp_path):
    five = [mx.cpu(i) for i in range(5)]
    with pytest.raises(ValueError, match="a batch of 8 pictures is too small for 5 devices, .*: take 4 of them"):
        fit(small_experiment, small_split, tmp_path, ctx=five)
    devices.check_batch(8, 4)


def test_devices_of_an_engine_may_be_named_in_a_text(small_experiment):
    assert gluon.started(small_experiment, 2, 0, "cpu0,cpu1").devices == CPUS[:2]


def test_devices_that_cannot_share_a_batch_are_refused():
    assert devices.listed(mx.cpu(1)) == [mx.cpu(1)]
    assert devices.listed(CPUS) == CPUS
    assert devices.listed("cpu0,cpu1") == CPUS[:2]
    for wrong, message in (
        ([], "empty"),
        ([mx.cpu(0), mx.cpu(1), mx.cpu(0)], r"cpu\(0\), cpu\(1\), cpu\(0\) have one twice"),
        ([mx.cpu(0), mx.gpu(0)], r"cpu\(0\), gpu\(0\) are of two kinds"),
        (["cpu0", "cpu1"], "'cpu0' is no device of MXNet: give .* or a text, as gpu0,gpu1"),
        ("cuda0", "--ctx cuda0 is no device of MXNet, .* for training with --engine pytorch"),
    ):
        with pytest.raises(ValueError, match=message):
            devices.listed(wrong)
