import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd
from mxnet.gluon import nn

from gluon_cgd import backbones
from gluon_cgd.experiment import CONFIGURATIONS, Experiment
from gluon_cgd.model import CGD, ArchitectureB, from_experiment
from tests.test_descriptors import loop


class Given(nn.HybridBlock):
    """A backbone that returns its input: features are what the test says."""

    channels = 4

    def hybrid_forward(self, F, x):
        return F.identity(x)


def built(descriptors, dim, **options):
    net = CGD(Given(), descriptors, dim, classes=5, **options)
    net.initialize()
    return net


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("descriptors", CONFIGURATIONS)
def test_cgd_equals_equations_1_to_4(descriptors, hybridize):
    features = np.random.default_rng(3).uniform(0, 2, (3, 4, 5, 6)).astype(np.float32)
    net = built(descriptors, 12)
    if hybridize:
        net.hybridize()
    embedding, logits, branches = net(mx.nd.array(features))
    weights = [reduction.weight.data().asnumpy() for reduction in net.reductions]  # n x (k, C)
    expected = []
    for letter, weight in zip(descriptors, weights):
        assert weight.shape == (12 // len(descriptors), 4)
        reduced = loop(letter, features) @ weight.T
        expected.append(reduced / np.linalg.norm(reduced, axis=1, keepdims=True))
    for branch, wanted in zip(branches, expected):
        np.testing.assert_allclose(branch.asnumpy(), wanted, atol=1e-5)
    np.testing.assert_allclose(
        embedding.asnumpy(), np.concatenate(expected, axis=1) / np.sqrt(len(descriptors)), atol=1e-5
    )
    norm, dense = net.classifier
    pooled = loop(descriptors[0], features) / np.sqrt(
        1 + norm._kwargs["eps"]
    )  # BN outside of training, running mean 0, variance 1
    np.testing.assert_allclose(
        logits.asnumpy(), pooled @ dense.weight.data().asnumpy().T + dense.bias.data().asnumpy(), atol=1e-5
    )


def test_the_sum_adds_branches_of_the_full_dimension():
    features = mx.nd.random.uniform(shape=(2, 4, 3, 3))
    embedding, _, branches = built("SM", 6, combine="sum")(features)
    added = (branches[0] + branches[1]).asnumpy()
    np.testing.assert_allclose(embedding.asnumpy(), added / np.linalg.norm(added, axis=1, keepdims=True), atol=1e-6)
    assert branches[0].shape == (2, 6)


def test_the_batch_norm_before_the_classifier_can_be_left_out():
    assert len(built("S", 4, classifier_batch_norm=False).classifier) == 1


def test_the_ranking_loss_alone_gives_the_classifier_no_gradient():
    net = built("SM", 8)
    with autograd.record():
        net(mx.nd.random.uniform(shape=(2, 4, 3, 3)))[0].sum().backward()
    assert not net.classifier[1].weight.grad().asnumpy().any()
    assert np.isfinite(net.reductions[0].weight.grad().asnumpy()).all()


@pytest.mark.slow
def test_resnet50_with_two_branches_has_the_papers_parameters_and_operations():
    net = from_experiment(Experiment(pretrained=False), classes=98)
    parameters = sum(int(np.prod(p.shape)) for p in net.collect_params().values() if p.grad_req != "null")
    assert parameters == 26_858_658
    operations = 0

    def count(block, inputs, output):
        nonlocal operations
        weight = block.weight.shape
        operations += int(np.prod(weight)) * (int(np.prod(output.shape[2:])) if isinstance(block, nn.Conv2D) else 1)

    net.apply(lambda block: block.register_forward_hook(count) if isinstance(block, (nn.Conv2D, nn.Dense)) else None)
    embedding, logits, _ = net(mx.nd.zeros((1, 3, 224, 224)))
    assert round(operations / 1e9, 3) == 6.210
    assert (embedding.shape, logits.shape) == ((1, 1536), (1, 98))


def test_a_zero_map_gives_a_finite_embedding_and_gradient():
    net = built("SMG", 12)
    x = mx.nd.zeros((2, 4, 3, 3))
    x.attach_grad()
    with autograd.record():
        embedding = net(x)[0]
        embedding.sum().backward()
    assert np.isfinite(embedding.asnumpy()).all()
    assert np.isfinite(x.grad.asnumpy()).all()


def test_equal_seeds_give_equal_parameters():
    def first_weight():
        mx.random.seed(7)
        return (
            from_experiment(Experiment(backbone="cifar_resnet10", pretrained=False, input_size=32, dim=8), 4)
            .backbone[0]
            .weight.data()
            .asnumpy()
        )

    np.testing.assert_array_equal(first_weight(), first_weight())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(descriptors="SX"), "'SX' is unknown"),
        (dict(descriptors=""), "is unknown"),
        (dict(dim=7), "divisible by the 2 branches"),
        (dict(combine="max"), "choose concat or sum"),
    ],
)
def test_a_model_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CGD(Given(), **{"descriptors": "SM", "dim": 8, **arguments})


@pytest.mark.parametrize("hybridize", [False, True])
def test_architecture_b_is_one_layer_over_the_raw_descriptors(hybridize):
    net = ArchitectureB(Given(), "SM", dim=6, classes=3)
    net.initialize()
    if hybridize:
        net.hybridize()
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 3)).astype(np.float32)
    embedding, logits, branches = net(mx.nd.array(x))
    raw = np.concatenate([x.mean(axis=(2, 3)), x.max(axis=(2, 3))], axis=1)  # (2, 8)
    reduced = raw @ net.reductions[0].weight.data().asnumpy().T
    expected = reduced / np.linalg.norm(reduced, axis=1, keepdims=True)
    np.testing.assert_allclose(embedding.asnumpy(), expected, rtol=1e-5, atol=1e-6)
    assert logits.shape == (2, 3)
    np.testing.assert_array_equal(branches[0].asnumpy(), embedding.asnumpy())
    assert net.reductions[0].weight.shape == (6, 8)
    assert net.reductions[0].bias is None


def test_an_experiment_makes_the_architecture_it_names():
    small = dict(backbone="cifar_resnet10", pretrained=False, input_size=16, dim=8)
    nets = {name: from_experiment(Experiment(architecture=name, **small), 3) for name in ("CGD", "A", "B")}
    assert [type(net) for net in nets.values()] == [CGD, CGD, ArchitectureB]
    assert [len(net(mx.nd.zeros((1, 3, 16, 16)))[2]) for net in nets.values()] == [2, 2, 1]


def test_backbones_can_be_shared_by_hand():
    net = CGD(backbones.build("cifar_resnet10"), "G", 8, classes=3)
    net.initialize()
    assert net(mx.nd.zeros((1, 3, 40, 24)))[0].shape == (1, 8)  # not square


@pytest.mark.parametrize("size", [32, 48])
def test_a_size_that_the_backbone_cannot_take_is_refused(size):
    wrong = Experiment(backbone="bn_inception", pretrained=False, input_size=size)
    with pytest.raises(ValueError, match=f"input_size {size} does not go with backbone bn_inception: multiples of 32"):
        from_experiment(wrong, 10)


@pytest.mark.parametrize(
    ("backbone", "keep_stride", "side"),
    [("resnet50", True, 32), ("resnet50", None, 16), ("se_resnet50", True, 24), ("shufflenet_v2", None, 32)],
)
def test_a_size_that_leaves_a_last_map_of_one_position_is_refused(backbone, keep_stride, side, capsys):
    """Behind such a map a later network crashes: see `from_experiment`."""
    experiment = Experiment(backbone=backbone, keep_stride=keep_stride, input_size=side, pretrained=False)
    words = (
        f"input_size {side} does not go with backbone {backbone}, whose last map would be 1 x 1, .*: multiples of 32"
    )
    with pytest.raises(ValueError, match=words):
        from_experiment(experiment, 5)
    assert not capsys.readouterr().out


def test_a_size_that_does_not_go_with_a_backbone_prints_nothing(capsys):
    experiment = Experiment(backbone="bn_inception", input_size=48, pretrained=False)
    with pytest.raises(
        ValueError, match="input_size 48 does not go with backbone bn_inception: multiples of 32 from 64"
    ):
        from_experiment(experiment, 5)
    assert not capsys.readouterr().out
