import numpy as np
import pytest

from gluon_cgd.cards import confusion
from gluon_cgd.recall import Embeddings, recall_at

# On a line: two of class 0 at 0 and 1, three of class 5 of which one lies at 1.4, one of class 7 far away
PLACES = np.array([[0], [1], [1.4], [10], [11], [30]], np.float32)
LABELS = [0, 0, 5, 5, 5, 7]


def test_the_class_of_the_nearest_other_picture_is_counted():
    pairs = confusion.pairs(Embeddings(PLACES, LABELS))
    assert pairs == {(0, 0): 1, (0, 5): 1, (5, 0): 1, (5, 5): 2, (7, 5): 1}
    worst, middle, best = confusion.worst_first(pairs)
    assert worst == (7, 1, 0, 5, 1)
    assert middle == (0, 2, 1, 5, 1)
    assert best == (5, 3, 2, 0, 1)
    assert (worst.share, middle.share) == (0, 0.5)
    labels, shares = confusion.matrix(pairs)
    assert labels == [0, 5, 7]
    np.testing.assert_allclose(shares, [[1 / 2, 1 / 2, 0], [1 / 3, 2 / 3, 0], [0, 1, 0]])
    assert confusion.most_confused(pairs, 2) == [(7, 5, 1, 1), (0, 5, 1, 2)]


@pytest.mark.parametrize("gallery", [False, True])
def test_the_share_of_equal_classes_is_recall_at_1(gallery):
    rng = np.random.default_rng(0)
    query, other = rng.normal(size=(60, 4)).astype(np.float32), rng.normal(size=(80, 4)).astype(np.float32)
    query[::3] = query[0]  # ties
    data = [query, rng.integers(0, 6, 60)] + ([other, rng.integers(0, 6, 80)] if gallery else [])
    pairs = confusion.pairs(Embeddings(*data))
    right = sum(times for (own, other), times in pairs.items() if own == other)
    assert right / 60 == recall_at((1,), *data)[1]


def test_a_class_that_is_always_found_is_taken_for_no_other():
    pairs = confusion.pairs(Embeddings(PLACES[[0, 1, 3, 4]], [0, 0, 5, 5]))
    assert [(one.share, one.other, one.times) for one in confusion.worst_first(pairs)] == [(1, None, 0)] * 2
    assert confusion.most_confused(pairs, 5) == []


def test_a_gallery_can_have_classes_that_no_query_has():
    pairs = confusion.pairs(Embeddings(PLACES[:1], [3], PLACES[1:2], [9]))
    assert pairs == {(3, 9): 1}
    labels, shares = confusion.matrix(pairs)
    assert (labels, shares.tolist()) == ([3, 9], [[0, 1], [0, 0]])
