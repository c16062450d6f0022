import math

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from gluon_cgd.losses import BatchHardTripletLoss, SmoothedSoftmaxLoss


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
