import mxnet as mx
import numpy as np
import pytest

from gluon_cgd.engines import draws


@pytest.mark.parametrize("seed", [0, 1, 127, 2**31 - 1])
def test_the_numbers_are_those_of_mxnet_to_the_bit_call_after_call(seed):
    mx.random.seed(seed)
    uniform = draws.Uniform(seed)
    # one number; one generator; two; an uneven share; as many as the margin loss needs; more than 1,024 x 64
    for shape in ((1,), (64,), (65,), (7, 19), (128, 128), (3, 130, 171), (8, 8)):
        expected = mx.nd.random.uniform(shape=shape).asnumpy()
        np.testing.assert_array_equal(uniform.draw(shape), expected)


def test_the_margin_losses_operator_draws_them_too():
    mx.random.seed(11)
    expected = mx.nd.random.uniform_like(mx.nd.zeros((40, 40))).asnumpy()
    np.testing.assert_array_equal(draws.Uniform(11).draw((40, 40)), expected)


def test_no_numbers_and_a_number_that_would_be_one(monkeypatch):
    assert draws.Uniform(0).draw((0, 4)).shape == (0, 4)
    monkeypatch.setattr(draws.Uniform, "_bits", lambda self, number, count: np.full(count, 2**32 - 1, np.uint32))
    assert draws.Uniform(0).draw((3,)).max() == np.float32(1 - 2.0**-24)
