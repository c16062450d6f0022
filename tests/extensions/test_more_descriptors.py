"""Descriptors beyond the paper's: each beside a plain loop."""

import math
from itertools import product

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from gluon_cgd.descriptors import DESCRIPTORS, MAC, GeM, SPoC
from gluon_cgd.experiment import DESCRIPTOR_NAMES
from gluon_cgd.extensions.places import regions
from gluon_cgd.extensions.powers import ChannelGeM, TrainedGeM, WeightedGeM
from gluon_cgd.extensions.regions import RMAC, CentredSPoC, CroW
from tests.extensions.loops import equals_loop

both = pytest.mark.parametrize("hybridize", [False, True])
SIDE = 4


def features(side=SIDE, seed=0, low=-0.5):
    return np.random.default_rng(seed).uniform(low, 2, (2, 3, side, side)).round(3)


def power_loop(x, exponents, weights=None):
    """A generalised mean, one channel and one position after the other."""
    out = np.zeros(x.shape[:2])
    for b, c in product(range(x.shape[0]), range(x.shape[1])):
        total = 0
        for i, j in product(range(x.shape[2]), range(x.shape[3])):
            weight = 1 / x[0, 0].size if weights is None else weights[b, i, j]
            total += weight * max(x[b, c, i, j], 1e-6) ** exponents[c]
        out[b, c] = total ** (1 / exponents[c])
    return out


def exponent_of(raw, start=3):
    return 1 + 9 / (1 + (10 - start) / (start - 1) * math.exp(-10 * raw))


@both
@pytest.mark.parametrize("raw", [0.0, 0.05])
def test_gem_with_a_trained_exponent_equals_a_loop(hybridize, raw):
    block = TrainedGeM()
    block.initialize()
    block.raw.set_data(mx.nd.full((1, 1, 1, 1), raw))
    equals_loop(block, lambda x: power_loop(x, [exponent_of(raw)] * 3), features(), hybridize=hybridize)


@both
def test_gem_with_an_exponent_a_channel_equals_a_loop(hybridize):
    block, raws = ChannelGeM(channels=3), [-0.1, 0.0, 0.2]
    block.initialize()
    block.raw.set_data(mx.nd.array(raws).reshape((1, 3, 1, 1)))
    equals_loop(block, lambda x: power_loop(x, list(map(exponent_of, raws))), features(), hybridize=hybridize)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_gradient_of_the_exponent_equals_finite_differences(channels):
    block = TrainedGeM(p=2.5) if channels == 1 else ChannelGeM(p=2.5, channels=3)
    block.initialize()
    raw, x = block.raw.data().asnumpy(), features()
    with autograd.record():
        block(mx.nd.array(x)).sum().backward()

    def total(channel, step):
        moved = raw.ravel().astype(np.float64)
        moved[channel] += step
        return power_loop(x, [exponent_of(value, 2.5) for value in np.broadcast_to(moved, 3)]).sum()

    for channel in range(channels):
        slope = (total(channel, 1e-5) - total(channel, -1e-5)) / 2e-5
        assert block.raw.grad().asnumpy().ravel()[channel] == pytest.approx(slope, rel=1e-3)


def test_trained_exponents_begin_at_p_and_stay_between_1_and_10():
    x = mx.nd.array(features(low=0.1))
    for block in (TrainedGeM(), ChannelGeM(channels=3), WeightedGeM(channels=3)):
        block.initialize()
        np.testing.assert_allclose(block(x).asnumpy(), GeM()(x).asnumpy(), rtol=1e-5)
    block = TrainedGeM()
    block.initialize()
    for raw, limit in ((-1e4, SPoC()(x)), (1e4, GeM(10)(x))):
        block.raw.set_data(mx.nd.full((1, 1, 1, 1), raw))
        np.testing.assert_allclose(block(x).asnumpy(), limit.asnumpy(), rtol=1e-5)
    for p in (1, 10, 0.5):
        with pytest.raises(ValueError, match="must be between 1 and 10"):
            TrainedGeM(p)


@both
@pytest.mark.parametrize("p", [2.5, 3])
def test_weighted_gem_equals_a_loop(hybridize, p):
    attention = np.array([0.7, -1.2, 0.4])

    def loop(x):
        weights = np.zeros((len(x), *x.shape[2:]))
        for b, i, j in np.ndindex(*weights.shape):
            weights[b, i, j] = math.exp(sum(attention[c] * x[b, c, i, j] for c in range(3)))
        return power_loop(x, [p] * 3, weights / weights.sum(axis=(1, 2), keepdims=True))

    block = WeightedGeM(p, channels=3)
    block.initialize()
    block.attention.set_data(mx.nd.array(attention).reshape((1, 3, 1, 1)))
    equals_loop(block, loop, features(), hybridize=hybridize)


def test_the_gradient_of_the_attention_equals_finite_differences():
    block, x = WeightedGeM(channels=3), mx.nd.array(features())
    block.initialize()
    with autograd.record():
        block(x).sum().backward()
    gradient = block.attention.grad().asnumpy().ravel()
    for channel in range(3):
        totals = []
        for step in (1e-2, -1e-2):
            moved = np.zeros((1, 3, 1, 1))
            moved[0, channel] = step
            block.attention.set_data(mx.nd.array(moved))
            totals.append(float(block(x).sum().asscalar()))
        assert gradient[channel] == pytest.approx((totals[0] - totals[1]) / 2e-2, rel=1e-2, abs=1e-3)


def regions_loop(x, scales):
    """R-MAC: for every region, its maximum in every channel, divided by the length of all."""
    out = np.zeros(x.shape[:2])
    for b, ((top, left), (bottom, right)) in product(range(len(x)), list(regions(x.shape[2], scales))):
        maxima = [max(x[b, c, i, j] for i in range(top, bottom) for j in range(left, right)) for c in range(x.shape[1])]
        out[b] += np.array(maxima) / math.sqrt(sum(value**2 for value in maxima))
    return out


@both
@pytest.mark.parametrize(("side", "scales"), [(4, 1), (4, 2), (4, 3), (7, 3), (2, 3)])
def test_r_mac_equals_a_loop(hybridize, side, scales):
    equals_loop(RMAC(side, scales), lambda x: regions_loop(x, scales), features(side), hybridize=hybridize)


def test_the_regions_are_those_of_the_paper():
    assert list(regions(6, 1)) == [((0, 0), (6, 6))]
    assert list(regions(6, 2))[1:] == [((0, 0), (4, 4)), ((0, 2), (4, 6)), ((2, 0), (6, 4)), ((2, 2), (6, 6))]
    third = list(regions(14, 3))[5:]
    assert len(third) == 9
    assert sorted({first[0] for first, _ in third}) == [0, 3, 7]
    assert {last[0] - first[0] for first, last in third} == {7}


def crow_loop(x, alive=None):
    """CroW, one position and one channel after the other."""
    out = np.zeros(x.shape[:2])
    for b in range(len(x)):
        positive = np.maximum(x[b], 0)
        places = {(i, j): sum(positive[:, i, j]) for i in range(x.shape[2]) for j in range(x.shape[3])}
        norm = math.sqrt(sum(value**2 for value in places.values()))
        shares = [sum(positive[c, i, j] > 0 for i, j in places) / len(places) + 1e-6 for c in range(x.shape[1])]
        for c in range(x.shape[1]):
            total = sum(math.sqrt(max(value / norm, 1e-6)) * positive[c, i, j] for (i, j), value in places.items())
            out[b, c] = math.log(sum(shares) / shares[c]) * total
    return out


@both
def test_crow_equals_a_loop(hybridize):
    equals_loop(CroW(), crow_loop, features(), hybridize=hybridize)


@both
@pytest.mark.parametrize("side", [2, 4, 5])
def test_spoc_with_the_centring_prior_equals_a_loop(hybridize, side):
    def loop(x):
        out, total = np.zeros(x.shape[:2]), 0
        for i, j in product(range(side), repeat=2):
            far = (i - (side - 1) / 2) ** 2 + (j - (side - 1) / 2) ** 2
            weight = math.exp(-far / (2 * (side / 2 / 3) ** 2))
            out += weight * x[:, :, i, j]
            total += weight
        return out / total

    equals_loop(CentredSPoC(side), loop, features(side), hybridize=hybridize)


@pytest.mark.parametrize("letter", "PQARWC")
def test_extreme_features_have_finite_values_and_gradients(letter):
    takes = getattr(DESCRIPTORS[letter], "takes", ())
    values = {name: value for name, value in dict(channels=2, side=3, p=9.5).items() if name in takes}
    for value in (0, -1, 1e5, 1e-8):
        block, x = DESCRIPTORS[letter](**values), mx.nd.full((1, 2, 3, 3), value)
        block.initialize()
        x[0, 1, 1, 1] = 1
        x.attach_grad()
        with autograd.record():
            out = block(x)
            out.sum().backward()
        assert np.isfinite(out.asnumpy()).all()
        assert np.isfinite(x.grad.asnumpy()).all()
        for parameter in block.collect_params().values():
            assert parameter.grad_req == "null" or np.isfinite(parameter.grad().asnumpy()).all()


def test_every_letter_has_its_name():
    assert {letter: block.__name__ for letter, block in DESCRIPTORS.items()} == DESCRIPTOR_NAMES
    assert [DESCRIPTORS[letter] for letter in "SMG"] == [SPoC, MAC, GeM]
