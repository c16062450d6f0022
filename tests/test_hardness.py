"""benchmarks/hardness.py: its loss is the project's, and small batches are easier."""

import mxnet as mx
import numpy as np
import pytest

from benchmarks.hardness import BATCHES, SHAPES, hardness
from benchmarks.untrained import unit
from gluon_cgd.losses import BatchHardTripletLoss
from gluon_cgd.sampler import ClassBalancedSampler


@pytest.fixture(scope="module")
def pictures():
    """Vectors (320, 16) of 40 classes that overlap, and their labels."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(40), 8)
    return unit(rng.normal(size=(40, 16))[labels] + 0.7 * rng.normal(size=(320, 16))).astype(np.float32), labels


def test_its_loss_is_that_of_training(pictures):
    vectors, labels = pictures
    sampler, batch_hard, means = ClassBalancedSampler(labels, 12, 3), BatchHardTripletLoss(margin=0.1), []
    for iteration in range(5):
        rows, _ = sampler.batch(iteration)
        means.append(batch_hard(mx.nd.array(vectors[rows]), mx.nd.array(labels[rows])).mean().asscalar())
    assert hardness(vectors, labels, 12, 3, batches=5)[0] == pytest.approx(np.mean(means), rel=1e-4)


def test_fewer_classes_and_fewer_pictures_are_easier(pictures):
    found = {shape: hardness(*pictures, *shape, batches=40) for shape in ((4, 2), (12, 2), (12, 3), (32, 4))}
    losses, wins = zip(*found.values())
    assert list(losses) == sorted(losses)
    assert list(wins) == sorted(wins, reverse=True)


def test_classes_that_are_points_win_always_and_one_point_costs_the_margin():
    labels = np.repeat(np.arange(16), 4)
    assert hardness(np.eye(16)[labels], labels, 8, 4) == (0.0, 1.0)
    loss, wins = hardness(np.ones((64, 1)), labels, 8, 4)
    assert loss == pytest.approx(0.1)
    assert wins == 0
    assert BATCHES > 100
    assert (32, 4) in SHAPES
