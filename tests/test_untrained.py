"""benchmarks/untrained.py on made embeddings: what it compares, and that whitening does what it is for."""

import numpy as np

from benchmarks.untrained import unit, variants
from gluon_cgd.recall import recall_at


def test_the_three_descriptors_and_all_of_them_are_compared():
    vectors = unit(np.random.default_rng(0).normal(size=(9, 12)))
    found = variants(vectors)
    assert list(found) == ["S", "M", "G", "all", "all, whitened"]
    np.testing.assert_array_equal(np.concatenate([found[letter] for letter in "SMG"], axis=1), vectors)
    np.testing.assert_allclose(np.linalg.norm(found["all, whitened"], axis=1), 1, atol=1e-6)


def test_whitening_helps_where_one_direction_drowns_the_classes():
    """Pairs of one class are near in six directions; a seventh, like light, differs more than all of them together."""
    rng = np.random.default_rng(0)
    classes = np.repeat(0.3 * rng.normal(size=(30, 6)), 2, axis=0)
    vectors = unit(np.c_[classes + 0.1 * rng.normal(size=classes.shape), 2 * rng.normal(size=60), np.full((60, 2), 2)])
    labels = [row // 2 for row in range(60)]
    found = variants(vectors)
    before, after = (recall_at([1], found[name], labels)[1] for name in ("all", "all, whitened"))
    assert after > before + 0.1
