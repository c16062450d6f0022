"""Losses beyond the paper's: each beside a plain loop, and beside pytorch-metric-learning's values.

The recorded values are of pytorch-metric-learning 2.9.0 with torch 2.13.0 and numpy 2.2.6 in float64, of `waves(8, 5,
0.3)` as embeddings, `waves(5, 5, 1.1)` as vectors of five classes, and LABEL; the gradient by the embeddings.
"""

import math

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from gluon_cgd.experiment import CLASSIFICATION_LOSSES, LOSSES, Experiment
from gluon_cgd.extensions import cosines, ranking
from gluon_cgd.losses import CLASSIFICATION, RANKING, SmoothedSoftmaxLoss, uses_proxies
from tests.extensions.loops import equals_loop, unit, waves

both = pytest.mark.parametrize("hybridize", [False, True])
LABEL = [0, 0, 1, 1, 2, 2, 3, 3]


def cosine_rows(count, classes, seed):
    return np.random.default_rng(seed).uniform(-0.95, 0.95, (count, classes)).round(4)


def entropy(logits, label, smoothing):
    out = []
    for row, own in zip(logits, label):
        total = math.log(sum(math.exp(value) for value in row))
        wanted = [smoothing / len(row) + (1 - smoothing) * (place == own) for place in range(len(row))]
        out.append(sum(weight * (total - value) for weight, value in zip(wanted, row)))
    return np.array(out)


def lowered(name, cosine, margin):
    if name == "cosface":
        return cosine - margin
    angle = math.acos(cosine)
    return math.cos(angle + margin) if angle + margin <= math.pi else cosine - margin * math.sin(margin)


@both
@pytest.mark.parametrize("smoothing", [0, 0.1])
@pytest.mark.parametrize("name", ["normalised", "cosface", "arcface"])
def test_a_loss_of_cosines_equals_a_loop(name, smoothing, hybridize):
    label, scale, margin = [0, 6, 3, 3, 1], 8, 0.6
    made = {
        "normalised": lambda: cosines.NormalisedSoftmaxLoss(scale, smoothing),
        "cosface": lambda: cosines.CosFaceLoss(margin, scale, smoothing),
        "arcface": lambda: cosines.ArcFaceLoss(margin, scale, smoothing),
    }

    def loop(rows, label):
        rows = np.array(rows)
        for row, own in zip(rows, label):
            row[own] = row[own] if name == "normalised" else lowered(name, row[own], margin)
        return entropy(scale * rows, label, smoothing)

    rows = cosine_rows(5, 7, 1)
    rows[1, 6] = -0.94  # of an angle that the margin would take beyond pi
    equals_loop(made[name](), loop, rows, label, hybridize=hybridize)


@both
@pytest.mark.parametrize(("gamma", "smoothing", "temperature"), [(2, 0, 1), (0.5, 0.1, 0.5), (0, 0.1, 0.5)])
def test_the_focal_loss_equals_a_loop(gamma, smoothing, temperature, hybridize):
    def loop(logits, label):
        logits = logits / temperature
        chances = [math.exp(row[own]) / sum(map(math.exp, row)) for row, own in zip(logits, label)]
        return entropy(logits, label, smoothing) * [(1 - chance) ** gamma for chance in chances]

    logits, label = np.random.default_rng(2).normal(size=(4, 7)).round(3), [0, 6, 3, 3]
    equals_loop(cosines.FocalLoss(gamma, smoothing, temperature), loop, logits, label, hybridize=hybridize)


def test_the_focal_loss_with_gamma_0_is_the_paper_s():
    logits, label = mx.nd.random.normal(shape=(6, 5)), mx.nd.array([0, 1, 2, 3, 4, 0])
    ours, papers = cosines.FocalLoss(0, 0.1, 0.5)(logits, label), SmoothedSoftmaxLoss(0.1, 0.5)(logits, label)
    np.testing.assert_array_equal(ours.asnumpy(), papers.asnumpy())


def similarity_loop(embedding, label, margin=0.1, alpha=2, beta=50, base=0.5, mined=None):
    """Anchor by anchor; `mined`: where to keep the pairs that are chosen, or where they are."""
    mined = {} if mined is None else mined
    cosine, out = embedding @ embedding.T, []
    for a in range(len(label)):
        positive = [i for i in range(len(label)) if i != a and label[i] == label[a]]
        negative = [i for i in range(len(label)) if label[i] != label[a]]
        if a not in mined:
            hard = [i for i in positive if negative and cosine[a, i] < max(cosine[a, negative]) + margin]
            mined[a] = hard, [i for i in negative if positive and cosine[a, i] > min(cosine[a, positive]) - margin]
        pull = math.log(1 + sum(math.exp(-alpha * (cosine[a, i] - base)) for i in mined[a][0])) / alpha
        push = math.log(1 + sum(math.exp(beta * (cosine[a, i] - base)) for i in mined[a][1])) / beta
        out.append(pull + push)
    return np.array(out)


@both
@pytest.mark.parametrize("label", [LABEL, [0, 0, 0, 0, 1, 1, 1, 2], [3, 7, 7, 3, 7, 3, 3, 7]], ids=str)
def test_multi_similarity_equals_a_loop(label, hybridize):
    embedding, mined = unit(np.random.default_rng(len(set(label))).normal(size=(8, 4))), {}
    similarity_loop(embedding, label, mined=mined)

    def loop(rows, label):
        return similarity_loop(rows, label, mined=mined)

    equals_loop(ranking.MultiSimilarityLoss(), loop, embedding, label, hybridize=hybridize, tolerance=1e-4)


@pytest.mark.parametrize("label", [[1] * 8, range(8)], ids=["one class", "every class with one picture"])
def test_multi_similarity_of_a_batch_without_pairs_to_compare_is_0(label):
    x, label = mx.nd.array(waves(8, 4, 0.2)), mx.nd.array(list(label))
    x.attach_grad()
    with autograd.record():
        value = ranking.MultiSimilarityLoss()(x, label)
        value.sum().backward()
    assert not value.asnumpy().any()
    assert not x.grad.asnumpy().any()


def anchor_loop(rows, label, margin=0.1, alpha=32):
    pull = push = 0
    for proxy in range(rows.shape[1]):
        own = [rows[i, proxy] for i in range(len(label)) if label[i] == proxy]
        others = [rows[i, proxy] for i in range(len(label)) if label[i] != proxy]
        pull += math.log(1 + sum(math.exp(-alpha * (value - margin)) for value in own)) / len(set(label))
        push += math.log(1 + sum(math.exp(alpha * (value + margin)) for value in others)) / rows.shape[1]
    return np.full(len(label), pull + push)


@both
@pytest.mark.parametrize("alpha", [4, 32])
def test_proxy_anchor_equals_a_loop(alpha, hybridize):
    def loop(rows, label):
        return anchor_loop(rows, label, alpha=alpha)

    rows, label = cosine_rows(6, 5, 3), [0, 0, 2, 2, 2, 4]  # two classes are not in the batch
    equals_loop(ranking.ProxyAnchorLoss(alpha=alpha), loop, rows, label, hybridize=hybridize, tolerance=1e-4)


@both
def test_the_classifier_of_cosines_equals_a_loop(hybridize):
    weight, x = np.random.default_rng(4).normal(size=(5, 3)).round(3), np.random.default_rng(5).normal(size=(4, 3))
    layer = cosines.Cosines(5, 3)
    layer.initialize()
    layer.weight.set_data(mx.nd.array(weight))

    def loop(rows):
        return [[float(row @ w) / math.sqrt(row @ row) / math.sqrt(w @ w) for w in weight] for row in rows]

    equals_loop(layer, loop, x.round(3), hybridize=hybridize)


RECORDED = {  # of pytorch-metric-learning: the loss, and its gradient by the first embedding
    "normalised_softmax": (19.5673132425, [-2.23349104, -0.33256551, 1.82003897, 2.59527424, 1.40645771]),
    "cosface": (30.0661236518, [-2.25478401, -0.33573602, 1.83739029, 2.62001626, 1.41986616]),
    "arcface": (31.8889450837, [-2.80794199, -0.41810092, 2.28815059, 3.26277535, 1.76819678]),
    "multi_similarity": (0.8227821855, [-0.13956946, 0.03276086, 0.03912087, -0.12978084, 0.00689716]),
    "proxy_anchor": (43.1753312498, [-1.53021167, -0.22784762, 1.24694696, 1.77807694, 0.96359374]),
}


@pytest.mark.parametrize("name", RECORDED)
def test_losses_have_the_values_and_gradients_of_pytorch_metric_learning(name):
    experiment = Experiment(**{"loss" if name in LOSSES else "classification_loss": name}, smoothing=0)
    loss = (RANKING if name in LOSSES else CLASSIFICATION)[name](experiment)
    layer = cosines.Cosines(5, 5)
    layer.initialize()
    layer.weight.set_data(mx.nd.array(waves(5, 5, 1.1)))
    x = mx.nd.array(waves(8, 5, 0.3))
    x.attach_grad()
    with autograd.record():
        rows = cosines.unit_rows(mx.nd, x) if name == "multi_similarity" else layer(x)
        mean = loss(rows, mx.nd.array(LABEL)).mean()
        mean.backward()
    value, gradient = RECORDED[name]
    assert mean.asscalar() == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(x.grad.asnumpy()[0], gradient, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in (*LOSSES, *CLASSIFICATION_LOSSES) if name != "margin"])
def test_extreme_inputs_have_finite_losses_and_gradients(name):
    is_ranking = name in LOSSES
    experiment = Experiment(**{"loss" if is_ranking else "classification_loss": name})
    loss = (RANKING if is_ranking else CLASSIFICATION)[name](experiment)
    for x in (np.ones((4, 3)) / math.sqrt(3), np.eye(4, 3), -np.eye(4, 3), np.zeros((4, 3)), 1e-4 * np.ones((4, 3))):
        x = mx.nd.array(x)
        x.attach_grad()
        with autograd.record():
            value = loss(x, mx.nd.array([0, 0, 1, 2]))
            value.mean().backward()
        assert np.isfinite(value.asnumpy()).all()
        assert np.isfinite(x.grad.asnumpy()).all()


def test_the_registries_hold_the_names_of_the_experiment():
    assert set(CLASSIFICATION) == set(CLASSIFICATION_LOSSES)
    assert set(RANKING) == set(LOSSES)
    assert [name for name in LOSSES if uses_proxies(Experiment(loss=name))] == ["proxy_anchor"]
    focal = CLASSIFICATION["focal"](Experiment(classification_loss="focal", focal_gamma=3, temperature=0.7))
    assert (focal.gamma, focal.smoothing, focal.temperature) == (3, 0.1, 0.7)
    arc = CLASSIFICATION["arcface"](Experiment(classification_loss="arcface", arcface_margin=0.2, cosine_scale=5))
    assert (arc.margin, arc.scale, arc.smoothing) == (0.2, 5, 0.1)
    loss = RANKING["multi_similarity"](Experiment(loss="multi_similarity", ms_alpha=3, ms_beta=4, ms_base=0.1))
    assert (loss.margin, loss.alpha, loss.beta, loss.base) == (0.1, 3, 4, 0.1)
    proxy = RANKING["proxy_anchor"](Experiment(loss="proxy_anchor", proxy_alpha=5, margin=0.2))
    assert (proxy.margin, proxy.alpha) == (0.2, 5)


@pytest.mark.parametrize("rate", [1, 50])
def test_proxies_learn_as_many_times_as_fast_as_their_rate(rate):
    """A step of Adam turns vectors of length 1 / rate as far as a multiplier of the learning rate turns longer ones."""
    start, x, label = waves(5, 4, 0.7), mx.nd.array(waves(6, 4, 0.1)), mx.nd.array([0, 0, 1, 1, 2, 3])
    turned = []
    for length, multiplier in ((1 / rate, 1), (1, rate)):
        layer = cosines.proxies(5, 4, rate)
        layer.initialize()
        layer.weight.set_data(mx.nd.array(start * length))
        layer.weight.lr_mult = multiplier
        trainer = mx.gluon.Trainer(layer.collect_params(), "adam", {"learning_rate": 1e-3})
        for _ in range(3):
            with autograd.record():
                loss = ranking.ProxyAnchorLoss()(layer(x), label).mean()
            loss.backward()
            trainer.step(1)
        turned.append(unit(layer.weight.data().asnumpy()))
    np.testing.assert_allclose(*turned, atol=2e-5)
    assert np.abs(turned[0] - start).max() > 5e-4 * rate


def test_new_proxies_have_about_the_length_that_their_rate_asks_for():
    layer = cosines.proxies(50, 100, 20)
    mx.random.seed(3)
    layer.initialize()
    assert np.linalg.norm(layer.weight.data().asnumpy(), axis=1).mean() == pytest.approx(1 / 20, rel=0.05)
