"""Plain loops for what is beyond the paper, and the comparison of a block with its loop, in value and gradient."""

import math

import mxnet as mx
import numpy as np
from mxnet import autograd


def unit(rows):
    return np.array([row / math.sqrt(sum(value**2 for value in row)) for row in np.asarray(rows, np.float64)])


def waves(rows, dim, phase):
    """(rows, dim) of unit length that a formula gives, so that another library can be asked about the same numbers."""
    row = np.arange(rows)[:, None]
    return unit(np.sin(phase + 1.7 * row + 0.9 * np.arange(dim) * (1 + row % 3)))


def computed(block, x, *others):
    """(value, gradient by x of the sum of random weights of it, that weights) of a block with values."""
    x = mx.nd.array(x)
    x.attach_grad()
    with autograd.record():
        value = block(x, *map(mx.nd.array, others))
        weights = np.random.default_rng(9).uniform(-1, 1, value.shape)
        (value * mx.nd.array(weights)).sum().backward()
    return value.asnumpy(), x.grad.asnumpy(), weights


def slopes(function, x, weights, step=1e-5):
    """The gradient by x of the weighted sum of `function`, by central differences in float64."""
    x, gradient = np.array(x, np.float64), np.zeros(np.shape(x))
    for place in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        gradient[place] = ((np.asarray(function(up)) - function(down)) * weights).sum() / (2 * step)
    return gradient


def equals_loop(block, loop, x, *others, hybridize=False, tolerance=1e-5):
    """Compare a block with the function `loop` of the same arguments, in value and gradient by x."""
    block.initialize()
    if hybridize:
        block.hybridize()
    value, gradient, weights = computed(block, x, *others)
    expected = np.asarray(loop(np.asarray(x, np.float64), *others))
    assert value.shape == expected.shape
    np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance)
    of_loop = slopes(lambda changed: loop(changed, *others), x, weights)
    np.testing.assert_allclose(gradient, of_loop, atol=2e-3 * max(1, np.abs(of_loop).max()))
    assert np.abs(of_loop).max() > 1e-3  # there is a gradient to compare
