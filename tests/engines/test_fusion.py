import json

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd
from mxnet.gluon import nn

from gluon_cgd import model
from gluon_cgd.backbones import BACKBONES
from gluon_cgd.engines import fusion
from gluon_cgd.experiment import Experiment
from gluon_cgd.learner import Learner

QUICK = ("cifar_resnet10", "shufflenet_v2")


class Net(nn.HybridBlock):
    """A batch norm of the pictures, and what `tail` makes of its output."""

    def __init__(self, tail, **kwargs):
        super().__init__()
        self.norm, self.tail = nn.BatchNorm(in_channels=3, **kwargs), tail

    def hybrid_forward(self, F, x):
        return self.tail(F, self.norm(x))


def operators(graph):
    return [node["op"] for node in json.loads(graph.tojson())["nodes"] if node["op"] != "null"]


def fused(net):
    return operators(fusion.fused(net(mx.sym.var("data"))))


def relu(F, x):
    return F.Activation(x, act_type="relu")


def convolved(groups, x):
    return mx.sym.Convolution(x, kernel=(3, 3), num_filter=8, num_group=groups)


def test_a_batch_norm_and_its_relu_become_one():
    assert fused(Net(relu)) == ["_contrib_BatchNormWithReLU"]
    assert fused(Net(lambda F, x: relu(F, x) + 1)) == ["_contrib_BatchNormWithReLU", "_plus_scalar"]
    assert fused(Net(lambda F, x: relu(F, relu(F, x)))) == ["_contrib_BatchNormWithReLU", "Activation"]


def test_what_would_become_something_else_is_left_alone():
    kept = Net(relu, use_global_stats=True)
    sigmoid = Net(lambda F, x: F.Activation(x, act_type="sigmoid"))
    twice = Net(lambda F, x: relu(F, x) + x)
    apart = Net(lambda F, x: relu(F, x + 1))
    for net in (kept, sigmoid, twice, apart):
        assert fused(net) == operators(net(mx.sym.var("data")))
    both = mx.sym.Group([norm := mx.sym.BatchNorm(mx.sym.var("data"), name="norm"), relu(mx.sym, norm)])
    assert operators(fusion.fused(both)) == ["BatchNorm", "Activation"]


def outcome(net, pictures):
    """[what `net` gives in training, its gradients, its statistics after them, what it gives then]."""
    with autograd.record():
        embedding, logits, _ = net(pictures)
        loss = (embedding * mx.nd.arange(embedding.size).reshape(embedding.shape)).mean() + logits.square().mean()
    loss.backward()
    mx.nd.waitall()
    parameters = [one for _, one in sorted(net._collect_params_with_prefix().items())]
    values = [one.grad() if one.grad_req != "null" else one.data() for one in parameters]
    return [value.asnumpy() for value in (embedding, logits, *values, net(pictures)[0])]


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BACKBONES]
)
def test_every_backbone_learns_the_same(name):
    experiment = Experiment(pretrained=False, backbone=name, input_size=64, dim=32)
    pictures, found = mx.nd.array(np.random.default_rng(0).standard_normal((4, 3, 64, 64))), []
    for changed in (False, True):
        mx.random.seed(0)
        net = model.from_experiment(experiment, 4)
        net.hybridize(static_alloc=True, static_shape=True)
        if changed:
            names = net._get_graph(pictures)[1].list_inputs()
            fusion.fuse_relus(net)
            assert net._get_graph(pictures)[1].list_inputs() == names
        found.append(outcome(net, pictures))
    for plain, one in zip(*found):
        np.testing.assert_allclose(one, plain, rtol=1e-4, atol=1e-4 * np.abs(plain).max())


@pytest.mark.parametrize(("groups", "changed"), [(1, True), (4, False), (8, True)])  # whole, in groups, depth-wise
def test_beside_a_convolution_in_groups_nothing_is_changed(groups, changed):
    before = convolved(groups, relu(mx.sym, mx.sym.BatchNorm(mx.sym.var("data"))))
    behind = relu(mx.sym, mx.sym.BatchNorm(convolved(groups, mx.sym.var("data"))))
    for graph in (before, behind):
        assert ("_contrib_BatchNormWithReLU" in operators(fusion.fused(graph))) == changed


def test_without_onednn_nothing_is_changed(monkeypatch):
    monkeypatch.setattr(mx.runtime.Features, "is_enabled", lambda self, name: name != "MKLDNN")
    net = Net(relu)
    net.hybridize()
    fusion.fuse_relus(net)
    assert not net._cached_graph


@pytest.mark.parametrize("ctx", [mx.cpu(0), [mx.cpu(0), mx.cpu(1)]])
def test_a_learner_has_it_so_and_the_network_stays_as_it_was(ctx, small_experiment):
    net = model.from_experiment(small_experiment, 4)
    net.collect_params().reset_ctx(ctx)
    before = operators(net.backbone(mx.sym.var("data")))
    learner = Learner(small_experiment, net, ctx)
    pictures, labels = np.zeros((8, 16, 16, 3), np.uint8), mx.nd.array(np.arange(8) // 2)
    assert np.isfinite(learner.step(pictures, labels, seed=0).asnumpy()).all()
    compiled = operators(net._get_graph(mx.nd.zeros((1, 3, 1, 1)))[1])
    assert compiled.count("_contrib_BatchNormWithReLU") == 4
    assert operators(net.backbone(mx.sym.var("data"))) == before
