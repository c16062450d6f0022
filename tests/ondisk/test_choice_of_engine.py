"""Which engine a collection gets, and why, and how a way of searching is chosen: numbers to be checked by hand."""

import re

import numpy as np
import pytest

from gluon_cgd.ondisk import choice, training, tuning
from gluon_cgd.ondisk.tuning import Choice
from gluon_cgd.retrieval import reduction

GB = 1e9


@pytest.mark.parametrize(
    ("rows", "dim", "memory", "kind", "why"),
    [
        (10, 1536, 4 * GB, "exact", r"10 vectors of 1,536 numbers .* are so few that each is compared"),
        (16_000, 1536, 4 * GB, "exact", "so few"),
        (
            100_000,
            1536,
            4 * GB,
            "disksq",
            r"0.614 GB\) have 0.0264 GB as bytes, 256 of each, which is at most a quarter",
        ),
        (1_000_000, 1536, 4 * GB, "disksq", "have 0.264 GB as bytes"),
        (
            10_000_000,
            1536,
            4 * GB,
            "diskpq",
            r"\(61.4 GB\) have 2.64 GB as bytes, .* quantisation to 64 bytes .* 0.72 GB",
        ),
        (10_000_000, 1536, 16 * GB, "disksq", "have 2.64 GB as bytes"),
        (1_000_000, 1536, 0.5 * GB, "diskpq", "product quantisation to 96 bytes makes that 0.104 GB"),
        (1_000_000_000, 64, 1 * GB, "diskpq", "product quantisation to 16 bytes makes that 24 GB"),
    ],
)
def test_count_dimension_and_memory_choose_the_engine_and_the_reason_is_told(rows, dim, memory, kind, why):
    chosen, sentence = choice.choose(rows, dim, memory)
    assert chosen == kind
    assert re.search(why, sentence), sentence


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 16, 64, 255, 1536, 65_536])
@pytest.mark.parametrize("kind", choice.KINDS)
def test_every_length_of_vectors_has_a_code(kind, dim):
    shape = choice.shape_of(kind, 10**6, dim, 4 * GB)
    assert 1 <= shape.dim <= dim
    assert shape.dim % shape.code == 0
    assert shape.bytes_of(10) == 10 * (shape.code + 8)


def test_held_out_vectors_are_known_by_their_checksums_wherever_they_are():
    sums = np.random.default_rng(0).integers(2**63, size=100_000).astype(np.uint64)
    held = training.held_out(sums)
    assert 0.01 < held.mean() < 0.02  # one in 64
    order = np.random.default_rng(1).permutation(len(sums))
    assert (training.held_out(sums[order]) == held[order]).all()


def test_principal_axes_keep_the_products_of_vectors_that_lie_in_few_directions():
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(50, 3)) @ rng.normal(size=(3, 20)) + 0).astype(np.float32)
    axes = reduction.principal_axes(vectors, 3)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-5)
    kept = vectors @ axes.T
    np.testing.assert_allclose(kept @ kept.T, vectors @ vectors.T, rtol=1e-4, atol=1e-4)


def test_the_cheapest_way_is_taken_whose_recall_is_reached_beyond_its_error():
    ways = [
        Choice(10, 1, 40, 0.94, 0.01),  # too low
        Choice(20, 2, 40, 0.955, 0.01),  # perhaps too low
        Choice(40, 4, 40, 0.97, 0.01),
        Choice(30, 2, 80, 0.965, 0.01),
    ]
    assert tuning.cheapest(ways, 0.95) == ways[3]
    assert tuning.cheapest(ways, 0.929) == ways[0]
    dear = Choice(tuning.BUDGET + 1, 4096, 4096, 0.98, 0.01)
    assert tuning.cheapest([*ways, dear], 0.99) == ways[2]  # none is enough: the best that costs little
    assert tuning.cheapest([*ways, dear], 0.965) == dear
    assert tuning.cheapest([dear], 0.99) == dear
    assert tuning.cheapest(ways, 0.99) == ways[2]  # none is enough: the best
    assert tuning.cheapest([*ways, Choice(5, 1, 1, 1.0, 0.5)], 0.99).cost == 5  # all were found


def test_places_are_those_of_the_true_neighbours_among_the_candidates():
    own, truth = 7, (np.ones(4), np.array([7, 3, 9, 4]))
    places = tuning._places(2, own, truth, np.array([5, 9, 7, 3, -1]))
    assert places.tolist() == [3, 1]
    assert tuning._places(3, own, truth, np.array([5, 9, 7, 3, -1])).tolist() == [3, 1, 5]  # 4 is not there
    assert tuning.candidates(10, 100) == [40, 64, 100]
    assert tuning.candidates(10, 12) == [12]
    assert tuning.candidates(100, 4096)[0] == 400
