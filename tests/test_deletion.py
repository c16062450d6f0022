"""The deletion test of benchmarks/deletion.py: what is taken out, Grad-CAM, and what is recorded."""

import mxnet as mx
import numpy as np
import pytest

from benchmarks import deletion, table
from gluon_cgd.descriptors import DESCRIPTORS
from gluon_cgd.similarity import decompose
from visualize import deletion as drawing


def features(seed, shape=(6, 3, 4)):
    return np.maximum(np.random.default_rng(seed).normal(0.4, 1, size=shape), 0).astype(np.float32)


def test_the_positions_that_the_map_names_first_get_the_mean_colour():
    rng = np.random.default_rng(0)
    picture, heat = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8), np.array([[3.0, 1, 2], [0, 5, 4]])
    for count in range(7):
        expected, first = picture.copy(), sorted(np.ndindex(2, 3), key=lambda place: -heat[place])[:count]
        for row, column in first:
            expected[3 * row : 3 * row + 3, 3 * column : 3 * column + 3] = np.rint(picture.mean(axis=(0, 1)))
        np.testing.assert_array_equal(deletion.without(picture, heat, count, rng), expected)


def test_equal_positions_go_in_random_order_and_those_that_are_gone_stay_gone():
    picture = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    orders = set()
    for seed in range(20):
        changed = np.zeros((4, 4), bool)
        for count in (1, 2, 3):
            filled = deletion.without(picture, np.zeros((4, 4)), count, np.random.default_rng(seed))
            now = (filled != picture).any(axis=2)
            assert now.sum() == count
            assert now[changed].all()
            changed = now
        orders.add(changed.tobytes())
    assert len(orders) > 5


def test_grad_cam_of_spoc_is_its_formula():
    """The cosine's derivative by the mean f is (e2 - cosine e1) / |f|: the heatmap without the picture's own share."""
    one, two = features(1), features(2)
    net = deletion.Network(None, [DESCRIPTORS["S"]()])
    similarity = decompose(one, two, descriptors="S")
    found = deletion.grad_cam(net, mx.nd.array(one[None]), similarity.pictures[1].embedding)
    itself = decompose(one, one, descriptors="S").map1
    expected = np.maximum(similarity.map1 - similarity.cosine * itself, 0)
    assert expected.max() > 0
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_pair_begins_at_its_cosine_and_all_orders_end_alike():
    net = deletion.network("small_resnet", size=32)
    pair = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    shares, cosines = deletion.deletion(net, pair, np.random.default_rng(0))
    assert (shares[0], shares[-1]) == (0, 1)
    assert list(cosines) == list(deletion.ORDERS)
    whole = decompose(*net.features(pair).asnumpy(), descriptors=deletion.LETTERS).cosine
    for values in cosines.values():
        assert values[0] == pytest.approx(whole, abs=1e-5)
        assert values[-1] == pytest.approx(cosines[deletion.OURS][-1], abs=1e-5)


def test_the_area_is_the_mean_on_the_way_and_compared_pair_by_pair():
    shares = np.array([0, 0.5, 1])
    curves = {deletion.OURS: np.array([[1, 0, 0], [1, 1, 0]]), deletion.CAM: np.array([[1, 1, 0], [1, 1, 1]])}
    found = deletion.summary(shares, curves)["orders"]
    assert found[deletion.OURS]["cosines"] == [1, 0.5, 0]
    assert found[deletion.OURS]["area"] == [0.5, pytest.approx(0.25)]
    assert found[deletion.CAM]["above_ours"] == [pytest.approx(0.375), pytest.approx(0.125), 1.0]


def test_what_is_recorded_is_a_table_and_a_plot():
    parts = table.recorded("deletion")
    lines = table.deletion(parts).splitlines()
    assert len(lines) == 2 + len(parts) * len(deletion.ORDERS)
    figure = drawing.curves(parts)
    assert [len(axes.get_lines()) for axes in figure.axes] == [len(deletion.ORDERS)] * len(parts)
    for axes, part in zip(figure.axes, parts):
        assert part["dataset"] in axes.get_title(loc="left")
        for line, values in zip(axes.get_lines(), part["orders"].values()):
            np.testing.assert_array_equal(line.get_ydata(), values["cosines"])
