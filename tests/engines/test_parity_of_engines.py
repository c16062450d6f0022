"""MXNet and the PyTorch engine take the same steps (tests/engines/parity.py): in float64 to a billionth."""

import pytest

from gluon_cgd.engines import environment
from tests.engines import parity

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(environment.found() is None, reason="no environment with PyTorch (see docs/engines.md)"),
]


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    both = parity.Engines(environment.found(), tmp_path_factory.mktemp("parity"))
    yield both
    both.close()


@pytest.mark.parametrize("name", parity.EXPERIMENTS)
def test_both_engines_compute_the_same(name, engines):
    found = engines.compare(name)
    # In float64: the same operations, however their sums are ordered
    for what in ("loss64", "embedding64", "gradient64", "statistics64"):
        assert found[what] < 1e-9, (what, found)
    # In float32: as near as the numbers are, or no farther from float64 than a few times MXNet's own rounding. The loss
    # is one number, which MXNet may hit by chance: the embedding that it is made of says how far rounding goes
    assert found["loss"] < max(1e-5, 3 * found["loss_of_mxnet"], 3 * found["embedding_of_mxnet"]), found
    assert found["embedding"] < max(1e-5, 3 * found["embedding_of_mxnet"]), found
    assert found["statistics"] < max(1e-5, 3 * found["statistics_of_mxnet"]), found
    assert found["cosine"] < 1e-4 or found["gradient"] < 3 * found["gradient_of_mxnet"], found
    # Adam: how far apart the parameters are in the end, in terms of the way that they went
    assert found["way64"] < 1e-6, found
    assert found["steps64"] < 1e-7, found
    assert found["steps"] < 1e-2, found
