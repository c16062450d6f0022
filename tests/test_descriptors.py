import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from gluon_cgd.descriptors import DESCRIPTORS, MAC, GeM, SPoC
from gluon_cgd.experiment import DESCRIPTOR_NAMES, Experiment


def loop(letter, x, p=3):
    """Equation 1 for every channel, one position after the other."""
    pooled = np.zeros(x.shape[:2])
    for b, c in np.ndindex(*x.shape[:2]):
        values = [float(v) for v in x[b, c].ravel()]
        if letter == "S":
            pooled[b, c] = sum(values) / len(values)
        elif letter == "M":
            pooled[b, c] = max(values)
        else:
            pooled[b, c] = (sum(max(v, 1e-6) ** p for v in values) / len(values)) ** (1 / p)
    return pooled


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize(("letter", "descriptor"), [("S", SPoC), ("M", MAC), ("G", GeM)])
def test_a_descriptor_equals_equation_1(letter, descriptor, hybridize):
    x = np.random.default_rng(0).uniform(-1, 2, (2, 3, 4, 5)).astype(np.float32)
    block = descriptor()
    if hybridize:
        block.hybridize()
    pooled = block(mx.nd.array(x))
    assert pooled.shape == (2, 3)
    np.testing.assert_allclose(pooled.asnumpy(), loop(letter, x), rtol=1e-5, atol=1e-6)


def test_gem_is_the_mean_at_p_1_and_nears_the_maximum_at_a_large_p():
    x = mx.nd.random.uniform(0.1, 1, (2, 3, 4, 4))
    np.testing.assert_allclose(GeM(p=1)(x).asnumpy(), SPoC()(x).asnumpy(), rtol=1e-5)
    np.testing.assert_allclose(GeM(p=60)(x).asnumpy(), MAC()(x).asnumpy(), rtol=0.06)


@pytest.mark.parametrize("p", [2, 3, 3.5])
def test_gem_equals_equation_1_whatever_its_p(p):
    x = np.random.default_rng(0).uniform(-1, 2, (2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(GeM(p=p)(mx.nd.array(x)).asnumpy(), loop("G", x, p), rtol=1e-5)


@pytest.mark.parametrize("descriptor", [SPoC, MAC, GeM])
def test_a_dead_channel_has_a_finite_gradient(descriptor):
    x = mx.nd.zeros((1, 2, 3, 3))
    x.attach_grad()
    with autograd.record():
        descriptor()(x).sum().backward()
    assert np.isfinite(x.grad.asnumpy()).all()


@pytest.mark.parametrize(("p", "minimum"), [(6.1, 1e-6), (2.3, 1e-16), (3, 1e-12), (1.2, 1e-30), (22.3, 0.022)])
def test_gem_is_finite_with_its_gradient_at_the_ends_of_what_an_experiment_takes(p, minimum):
    Experiment(gem_p=p, gem_minimum=minimum)
    x = mx.nd.zeros((1, 2, 32, 32))
    x[0, 1] = 30
    x.attach_grad()
    with autograd.record():
        pooled = GeM(p, minimum)(x)
    pooled.backward()
    np.testing.assert_allclose(pooled.asnumpy(), [[minimum, 30]], rtol=1e-3)
    np.testing.assert_allclose(x.grad.asnumpy()[0, 1], 1 / 1024, rtol=1e-3)
    assert (x.grad.asnumpy()[0, 0] == 0).all()


@pytest.mark.parametrize("p", [2.5, 3])
def test_the_gradient_of_gem_equals_finite_differences(p):
    values = np.random.default_rng(1).uniform(0.2, 1, (1, 1, 2, 2)).astype(np.float32)
    x = mx.nd.array(values)
    x.attach_grad()
    with autograd.record():
        GeM(p)(x).sum().backward()
    for place in np.ndindex(*values.shape):
        step = np.zeros_like(values, np.float64)
        step[place] = 1e-4
        slope = (loop("G", values + step, p) - loop("G", values - step, p)).sum() / 2e-4
        assert x.grad.asnumpy()[place] == pytest.approx(slope, rel=1e-3)


def test_their_names_are_known_without_mxnet():
    assert {letter: block.__name__ for letter, block in DESCRIPTORS.items()} == DESCRIPTOR_NAMES
