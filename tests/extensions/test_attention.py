"""Attention in front of the descriptors: beside a plain loop, and in networks that are kept, exported and explained."""

import math
from dataclasses import replace
from itertools import product

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import HybridBlock

from gluon_cgd import experiment as experiments
from gluon_cgd import similarity
from gluon_cgd.evaluate import embed, features_of
from gluon_cgd.experiment import ATTENTIONS, Experiment
from gluon_cgd.export import export
from gluon_cgd.extensions.attention import ATTENTION, CBAM, SqueezeExcitation
from gluon_cgd.learner import Learner
from gluon_cgd.model import from_experiment, layers_of
from gluon_cgd.models import onnx_model, zoo
from reproduce.training import complexity
from tests.extensions.loops import equals_loop

both = pytest.mark.parametrize("hybridize", [False, True])
each = pytest.mark.parametrize("name", ATTENTIONS[1:])
CHANNELS, SMALL = 4, dict(backbone="cifar_resnet10", pretrained=False, input_size=32, dim=24)


def features(side=3):
    return np.random.default_rng(0).uniform(-0.5, 2, (2, CHANNELS, side, side)).round(3)


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def scores_loop(means, first, second):
    """Two FC layers with a ReLU between them, one product after the other."""
    hidden = [max(0, sum(w * value for w, value in zip(row, means))) for row in first]
    return [sum(w * value for w, value in zip(row, hidden)) for row in second]


def loop(x, first, second, kernel=None):
    """Squeeze-and-excitation, and with a `kernel` (2, k, k) CBAM, one channel and one position after the other."""
    out = np.zeros(x.shape)
    places = list(product(range(x.shape[2]), range(x.shape[3])))
    for b in range(len(x)):
        of_means = scores_loop(
            [sum(x[b, c, i, j] for i, j in places) / len(places) for c in range(CHANNELS)], first, second
        )
        of_maxima = scores_loop([max(x[b, c, i, j] for i, j in places) for c in range(CHANNELS)], first, second)
        for c in range(CHANNELS):
            out[b, c] = x[b, c] * sigmoid(of_means[c] + (0 if kernel is None else of_maxima[c]))
        if kernel is None:
            continue
        seen = {(i, j): (sum(out[b, :, i, j]) / CHANNELS, max(out[b, :, i, j])) for i, j in places}
        reach = kernel.shape[1] // 2
        weights = {}
        for i, j in places:
            around = product(range(-reach, reach + 1), repeat=2)
            near = [(di, dj) for di, dj in around if (i + di, j + dj) in seen]
            total = sum(kernel[n, reach + di, reach + dj] * seen[i + di, j + dj][n] for di, dj in near for n in (0, 1))
            weights[i, j] = sigmoid(total)
        for i, j in places:
            out[b, :, i, j] *= weights[i, j]
    return out


def filled(block, seed=3):
    """`block` with random weights."""
    block.initialize()
    rng = np.random.default_rng(seed)
    for parameter in block.collect_params().values():
        parameter.set_data(mx.nd.array(rng.normal(0, 0.7, parameter.shape)))
    return block


def weights_of(block):
    return [layer.weight.data().asnumpy().astype(np.float64) for layer in block.scores]


@both
@pytest.mark.parametrize("ratio", [2, 16])  # 16 leaves one hidden unit
def test_squeeze_and_excitation_equals_a_loop(ratio, hybridize):
    block = filled(SqueezeExcitation(CHANNELS, ratio))
    assert block.scores[0].weight.shape == (max(1, CHANNELS // ratio), CHANNELS)
    equals_loop(block, lambda x: loop(x, *weights_of(block)), features(), hybridize=hybridize)


@both
@pytest.mark.parametrize("kernel", [3, 7])
def test_cbam_equals_a_loop(kernel, hybridize):
    block = filled(CBAM(CHANNELS, 2, kernel))
    of_places = block.places.weight.data().asnumpy()[0].astype(np.float64)
    equals_loop(block, lambda x: loop(x, *weights_of(block), of_places), features(), hybridize=hybridize)


def test_every_attention_has_its_name():
    assert tuple(ATTENTION) == ATTENTIONS[1:]
    with pytest.raises(ValueError, match="attention 'nose' is unknown: choose one of none, se, cbam"):
        Experiment(attention="nose")


def network(**changes):
    """(net, experiment) with random parameters."""
    experiment = Experiment(**{**SMALL, **changes})
    mx.random.seed(1)
    return from_experiment(experiment, 3), experiment


def pictures(count):
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)


@each
def test_an_untrained_network_is_the_same_with_attention_and_without(name):
    (net, _), (without, _) = network(attention=name), network()
    np.testing.assert_allclose(*(embed(one, pictures(2), mx.cpu(), 2) for one in (net, without)), atol=1e-6)
    values, others = (one._collect_params_with_prefix() for one in (net, without))
    assert {key for key in values if not key.startswith("attention.")} == set(others)
    for key, other in others.items():
        np.testing.assert_array_equal(values[key].data().asnumpy(), other.data().asnumpy())


@each
def test_it_learns(name):
    net, experiment = network(attention=name, batch_classes=2, batch_images=2)
    learner, batch = Learner(experiment, net, mx.cpu()), pictures(4)
    before = {key: value.data().asnumpy() for key, value in net.attention._collect_params_with_prefix().items()}
    for seed in (1, 2):  # the first step leaves the layer in front of one that is 0
        learner.step(batch, mx.nd.array([0, 0, 1, 1]), seed)
    for key, value in net.attention._collect_params_with_prefix().items():
        assert np.abs(value.data().asnumpy() - before[key]).max() > 0, key


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"attention": "se", "descriptors": "SG"},
        {"attention": "cbam", "descriptors": "SMGPR", "dim": 25},
        {"attention": "se", "descriptors": "MG", "combine": "sum"},
        {"attention": "cbam", "descriptors": "MG", "architecture": "B"},
    ],
    ids=str,
)
def test_they_export_and_heatmaps_of_the_weighed_map_sum_to_the_cosine(changes, tmp_path):
    net, experiment = network(**changes)
    filled(net.attention)
    shown = pictures(2)
    assert export(net, experiment, tmp_path / "model.onnx", features=True) <= 1e-4
    model, embeddings = onnx_model.load_exported(tmp_path / "model.onnx"), embed(net, shown, mx.cpu(), 2)
    np.testing.assert_allclose(model.embed(shown), embeddings, atol=1e-5)
    how = similarity.arguments(similarity.weights_of(net), experiment, similarity.learned_of(net))
    for features in (features_of(net, shown, mx.cpu()), model.features(shown)):
        found = similarity.decompose(*features, **how)
        assert found.cosine == pytest.approx(float(embeddings[0] @ embeddings[1]), abs=1e-5)
        assert [found.map1.sum(), found.map2.sum()] == pytest.approx([found.cosine] * 2, abs=1e-6)
        assert found.difference().map1.sum() == pytest.approx(1 - found.cosine, abs=1e-6)


@pytest.mark.slow
@each
def test_a_published_model_has_it_in_its_name_and_opens_again(name, tmp_path):
    net, experiment = network(attention=name)
    filled(net.attention)
    expected = embed(net, pictures(2), mx.cpu(), 2)
    file = zoo.save(net, experiment, tmp_path)
    assert file.name.startswith(f"cgd-{name}_sg_cifar_resnet10_24-")
    opened, same = zoo.load_published(file)  # whose layers are fused
    assert same.attention == name
    np.testing.assert_allclose(embed(opened, pictures(2), mx.cpu(), 2), expected, atol=1e-5)


def test_a_model_without_it_is_not_taken_for_one_that_has_it(tmp_path):
    net, experiment = network()
    file = zoo.save(net, experiment, tmp_path)
    with pytest.raises(ValueError, match="holds a cgd_sg_cifar_resnet10_24 and not a cgd-se_sg_cifar_resnet10_24"):
        zoo.get_model("cgd_sg_cifar_resnet10_24", pretrained=file, attention="se", input_size=32)


def test_its_parameters_and_products_are_counted():
    base = Experiment(**SMALL)
    none, se, cbam = (complexity.counts(layers_of(replace(base, attention=name), 3), 32) for name in ATTENTIONS)
    channels, hidden, positions = 128, 128 // 16, 8 * 8
    assert se[0] - none[0] == 2 * channels * hidden
    assert cbam[0] - se[0] == 2 * 7 * 7
    assert se[1] - none[1] == 2 * channels * hidden
    assert cbam[1] - se[1] == 2 * channels * hidden + 2 * 7 * 7 * positions  # the FC layers see means and maxima


class Unexported(HybridBlock):
    """Gives what MXNet has no ONNX for."""

    def hybrid_forward(self, F, x):
        return F.broadcast_mul(x, F.erf(F.mean(x, axis=1, keepdims=True)))


def test_a_block_that_mxnet_cannot_export_is_refused_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setitem(ATTENTION, "own", lambda channels: Unexported())
    monkeypatch.setattr(experiments, "ATTENTIONS", (*ATTENTIONS, "own"))
    net, experiment = network(attention="own")
    with pytest.raises(
        ValueError, match=r"MXNet cannot export the network \(No conversion .* erf .*by other operators"
    ):
        export(net, experiment, tmp_path / "model.onnx")
    assert not list(tmp_path.glob("*.onnx"))
