"""The project's training step beside a loop in PyTorch that shares no code with it (tests/peer_in_torch.py)."""

import json

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import HybridBlock, nn

from gluon_cgd import model
from gluon_cgd.experiment import Experiment
from gluon_cgd.learner import Learner
from tests import peer_in_torch as peer

RECORDED = json.loads(peer.FILE.read_text(encoding="utf-8"))


class Backbone(HybridBlock):
    """Two convolutions with batch norm."""

    def __init__(self):
        super().__init__()
        self.channels = 10
        self.layers = nn.HybridSequential()
        for channels, inputs, stride in ((6, 3, 1), (self.channels, 6, 2)):
            self.layers.add(nn.Conv2D(channels, 3, stride, 1, use_bias=False, in_channels=inputs))
            self.layers.add(nn.BatchNorm(in_channels=channels), nn.Activation("relu"))

    def hybrid_forward(self, F, x):
        return self.layers(x)


def learner():
    """The Learner of this network from the peer's initial parameters."""
    experiment = Experiment(
        descriptors="SMG",
        dim=15,
        learning_rate=peer.RATE,
        margin=peer.MARGIN,
        smoothing=peer.SMOOTHING,
        temperature=peer.TEMPERATURE,
        batch_classes=peer.CLASSES,
        batch_images=peer.IMAGES,
    )
    net = model.CGD(Backbone(), experiment.descriptors, experiment.dim, peer.CLASSES)
    net.initialize()
    named = net._collect_params_with_prefix()
    assert {name for name in named if "running" not in name} == set(peer.SHAPES)
    for name, value in peer.parameters().items():
        named[name].set_data(mx.nd.array(value))
    return Learner(experiment, net, mx.cpu())


@pytest.fixture(scope="module")
def trained():
    """(losses of each step (25, 2), {name: gradient of the first step}) of the project's own loop."""
    ours, curve, gradients = learner(), [], {}
    for pictures, labels in peer.batches():
        curve.append(ours.step(pictures, mx.nd.array(labels), seed=0).asnumpy())
        if not gradients:
            named = ours.net._collect_params_with_prefix()
            gradients = {name: named[name].grad().asnumpy() for name in peer.SHAPES}
    return np.array(curve), gradients


def test_the_gradient_of_the_first_step_is_the_peers(trained):
    _, gradients = trained
    for name, gradient in gradients.items():
        other = np.reshape(RECORDED["gradients"][name], peer.SHAPES[name])
        np.testing.assert_allclose(gradient, other, rtol=0, atol=1e-5, err_msg=name)
        assert np.abs(other).max() > 1e-3, name  # the comparison says something


def test_both_losses_are_the_peers_over_25_steps_of_adam(trained):
    curve, others = trained[0], np.array(RECORDED["losses"])
    assert curve.shape == others.shape == (25, 2)
    np.testing.assert_allclose(curve[0], others[0], atol=1e-5)
    np.testing.assert_allclose(curve, others, atol=1e-2)
    assert others[0].sum() - others[-1].sum() > 0.2  # it learns something


def test_the_peer_is_another_loop_than_the_projects():
    source = peer.FILE.with_suffix(".py").read_text(encoding="utf-8")
    assert "gluon_cgd" not in source
    assert "mxnet" not in source


@pytest.mark.slow
def test_the_recorded_numbers_are_what_the_peer_computes(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(peer, "FILE", tmp_path / "again.json")
    peer.main()
    again = json.loads(peer.FILE.read_text(encoding="utf-8"))
    np.testing.assert_allclose(again["losses"], RECORDED["losses"], atol=1e-6)
    for name, gradient in RECORDED["gradients"].items():
        np.testing.assert_allclose(again["gradients"][name], gradient, atol=1e-7)
