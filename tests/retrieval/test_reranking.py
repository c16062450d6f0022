"""Re-ranking: beside the definitions as plain loops, and on collections where it has to help."""

import math

import numpy as np
import pytest

from gluon_cgd.files.regular import read_json
from gluon_cgd.retrieval import exact, reranking
from tests.retrieval.test_threshold import Snapshot


def unit(rng, n, d):
    vectors = rng.normal(size=(n, d))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def k_reciprocal_loop(vectors, k1, k2, weight):
    """Zhong et al., equations 1 to 12, with sets: the distance of the first vector to each of the others."""
    n = len(vectors)
    d = [[math.dist(a, b) ** 2 for b in vectors] for a in vectors]
    d = [[value / max(row) for value in row] for row in d]
    order = [sorted(range(n), key=lambda j, row=row: (round(row[j], 12), j)) for row in d]

    def reciprocal(i, k):
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    weights = []
    for i in range(n):
        members = reciprocal(i, k1)
        for j in reciprocal(i, k1):
            half = reciprocal(j, round(k1 / 2))
            if len(half & reciprocal(i, k1)) > 2 / 3 * len(half):
                members |= half
        row = {j: math.exp(-d[i][j]) for j in members}
        weights.append([row.get(j, 0) / sum(row.values()) for j in range(n)])
    weights = [[sum(weights[other][j] for other in order[i][:k2]) / k2 for j in range(n)] for i in range(n)]
    distances = []
    for g in range(1, n):
        least = sum(min(weights[0][j], weights[g][j]) for j in range(n))
        most = sum(max(weights[0][j], weights[g][j]) for j in range(n))
        distances.append((1 - weight) * (1 - least / most) + weight * d[0][g])
    return distances


@pytest.mark.parametrize(("k1", "k2", "weight"), [(20, 6, 0.3), (5, 2, 0), (4, 1, 0.8)])
def test_reciprocal_distances_are_those_of_the_loop(k1, k2, weight):
    vectors = unit(np.random.default_rng(0), 30, 4)
    expected = k_reciprocal_loop(vectors.tolist(), k1, k2, weight)
    np.testing.assert_allclose(reranking.reciprocal_distances(vectors, k1, k2, weight), expected, atol=1e-9)


def test_a_query_moves_towards_its_neighbours_by_the_power_of_their_cosines():
    rng = np.random.default_rng(0)
    query, neighbours = unit(rng, 1, 4)[0], unit(rng, 5, 4)
    moved = query.copy()
    for neighbour in neighbours:
        moved += max(neighbour @ query, 0) ** 3 * neighbour
    np.testing.assert_allclose(reranking.expanded(query, neighbours), moved / np.linalg.norm(moved), atol=1e-12)


@pytest.mark.parametrize("method", reranking.METHODS)
def test_every_picture_is_there_once_and_a_chain_of_neighbours_is_followed(method):
    # A class along an arc of 80 degrees, and another one that lies 55 degrees off to the side
    angles = np.radians(np.arange(0, 80, 2))
    arc = np.stack([np.cos(angles), np.sin(angles), np.zeros(40)], axis=1)
    tilt = np.radians(55 + np.arange(0, 10, 0.25))
    side = np.stack([np.cos(tilt), np.zeros(40), np.sin(tilt)], axis=1)
    snapshot = Snapshot(np.concatenate([arc[1:], side]), [f"/photos/{i}" for i in range(79)])

    def find(query, count):
        return exact.search(snapshot, query[None], count)[0]

    before = find(arc[0], 79)[1]
    cosines, rows = reranking.reranked(method, find, snapshot, arc[0])(79)
    assert sorted(rows.tolist()) == list(range(79))
    np.testing.assert_allclose(cosines, snapshot.vectors[rows] @ arc[0], atol=1e-6)
    assert (rows[:39] < 39).sum() > (before[:39] < 39).sum()
    assert len(reranking.reranked(method, find, snapshot, arc[0])(5)[1]) == 5


@pytest.mark.parametrize("method", reranking.METHODS)
def test_equal_and_few_pictures_are_ranked_too(method):
    for count in (1, 2, 7):
        snapshot = Snapshot(np.tile([[1.0, 0.0]], (count, 1)), ["/photos/a"] * count)

        def find(query, k, snapshot=snapshot):
            return exact.search(snapshot, query[None], k)[0]

        _, rows = reranking.reranked(method, find, snapshot, np.array([1.0, 0.0]))(10)
        assert sorted(rows.tolist()) == list(range(count))


def test_the_recorded_effects_are_of_every_method_on_letters_and_on_photographs():
    entries = read_json(reranking.EFFECT)
    kinds = {(entry["method"], "letters" in entry["collection"]) for entry in entries}
    assert kinds == {(method, is_drawn) for method in reranking.METHODS for is_drawn in (True, False)}
    for entry in entries:
        assert all(0 < number < 1 for measure in ("R@1", "mAP") for number in entry[measure])
        assert entry["queries"] == 1000
    assert len(reranking.effect("alpha-qe")) == 2
