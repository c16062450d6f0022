import math
import tracemalloc

import numpy as np
import pytest

from gluon_cgd import recall
from gluon_cgd.recall import Embeddings, nearest, recall_at


def unit(rng, n, d):
    vectors = rng.normal(size=(n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def recall_loop(k, query, query_labels, gallery=None, gallery_labels=None):
    """Sort the gallery by distance for one query after the other; of equal distances, other classes come first."""
    hits = 0
    for i, point in enumerate(query):
        others = [
            (math.dist(point, g), label == query_labels[i])
            for j, (g, label) in enumerate(
                zip(query if gallery is None else gallery, query_labels if gallery is None else gallery_labels)
            )
            if gallery is not None or j != i
        ]
        hits += any(own for _, own in sorted(others)[:k])
    return hits / len(query)


@pytest.mark.parametrize("tile", [1024, 16])
def test_recall_equals_sorting_by_distance(tile, monkeypatch):
    monkeypatch.setattr(recall, "TILE", tile)
    rng = np.random.default_rng(0)
    for length in (1, 3):  # unit vectors, and vectors of different lengths
        embeddings = unit(rng, 70, 6) * rng.uniform(1, length, (70, 1)).astype(np.float32)
        labels = rng.integers(0, 9, 70)
        found = recall_at((1, 2, 4, 8), embeddings, labels)
        assert found == {k: recall_loop(k, embeddings, labels) for k in (1, 2, 4, 8)}


def rank_loop(query, query_labels, gallery, gallery_labels, itself):
    """The rank of the nearest item of each query's class; of equal distances, other classes come first."""
    ranks = []
    for i, point in enumerate(query):
        distances = [(math.dist(point, g), label == query_labels[i]) for g, label in zip(gallery, gallery_labels)]
        order = sorted(distances[:i] + distances[i + 1 :] if itself else distances)
        ranks.append(next((rank for rank, (_, own) in enumerate(order, 1) if own), math.inf))
    return ranks


@pytest.mark.parametrize("tile", [1024, 16])
def test_a_rank_is_the_place_of_the_nearest_item_of_the_class_when_sorted_by_distance(tile, monkeypatch):
    monkeypatch.setattr(recall, "TILE", tile)
    rng = np.random.default_rng(5)
    grid = rng.integers(0, 3, (60, 3)).astype(np.float32)  # with many ties
    for points in (grid, unit(rng, 60, 6), np.ones((60, 4), np.float32)):
        labels = rng.integers(0, 40, 60)  # some are alone in their class
        loop = rank_loop(points, labels, points, labels, True)
        assert recall.ranks(points, labels).tolist() == loop
        assert math.inf in loop
        for k, share in recall_at((1, 2, 8, 10**30), points, labels).items():
            assert share == np.mean([rank <= k for rank in loop])
        query, gallery = points[:25], points[20:]
        loop = rank_loop(query, labels[:25], gallery, labels[20:], False)
        assert recall.ranks(query, labels[:25], gallery, labels[20:]).tolist() == loop
        first = recall.ranks(query, labels[:25], points, labels, queries_first=True)
        assert first.tolist() == recall.ranks(points, labels)[:25].tolist()


def test_a_rank_can_be_larger_than_a_byte_holds():
    gallery, labels = np.array([[1, 0]] * 300 + [[3, 0]], np.float32), [1] * 300 + [0]
    assert recall.ranks(np.zeros((1, 2), np.float32), [0], gallery, labels).tolist() == [301]


def test_ranks_refuse_what_recall_refuses():
    with pytest.raises(ValueError, match="embedding 1 is NaN or infinite"):
        recall.ranks(np.array([[1, 0], [np.nan, 0]]), [0, 0])


@pytest.mark.parametrize("tile", [1024, 16])
def test_the_nearest_item_is_the_one_of_the_smallest_distance(tile, monkeypatch):
    monkeypatch.setattr(recall, "TILE", tile)
    rng = np.random.default_rng(0)
    query, gallery = unit(rng, 30, 5), unit(rng, 50, 5)
    query_labels, gallery_labels = rng.integers(0, 8, 30), rng.integers(0, 8, 50)
    distances = np.linalg.norm(query[:, None] - gallery, axis=2)
    found = nearest(Embeddings(query, query_labels, gallery, gallery_labels))
    assert found.tolist() == distances.argmin(axis=1).tolist()
    itself = np.linalg.norm(query[:, None] - query, axis=2) + 9 * np.eye(30)
    assert nearest(Embeddings(query, query_labels)).tolist() == itself.argmin(axis=1).tolist()


def test_of_two_as_near_the_one_of_another_class_is_the_nearest():
    same = np.ones((4, 3), np.float32)
    labels = np.array([0, 0, 1, 1])
    found = nearest(Embeddings(same, labels))
    assert not (labels[found] == labels).any()
    assert nearest(Embeddings(same[:1], labels[:1])).tolist() == [-1]


@pytest.mark.parametrize("tile", [1024, 16])
def test_queries_that_begin_the_gallery_do_not_find_themselves(tile, monkeypatch):
    monkeypatch.setattr(recall, "TILE", tile)
    rng = np.random.default_rng(3)
    query, others = unit(rng, 30, 5), unit(rng, 50, 5)
    labels, other_labels = rng.integers(0, 8, 30), rng.integers(0, 8, 50)
    everything, all_labels = np.concatenate([query, others]), np.concatenate([labels, other_labels])
    distances = np.linalg.norm(query[:, None] - everything, axis=2)
    distances[np.arange(30), np.arange(30)] = np.inf
    order = np.argsort(distances, axis=1)
    searched = Embeddings(query, labels, everything, all_labels, queries_first=True)
    expected = {f"R@{k}": (all_labels[order[:, :k]] == labels[:, None]).any(axis=1).mean() for k in (1, 2, 8)}
    assert recall.recall_of((1, 2, 8), searched) == expected
    assert nearest(searched).tolist() == order[:, 0].tolist()
    branches = recall.branch_recalls((1,), searched._replace(query=query[:, :4], gallery=everything[:, :4]), "SM")
    piece = searched._replace(query=query[:, :2], gallery=everything[:, :2])
    assert branches["S"] == recall.recall_of((1,), piece)
    # With nothing added it is the search of the queries in themselves
    alone = Embeddings(query, labels, query, labels, queries_first=True)
    assert recall.recall_of((1, 2), alone) == recall.recall_of((1, 2), Embeddings(query, labels))
    with pytest.raises(ValueError, match="it must begin with the 30 queries"):
        recall_at((1,), query, labels, query[:5], labels[:5], queries_first=True)


def test_recall_of_a_gallery_excludes_nothing():
    rng = np.random.default_rng(1)
    query, gallery = unit(rng, 30, 5), unit(rng, 50, 5)
    query_labels, gallery_labels = rng.integers(0, 8, 30), rng.integers(0, 8, 50)
    found = recall_at((1, 10), query, query_labels, gallery, gallery_labels)
    assert found == {k: recall_loop(k, query, query_labels, gallery, gallery_labels) for k in (1, 10)}
    assert recall_at((1,), query, query_labels, query, query_labels) == {1: 1.0}  # finds itself


@pytest.mark.parametrize("scale", [1e30, 1e19, 1e-30])
def test_very_large_and_very_small_vectors_are_ranked_alike(scale):
    rng = np.random.default_rng(0)
    embeddings, labels = rng.normal(size=(40, 8)).astype(np.float32), np.arange(40) % 10
    assert recall_at((1, 4), embeddings * np.float32(scale), labels) == recall_at((1, 4), embeddings, labels)


def test_labels_may_be_words():
    embeddings = np.eye(4, dtype=np.float32)[[0, 0, 1, 1]]
    assert recall_at((1,), embeddings, ["car", "car", "bird", "bird"]) == {1: 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("tile", [1024, 16])
def test_what_float32_cannot_tell_apart_is_decided_in_float64(tile, monkeypatch):
    """Of a model that has nearly collapsed: its pictures differ by less than the products of float32 are off."""
    monkeypatch.setattr(recall, "TILE", tile)
    rng = np.random.default_rng(0)
    embeddings = (unit(rng, 1, 96) + 1e-4 * unit(rng, 200, 96)).astype(np.float32)
    labels = rng.integers(0, 12, 200)
    found = recall_at((1, 2, 4), embeddings, labels)
    assert found == {k: recall_loop(k, embeddings, labels) for k in (1, 2, 4)}
    rows = nearest(Embeddings(embeddings, labels))
    assert np.mean(labels[rows] == labels) == found[1]


def test_ties_count_against_the_query():
    query = np.array([[0, 0], [1, 0], [-1, 0]], np.float32)  # both others are 1 away from the first
    assert recall_at((1, 2), query[:1], [0], query[1:], [0, 1]) == {1: 0.0, 2: 1.0}


@pytest.mark.parametrize(("n", "d"), [(40, 8), (501, 512), (1000, 1536)])
def test_a_collapsed_model_scores_nothing(n, d):
    labels = np.repeat(np.arange(n // 4 + 1), 4)[:n]
    point = unit(np.random.default_rng(0), 1, d)
    assert recall_at((1,), np.repeat(point, n, axis=0), labels)[1] < 0.05


def test_a_model_that_returns_nan_is_refused():
    embeddings = unit(np.random.default_rng(0), 10, 4)
    embeddings[3] = np.nan
    with pytest.raises(ValueError, match=r"embedding 3 is NaN or infinite \(1 of 10 are\)"):
        recall_at((1,), embeddings, np.arange(10) // 2)
    with pytest.raises(ValueError, match="gallery embedding 0 is NaN"):
        recall_at((1,), np.ones((2, 3)), [0, 1], np.full((2, 3), np.inf), [0, 1])


def test_a_query_without_another_picture_of_its_class_is_never_found():
    embeddings = unit(np.random.default_rng(0), 5, 4)
    assert recall_at((1, 100), embeddings, [0, 0, 1, 2, 3])[100] == 0.4
    assert recall_at((100,), embeddings, [7] * 5, embeddings, [8] * 5) == {100: 0.0}


def test_shapes_that_do_not_match_are_refused():
    for arguments in (
        ((1,), np.ones((3, 2)), [0, 1]),
        ((1,), np.ones(3), [0, 1, 2]),
        ((0,), np.ones((2, 2)), [0, 1]),
        ((1,), np.ones((0, 2)), []),
        ((1,), np.ones((2, 2)), [0, 1], np.ones((2, 3)), [0, 1]),
    ):
        with pytest.raises(ValueError, match="needed|at least 1|one model"):
            recall_at(*arguments)


def test_the_memory_is_that_of_a_block_not_of_all_pairs():
    embeddings = unit(np.random.default_rng(0), 12000, 16)
    tracemalloc.start()
    recall_at((1,), embeddings, np.arange(12000) // 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400e6  # all pairs in float32 are 576 MB, and three such arrays were needed


def test_120_random_cases_full_of_ties_are_those_of_a_plain_loop():
    rng = np.random.default_rng(120)
    for case in range(120):
        # Whole coordinates: equal distances are exactly equal
        n, m, width, d = rng.integers(2, 26), rng.integers(1, 26), rng.integers(1, 4), rng.integers(1, 5)
        query, gallery = (rng.integers(0, width + 1, (rows, d)).astype(np.float32) for rows in (n, m))
        labels, others = rng.integers(0, 5, n), rng.integers(0, 5, m)
        searched = (None, None) if case % 2 else (gallery, others)
        ks = sorted({1, 2, int(rng.integers(1, 9))})
        expected = {k: recall_loop(k, query, labels, *searched) for k in ks}
        assert recall_at(ks, query, labels, *searched) == expected, case
