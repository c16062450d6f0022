import math

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from gluon_cgd.experiment import LOSSES, Experiment
from gluon_cgd.losses import (
    RANKING,
    BatchHardTripletLoss,
    HAP2SELoss,
    HAP2SPLoss,
    MarginLoss,
    SmoothedSoftmaxLoss,
    SoftMarginTripletLoss,
    negative_probabilities,
)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def triplet_loop(embedding, label, margin=0.1):
    losses = []
    for a in range(len(label)):
        positives = [
            math.dist(embedding[a], embedding[i]) for i in range(len(label)) if i != a and label[i] == label[a]
        ]
        negatives = [math.dist(embedding[a], embedding[i]) for i in range(len(label)) if label[i] != label[a]]
        losses.append(max(0, margin + max(positives) - min(negatives)) if positives and negatives else 0)
    return np.array(losses)


def softmax_loop(logits, label, smoothing, temperature):
    losses = []
    for row, target in zip(logits / temperature, label):
        log_sum = math.log(sum(math.exp(value) for value in row))
        wanted = [smoothing / len(row) + (1 - smoothing) * (i == target) for i in range(len(row))]
        losses.append(sum(weight * (log_sum - value) for weight, value in zip(wanted, row)))
    return np.array(losses)


def value_and_gradient(loss, inputs, label, hybridize):
    if hybridize:
        loss.hybridize()
    x = mx.nd.array(inputs)
    x.attach_grad()
    with autograd.record():
        value = loss(x, mx.nd.array(label))
        value.mean().backward()
    return value.asnumpy(), x.grad.asnumpy()


def slopes(function, inputs, step=1e-4):
    """Central differences of the mean of `function`, in float64."""
    inputs, gradient = inputs.astype(np.float64), np.zeros(inputs.shape)
    for place in np.ndindex(*inputs.shape):
        up, down = inputs.copy(), inputs.copy()
        up[place] += step
        down[place] -= step
        gradient[place] = (function(up).mean() - function(down).mean()) / (2 * step)
    return gradient


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("label", [[0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 2], [3, 7, 7, 3, 7, 3]], ids=str)
def test_batch_hard_equals_a_loop_in_value_and_gradient(label, hybridize):
    embedding = unit(np.random.default_rng(len(set(label))).normal(size=(6, 5))).astype(np.float32)
    value, gradient = value_and_gradient(BatchHardTripletLoss(), embedding, label, hybridize)
    assert value.shape == (6,)
    np.testing.assert_allclose(value, triplet_loop(embedding, label), atol=1e-5)
    np.testing.assert_allclose(gradient, slopes(lambda e: triplet_loop(e, label), embedding), atol=2e-3)


@pytest.mark.parametrize("hybridize", [False, True])
def test_batch_hard_at_1536_dimensions(hybridize):
    rng = np.random.default_rng(5)
    label = np.repeat(np.arange(8), 4)
    embedding = unit(rng.normal(size=(8, 1536))[label] + 0.9 * rng.normal(size=(32, 1536))).astype(np.float32)
    value, _ = value_and_gradient(BatchHardTripletLoss(margin=0.5), embedding, label, hybridize)
    np.testing.assert_allclose(value, triplet_loop(embedding, label, 0.5), atol=1e-4)
    assert value.max() > 0


@pytest.mark.parametrize(
    "label", [[1, 1, 1, 1], [0, 1, 2, 3]], ids=["one class in the batch", "every class with one picture"]
)
def test_a_batch_without_triplets_costs_nothing(label):
    value, gradient = value_and_gradient(
        BatchHardTripletLoss(), unit(np.random.default_rng(0).normal(size=(4, 3))), label, True
    )
    assert not value.any()
    assert not gradient.any()


def test_identical_embeddings_cost_the_margin_and_have_a_finite_gradient():
    value, gradient = value_and_gradient(
        BatchHardTripletLoss(margin=0.1), np.ones((4, 3)) / math.sqrt(3), [0, 0, 1, 1], True
    )
    np.testing.assert_allclose(value, 0.1, atol=1e-3)
    assert np.isfinite(gradient).all()


def test_among_equally_far_positives_one_gets_the_gradient():
    embedding = np.array([[1, 0], [0, 1], [0, 1], [0.9, math.sqrt(0.19)]], np.float32)
    _, gradient = value_and_gradient(BatchHardTripletLoss(), embedding, [0, 0, 0, 1], False)
    x = mx.nd.array(embedding)
    x.attach_grad()
    with autograd.record():  # anchor 0 alone: its farthest positive is picture 1 or 2, both sqrt(2) away
        BatchHardTripletLoss()(x, mx.nd.array([0, 0, 0, 1]))[0].backward()
    assert (np.abs(x.grad.asnumpy()[1:3]).sum(axis=1) > 0).sum() == 1
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize(("smoothing", "temperature"), [(0, 1), (0.1, 1), (0, 0.5), (0.1, 0.5)])
def test_the_classification_loss_equals_a_loop_in_value_and_gradient(smoothing, temperature, hybridize):
    logits = np.random.default_rng(2).normal(size=(4, 7)).astype(np.float32)
    label = [0, 6, 3, 3]
    value, gradient = value_and_gradient(SmoothedSoftmaxLoss(smoothing, temperature), logits, label, hybridize)
    np.testing.assert_allclose(value, softmax_loop(logits, label, smoothing, temperature), rtol=1e-5)
    np.testing.assert_allclose(
        gradient, slopes(lambda x: softmax_loop(x, label, smoothing, temperature), logits), atol=1e-4
    )


def test_large_logits_do_not_overflow():
    value, _ = value_and_gradient(SmoothedSoftmaxLoss(), np.array([[1e4, -1e4]]), [0], True)
    assert np.isfinite(value).all()


SMALLEST = 1e-12  # squared distances are clipped there, and have no gradient below


def distances_of(x):
    return np.sqrt(np.maximum(((x[:, None] - x[None]) ** 2).sum(axis=-1), SMALLEST))


def members(label, anchor):
    """(positives, negatives) of an anchor, as lists of indices."""
    others = [i for i in range(len(label)) if i != anchor]
    return [i for i in others if label[i] == label[anchor]], [i for i in others if label[i] != label[anchor]]


def soft_margin_loop(embedding, label):
    d, losses = distances_of(embedding), []
    for a in range(len(label)):
        positives, negatives = members(label, a)
        complete = positives and negatives
        losses.append(
            math.log(1 + math.exp(max(d[a, i] for i in positives) - min(d[a, i] for i in negatives))) if complete else 0
        )
    return np.array(losses)


def hap2s_loop(embedding, label, positive_weight, negative_weight, margin=0.1):
    d, losses = distances_of(embedding), []
    for a in range(len(label)):
        positives, negatives = members(label, a)
        if not positives or not negatives:
            losses.append(0)
            continue
        far = sum(positive_weight(d[a, i]) * d[a, i] for i in positives) / sum(
            positive_weight(d[a, i]) for i in positives
        )
        near = sum(negative_weight(d[a, i]) * d[a, i] for i in negatives) / sum(
            negative_weight(d[a, i]) for i in negatives
        )
        losses.append(max(0, far - near + margin))
    return np.array(losses)


def hap2s_e_loop(embedding, label):
    return hap2s_loop(embedding, label, lambda d: math.exp(d / 0.5), lambda d: math.exp(-d / 0.5))


def hap2s_p_loop(embedding, label):
    return hap2s_loop(embedding, label, lambda d: (d + 1) ** 10, lambda d: (d + 1) ** -20)


def margin_loop(embedding, label, margin=0.1, boundary=1.2):
    """Where each anchor has but one negative to draw."""
    d, anchors, active = distances_of(embedding), [], 0
    for a in range(len(label)):
        positives, negatives = members(label, a)
        negatives = [i for i in negatives if d[a, i] < 1.3]
        total = 0
        for p in positives:
            terms = [max(0, margin + d[a, p] - boundary)]
            if negatives:
                (n,) = negatives
                terms.append(max(0, margin + boundary - d[a, n]))
            total += sum(terms)
            active += sum(term > 0 for term in terms)
        anchors.append(total)
    return np.array(anchors) * len(label) / max(active, 1)


LOOPS = {
    SoftMarginTripletLoss: soft_margin_loop,
    HAP2SELoss: hap2s_e_loop,
    HAP2SPLoss: hap2s_p_loop,
}
EVERY_LOSS = (BatchHardTripletLoss, *LOOPS, MarginLoss)


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize(
    "label",
    [[0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 2], [4, 4, 4, 4, 4, 4], [0, 1, 2, 3, 4, 5]],
    ids=["balanced", "a class with one picture", "one class", "no positives"],
)
@pytest.mark.parametrize("loss", LOOPS)
def test_a_loss_equals_a_loop_in_value_and_gradient(loss, label, hybridize):
    embedding = unit(np.random.default_rng(3).normal(size=(6, 5))).astype(np.float32)
    value, gradient = value_and_gradient(loss(), embedding, label, hybridize)
    np.testing.assert_allclose(value, LOOPS[loss](embedding, label), atol=1e-5)
    np.testing.assert_allclose(gradient, slopes(lambda x: LOOPS[loss](x, label), embedding), atol=1e-4)


@pytest.mark.parametrize("loss", ["hap2s_e", "hap2s_p"])
def test_gradients_of_hap2s_are_right_at_the_ends_of_the_allowed_ranges(loss):
    experiment = Experiment(loss=loss, hap2s_sigma=0.06, hap2s_alpha=19)
    angles = np.array([0, np.pi - 0.2, np.pi + 0.1, np.pi - 0.1])  # the first is far from all the others
    embedding, label = np.stack([np.cos(angles), np.sin(angles)], axis=1), [0, 0, 1, 1]
    weights = {
        "hap2s_e": (lambda d: math.exp(d / 0.06), lambda d: math.exp(-d / 0.06)),
        "hap2s_p": (lambda d: (d + 1) ** 19, lambda d: (d + 1) ** -38),
    }
    value, gradient = value_and_gradient(RANKING[loss](experiment), embedding.astype(np.float32), label, False)
    expected = slopes(lambda x: hap2s_loop(x, label, *weights[loss]), embedding)
    np.testing.assert_allclose(value, hap2s_loop(embedding, label, *weights[loss]), atol=1e-4)
    assert np.abs(expected[0]).max() > 0.01
    np.testing.assert_allclose(gradient, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("hybridize", [False, True])
def test_the_margin_loss_equals_a_loop_where_one_negative_can_be_drawn(hybridize):
    rng = np.random.default_rng(5)
    embedding = unit(np.concatenate([[[1, 0, 0, 0]] * 4, [[0.3, 1, 0, 0]]]) + 0.3 * rng.normal(size=(5, 4)))
    embedding, label = embedding.astype(np.float32), [0, 0, 0, 0, 1]  # the fifth has no positive and is nobody else's
    value, gradient = value_and_gradient(MarginLoss(), embedding, label, hybridize)
    expected = margin_loop(embedding, label)
    assert expected.max() > 0
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    np.testing.assert_allclose(gradient, slopes(lambda x: margin_loop(x, label), embedding), atol=1e-3)


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("loss", EVERY_LOSS)
@pytest.mark.parametrize(
    ("embedding", "label"),
    [
        (unit(np.ones((6, 5))), [0, 0, 1, 1, 2, 2]),
        (unit(np.ones((6, 5)) * np.array([1, -1, 1, -1, 1, -1])[:, None]), [0, 0, 1, 1, 2, 2]),
        (np.eye(6)[[0, 0, 1, 1, 2, 2]], [0, 0, 1, 1, 2, 2]),
        (np.eye(6), [0, 0, 0, 0, 0, 0]),
        (np.eye(6), [0, 1, 2, 3, 4, 5]),
        (unit(np.random.default_rng(0).normal(size=(8, 1536))), [0, 0, 1, 1, 2, 2, 3, 3]),
    ],
    ids=["identical embeddings", "antipodal points", "no active term", "one class", "no positives", "1536 dimensions"],
)
def test_values_and_gradients_are_finite_at_the_edges(loss, embedding, label, hybridize):
    value, gradient = value_and_gradient(loss(), embedding.astype(np.float32), label, hybridize)
    assert value.shape == (len(label),)
    assert (value >= 0).all()
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()
    if len(set(label)) in (1, len(label)) and loss is not MarginLoss:
        assert not value.any()


def test_the_margin_loss_is_zero_without_an_active_term():
    embedding = np.eye(4)[[0, 0, 1, 1]].astype(np.float32)  # positives at 0, negatives at 1.41
    value, gradient = value_and_gradient(MarginLoss(), embedding, [0, 0, 1, 1], True)
    assert not value.any()
    assert not gradient.any()


def probabilities_loop(d, label, dim):
    """The density of distances on the sphere inverted, row by row, in exact arithmetic on logarithms."""
    rows = []
    for a in range(len(label)):
        weights = {}
        for n in range(len(label)):
            if label[n] != label[a] and d[a, n] < 1.3:
                near = max(d[a, n], 0.5)
                weights[n] = (2 - dim) * math.log(near) - (dim - 3) / 2 * math.log(1 - near * near / 4)
        largest = max(weights.values(), default=0)
        total = sum(math.exp(weight - largest) for weight in weights.values())
        rows.append([math.exp(weights[n] - largest) / total if n in weights else 0 for n in range(len(label))])
    return np.array(rows)


def spread(dim, n=12, closeness=0.6):
    """Unit vectors that lie about 1 apart, as embeddings do in training."""
    rng = np.random.default_rng(dim)
    return unit(closeness * unit(rng.normal(size=(1, dim))) + unit(rng.normal(size=(n, dim)))).astype(np.float32)


@pytest.mark.parametrize("dim", [8, 64, 512, 1536])
def test_negatives_are_drawn_inversely_to_how_often_their_distance_occurs(dim):
    x, label = spread(dim), np.repeat(range(4), 3)
    d = distances_of(x.astype(np.float64))
    found = negative_probabilities(d, label, dim)
    np.testing.assert_allclose(found, probabilities_loop(d, label, dim), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert not found[label[:, None] == label].any()
    distance = mx.nd.array(d)
    same = mx.nd.array(label[:, None] == label)
    on_the_device = MarginLoss().probabilities(mx.nd, mx.nd.array(x), distance, same).asnumpy()
    np.testing.assert_allclose(on_the_device, found, atol=2e-3)


def test_rows_without_a_negative_are_all_zero():
    d = np.full((4, 4), 1.35) * (1 - np.eye(4))
    assert not negative_probabilities(d, [0, 0, 1, 1], 128).any()
    assert not negative_probabilities(np.zeros((3, 3)), [5, 5, 5], 128).any()
    np.testing.assert_allclose(negative_probabilities(np.zeros((4, 4)), [0, 0, 1, 1], 128)[0], [0, 0, 0.5, 0.5])
    antipodal = 2 * (1 - np.eye(4))
    assert not negative_probabilities(antipodal, [0, 0, 1, 1], 1536).any()


def test_negatives_are_drawn_at_large_dimensions_where_mxnets_example_underflows():
    label, distances = np.repeat(range(4), 3), distances_of(spread(1536))
    distances[0, 1] = distances[1, 0] = 0.5  # a near pair of one class, as training makes them
    found = negative_probabilities(distances, label, 1536)
    assert not found[label[:, None] == label].any()
    np.testing.assert_allclose(found.sum(axis=1), 1)
    same = mx.nd.array(label[:, None] == label)
    on_the_device = MarginLoss().probabilities(mx.nd, mx.nd.array(spread(1536)), mx.nd.array(distances), same)
    np.testing.assert_allclose(on_the_device.asnumpy(), found, atol=2e-3)


@pytest.mark.parametrize("hybridize", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_draw_follows_the_probabilities_and_the_seed(hybridize):
    x, label = spread(16, closeness=1.0), np.repeat(range(4), 3)
    d = distances_of(x)
    expected_probability = negative_probabilities(d, label, 16)
    loss = MarginLoss(margin=0.2, boundary=2)  # every term is active: the mean of the draws can be told
    if hybridize:
        loss.hybridize()
    inputs = mx.nd.array(x), mx.nd.array(label)
    mx.random.seed(4)
    draws = np.stack([loss(*inputs).asnumpy() for _ in range(3000)])
    mx.random.seed(4)
    np.testing.assert_array_equal(loss(*inputs).asnumpy(), draws[0])
    assert (draws[0] != draws[1]).any()
    for a in range(len(label)):
        positives, _ = members(label, a)
        mean_negative = 2.2 - expected_probability[a] @ d[a]
        far = sum(max(0, 0.2 + d[a, p] - 2) for p in positives)
        expected = (far + len(positives) * mean_negative) * len(label) / (len(label) * 2)
        assert draws[:, a].mean() == pytest.approx(expected, rel=0.02)


def test_every_loss_of_an_experiment_can_be_made():
    for name in LOSSES:
        loss = RANKING[name](Experiment(loss=name, margin=0.3))
        assert getattr(loss, "margin", 0.3) == 0.3
    assert RANKING["margin"](Experiment(loss="margin", margin_boundary=1)).boundary == 1
    assert set(RANKING) == set(LOSSES)
