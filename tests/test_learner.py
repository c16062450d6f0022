import logging
from dataclasses import replace

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd import backbones, model
from gluon_cgd.experiment import Experiment
from gluon_cgd.learner import Learner
from gluon_cgd.machine import devices
from gluon_cgd.train import fit

CPUS = [mx.cpu(0), mx.cpu(1)]


@pytest.fixture
def batch():
    """(pictures of 8, their labels)."""
    squares = np.random.default_rng(1).integers(0, 256, (8, 4, 4, 3), np.uint8)
    return squares.repeat(4, axis=1).repeat(4, axis=2), mx.nd.array(np.arange(8) // 2)


def taught(experiment, batch, ctx, parts=1, steps=1):
    """The Learner of a new network after `steps` on `batch`, and the losses of the last."""
    mx.random.seed(0)
    net = model.from_experiment(experiment, 4)
    net.collect_params().reset_ctx(ctx)
    found = Learner(experiment, net, ctx, parts)
    for step in range(steps):
        means = found.step(*batch, seed=step)
    mx.nd.waitall()
    return found, means.asnumpy()


def gradients(found):
    """{name by structure: the gradient of what is learned, summed over the devices}."""
    named = found.net._collect_params_with_prefix().items()
    return {n: sum(g.asnumpy() for g in one.list_grad()) for n, one in named if one in found.learned}


@pytest.mark.parametrize(
    "change", [{}, {"loss": "soft_margin"}, {"loss": "margin"}, {"architecture": "A"}, {"classification": False}]
)
def test_two_parts_on_one_device_are_what_two_devices_are(change, small_experiment, batch):
    experiment = replace(small_experiment, **change)
    (one, means), (two, expected) = taught(experiment, batch, CPUS[:1], parts=2), taught(experiment, batch, CPUS)
    np.testing.assert_allclose(means, expected, atol=1e-6)
    devices.average_statistics(two.net)
    wanted, found = (x.net._collect_params_with_prefix() for x in (two, one))
    for name in devices.statistics(two.net):
        np.testing.assert_allclose(found[name].data().asnumpy(), wanted[name].data().asnumpy(), atol=1e-6)
    # The trainer has summed the devices' gradients into each
    for name, gradient in gradients(one).items():
        other = gradients(two)[name] / 2
        np.testing.assert_allclose(gradient, other, atol=1e-4 * max(np.abs(other).max(), 1e-3), err_msg=name)


def test_without_a_moving_batch_norm_parts_are_the_whole_batch(small_experiment, batch):
    experiment = replace(small_experiment, frozen_batch_norm=True, classifier_batch_norm=False)
    (parts, means), (whole, expected) = taught(experiment, batch, CPUS[:1], 3), taught(experiment, batch, CPUS[:1])
    np.testing.assert_allclose(means, expected, atol=1e-6)
    for name, gradient in gradients(parts).items():
        other = gradients(whole)[name]
        np.testing.assert_allclose(gradient, other, atol=1e-4 * max(np.abs(other).max(), 1e-3), err_msg=name)


def test_gradients_do_not_add_up_over_steps(small_experiment, batch):
    experiment = replace(small_experiment, learning_rate=1e-9)  # as good as none, so that both steps are alike
    first, second = (gradients(taught(experiment, batch, CPUS[:1], 2, steps)[0]) for steps in (1, 2))
    for name in first:
        np.testing.assert_allclose(second[name], first[name], atol=2e-2 * max(np.abs(first[name]).max(), 1e-3))


@pytest.mark.slow
def test_a_batch_is_learned_in_parts(small_experiment, batch):
    experiment = replace(small_experiment, learning_rate=1e-2)
    (_, first), (_, last) = (taught(experiment, batch, CPUS[:1], 2, steps) for steps in (1, 30))
    assert last[1] < first[1] / 2


def test_a_run_says_in_how_many_parts_it_was_learned(small_experiment, small_split, tmp_path):
    assert fit(small_experiment, small_split, tmp_path, parts=2)["parts"] == 2


@pytest.mark.parametrize(
    ("ctx", "parts", "message"),
    [
        (CPUS[:1], 0, "a batch cannot be split into 0 parts: --parts must be at least 1"),
        (CPUS, 2, "2 parts are for one device: the 2 devices given already split each batch"),
        (CPUS[:1], 5, "a batch of 8 pictures is too small for 5 parts, of which each needs two: take 4 of them"),
    ],
)
def test_parts_that_cannot_be_are_refused(ctx, parts, message, small_experiment):
    net = model.from_experiment(small_experiment, 4)
    with pytest.raises(ValueError, match=message):
        Learner(small_experiment, net, ctx, parts)


def test_the_log_says_whether_the_batch_norms_of_an_efficientnet_lite_are_trained(small_experiment, caplog):
    net, lite = model.from_experiment(small_experiment, 4), Experiment(backbone="efficientnet_lite0")
    with caplog.at_level(logging.INFO, logger="gluon_cgd"):
        Learner(lite, net, mx.cpu())
        assert "batch norms of efficientnet_lite0 stay as they are (--no-frozen-batch-norm trains them)" in caplog.text
        caplog.clear()
        Learner(replace(lite, frozen_batch_norm=False), net, mx.cpu())
        assert "WARNING" in caplog.text
        assert "leave out --no-frozen-batch-norm" in caplog.text
        caplog.clear()
        for other in (Experiment(), Experiment(backbone="efficientnet_lite0", pretrained=False)):
            Learner(other, net, mx.cpu())
        assert not caplog.text


@pytest.mark.slow
def test_the_batch_norms_of_a_pretrained_efficientnet_lite_stay_and_the_rest_is_trained(tmp_path, batch):
    whole = backbones.BACKBONES["efficientnet_lite0"].make(64)[0]
    whole.initialize(mx.init.MSRAPrelu(slope=0))
    whole.save_parameters(str(tmp_path / "lite.params"))
    experiment = Experiment(backbone="efficientnet_lite0", descriptors="SG", dim=8, input_size=64, batch_classes=4)
    net = model.from_experiment(experiment, 4, tmp_path / "lite.params")
    before = {name: value.data().asnumpy() for name, value in net.backbone._collect_params_with_prefix().items()}
    pictures = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)
    Learner(experiment, net, mx.cpu()).step(pictures, batch[1], seed=0)
    mx.nd.waitall()
    for name, value in net.backbone._collect_params_with_prefix().items():
        assert np.array_equal(value.data().asnumpy(), before[name]) == (not name.endswith("weight")), name
