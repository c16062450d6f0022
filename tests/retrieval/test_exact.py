import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from gluon_cgd.retrieval import exact


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def plain(vectors, query, k, live):
    """The obvious loop: every cosine in float64, sorted by cosine and then by row."""
    scores = [(-float((row.astype(np.float64) * query).sum()), i) for i, row in enumerate(vectors) if live[i]]
    return [i for _, i in sorted(scores)[:k]]


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(exact, "BLOCK", 4 * 16 * 40)  # 40 vectors


@pytest.mark.parametrize("k", [1, 7, 300, 1000])
@pytest.mark.parametrize("queries", [1, 5, 30])
def test_the_search_is_that_of_a_loop(small_blocks, k, queries):
    rng = np.random.default_rng(k + queries)
    vectors, asked = unit(rng.normal(size=(300, 16))), unit(rng.normal(size=(queries, 16)))
    live = rng.random(300) < 0.8
    cosines, rows = exact.exact(vectors, asked, k, live)
    assert cosines.shape == rows.shape == (queries, min(k, live.sum()))
    for i, query in enumerate(asked):
        assert rows[i].tolist() == plain(vectors, query, k, live)
        np.testing.assert_allclose(cosines[i], vectors[rows[i]] @ query, atol=1e-6)
    from_50 = live & (np.arange(300) >= 50)
    assert exact.exact(vectors, asked, k, live, 50)[1][0].tolist() == plain(vectors, asked[0], k, from_50)


def test_equal_vectors_come_in_the_order_of_their_rows_wherever_the_blocks_end(monkeypatch):
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(500, 33)))
    same = np.sort(rng.permutation(500)[:120])
    vectors[same] = vectors[same[0]]
    for block in (1, 40, 41, 500, 5000):
        monkeypatch.setattr(exact, "BLOCK", 4 * 33 * block)
        cosines, rows = exact.exact(vectors, vectors[same[:1]], 100)
        assert rows[0].tolist() == same[:100].tolist()
        assert len(set(cosines[0])) == 1


@pytest.mark.parametrize("block", [40, 1000])
def test_nearly_equal_vectors_are_ordered_exactly(monkeypatch, block):
    """Their cosines differ by less than float32 products are off."""
    monkeypatch.setattr(exact, "BLOCK", 4 * 300 * block)
    rng = np.random.default_rng(1)
    vectors = unit(1 + 1e-5 * rng.normal(size=(400, 300)))
    for query in unit(1 + 0.3 * rng.normal(size=(10, 300))):
        expected = plain(vectors, query.astype(np.float64), 20, [1] * 400)
        assert exact.exact(vectors, query[None], 20)[1][0].tolist() == expected


def peak_of(call):
    """The most bytes that are allocated meanwhile, also by other threads of this process."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("collapsed", [False, True])
def test_memory_does_not_grow_with_the_collection(monkeypatch, collapsed):
    monkeypatch.setattr(exact, "BLOCK", 2**18)
    rng = np.random.default_rng(0)
    peaks = []
    for n in (4_000, 40_000):
        vectors = unit(np.ones((n, 64)) if collapsed else rng.normal(size=(n, 64)))
        peaks.append(min(peak_of(lambda vectors=vectors: exact.exact(vectors, vectors[:2], 10)) for _ in range(3)))
    assert peaks[1] < peaks[0] * 1.2 < 8 * 2**18


def test_memory_of_a_search_for_all_rows_is_that_of_the_answer(monkeypatch):
    monkeypatch.setattr(exact, "BLOCK", 2**16)
    vectors = unit(np.random.default_rng(0).normal(size=(20_000, 64)))
    for k in (5_000, 20_000):
        tracemalloc.start()
        cosines, rows = exact.exact(vectors, vectors[:1], k)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < vectors.nbytes / 2
        assert rows[0].tolist() == plain(vectors, vectors[0].astype(np.float64), k, [1] * 20_000)


def test_a_large_k_is_not_sorted_at_every_block(small_blocks, monkeypatch):
    vectors, sorts, best = unit(np.random.default_rng(0).normal(size=(4_000, 16))), [], exact.best
    monkeypatch.setattr(exact, "best", lambda k, *parts: sorts.append(k) or best(k, *parts))
    exact.exact(vectors, vectors[:1], 2_000)
    assert len(sorts) < 5  # of 100 blocks


def test_without_pictures_nothing_is_found():
    empty = np.empty((0, 4), np.float32)
    assert [part.shape for part in exact.exact(empty, np.ones((2, 4)) / 2, 3)] == [(2, 0), (2, 0)]


def snapshot(n=200, dead=()):
    vectors = unit(np.random.default_rng(0).normal(size=(n, 8)))
    live = np.ones(n, bool)
    live[list(dead)] = False

    class Snapshot(SimpleNamespace):
        def __len__(self):
            return int(self.live.sum())

        def check(self, rows):
            pass

        def embeddings(self, rows):
            return self.vectors[rows]

    return Snapshot(vectors=vectors, live=live, count=n)


class Proposes:
    """An engine that covers `rows` rows and proposes what it is told to."""

    def __init__(self, rows, proposed):
        self.rows, self.proposed = rows, proposed

    def candidates(self, queries, count, within=None):
        self.asked = count
        return [self.proposed] * len(queries)


def test_an_engine_narrows_down_and_the_exact_cosine_orders():
    found, query = snapshot(), unit(np.random.default_rng(1).normal(size=(1, 8)))
    truth = exact.search(found, query, 5)[0]
    engine = Proposes(200, [*truth[1][::-1], -1, 3])
    answer = exact.search(found, query, 5, engine)[0]
    assert answer[1].tolist() == truth[1].tolist()
    np.testing.assert_array_equal(answer[0], truth[0])
    assert engine.asked == 40


def test_what_an_engine_does_not_cover_is_searched_exactly():
    found = snapshot()
    answer = exact.search(found, found.vectors[[150]], 3, Proposes(100, [0, 1, 2]))[0]
    tail = exact.search(found, found.vectors[[150]], 3)[0]
    assert answer[1][0] == 150
    assert set(answer[1]) <= {0, 1, 2, *range(100, 200)}
    assert {row for row in tail[1] if row >= 100} <= set(answer[1])


def test_a_row_that_was_sent_since_the_engine_was_opened_is_found_once():
    found = snapshot()
    answer = exact.search(found, found.vectors[[150]], 3, Proposes(100, [150, 1, 2, 250]))[0]
    assert answer[1][0] == 150
    assert len(set(answer[1].tolist())) == 3


def test_an_engine_whose_proposals_are_dead_is_not_relied_on():
    found = snapshot(dead=range(10))
    asked = found.vectors[[5]]
    truth = exact.search(found, asked, 4)[0]
    answer = exact.search(found, asked, 4, Proposes(200, list(range(12))))[0]
    assert answer[1].tolist() == truth[1].tolist()
    assert not set(answer[1]) & set(range(10))


def test_recall_counts_what_an_engine_finds():
    found = snapshot(50)
    assert exact.recall(found, Proposes(50, list(range(50))), k=10) == (1.0, 50)
    share, queries = exact.recall(found, Proposes(50, list(range(25))), k=10, queries=20)
    assert queries == 20
    assert 0.2 < share < 0.8
    assert exact.recall(snapshot(3, dead=range(3)), Proposes(3, [])) == (1.0, 0)


def test_a_missing_package_is_named_with_the_remedy():
    with pytest.raises(ImportError, match="needs some-package .*requirements-extra.txt, or take --engine exact"):
        exact.needed("a_module_that_is_not_there", "some-package")
