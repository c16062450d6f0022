"""mAP@R, R-precision and P@K: beside pytorch-metric-learning's numbers, beside a plain loop, and on bad models."""

import math

import numpy as np
import pytest

from gluon_cgd import recall
from gluon_cgd.recall import Embeddings
from gluon_cgd.retrieval import precision

# AccuracyCalculator of pytorch-metric-learning 2.9.0 with torch 2.13.0 on `points`, k=None
PEER = {
    "itself": {"mAP@R": 0.35950244785014895, "R-precision": 0.45862068965517244, "P@1": 36 / 58, "P@4": 122 / 232},
    "gallery": {"mAP@R": 0.25240642618971915, "R-precision": 0.40028432019957444, "P@1": 25 / 59, "P@4": 100 / 236},
    "first": {"mAP@R": 0.2769871504538203, "R-precision": 0.4234069768715831, "P@1": 36 / 59, "P@4": 0.5},
}
PEERS_MAP = {"itself": 0.5219940950555226, "gallery": 0.43159605033341747, "first": 0.44721062766552094}


def points(seed, count):
    """(embeddings (count, 6), labels) around nine centres."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 9, count)
    centres = np.random.default_rng(0).normal(size=(9, 6))
    return (centres[labels] + 0.9 * rng.normal(size=(count, 6))).astype(np.float32), labels


def cases():
    """{name: Embeddings}: one query is alone in its class, and in `itself` a second one."""
    (query, own), (gallery, others) = points(1, 60), points(2, 90)
    own[7] = 50
    both = np.concatenate([query, gallery]), np.concatenate([own, others])
    return {
        "itself": Embeddings(query, own),
        "gallery": Embeddings(query, own, gallery, others),
        "first": Embeddings(query, own, *both, queries_first=True),
    }


def loop(ks, embeddings):
    """Sort the items of one query after the other; of equal distances, other classes come first."""
    query, labels, gallery, others, first = embeddings
    first, gallery, others = (first or gallery is None, *((query, labels) if gallery is None else (gallery, others)))
    rows = []
    for i, point in enumerate(query):
        pairs = [(math.dist(point, item), others[j] == labels[i]) for j, item in enumerate(gallery)]
        order = [own for _, own in sorted(pairs[:i] + pairs[i + 1 :] if first else pairs)]
        r = sum(order)
        row = {"mAP@R": math.nan, "R-precision": math.nan, **{f"P@{k}": math.nan for k in ks}}
        if r:
            row["mAP@R"] = sum(sum(order[:n]) / n for n in range(1, r + 1) if order[n - 1]) / r
            row["R-precision"] = sum(order[:r]) / r
            row.update({f"P@{k}": sum(order[:k]) / k for k in ks})
        rows.append(row)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("name", PEER)
def test_the_means_are_pytorch_metric_learnings(name):
    values = precision.per_query((1, 4), cases()[name])
    means = {measure: np.nanmean(value) for measure, value in values.items()}
    assert means == pytest.approx(PEER[name], abs=1e-12)


def test_the_map_of_a_whole_ranking_is_pytorch_metric_learnings():
    query, own = cases()["itself"][:2]
    scores = -((query[:, None].astype(np.float64) - query) ** 2).sum(axis=2)
    np.fill_diagonal(scores, -np.inf)
    same = (own[:, None] == own) & ~np.eye(60, dtype=bool)
    values = precision.collected(precision.measure((1,), scores, same, whole=True))
    assert np.nanmean(values["mAP"]) == pytest.approx(PEERS_MAP["itself"], abs=1e-12)
    assert np.nanmean(values["mAP@R"]) == pytest.approx(PEER["itself"]["mAP@R"], abs=1e-12)


@pytest.mark.parametrize("tile", [1024, 16])
def test_each_query_has_what_a_loop_counts(tile, monkeypatch):
    monkeypatch.setattr(recall, "TILE", tile)
    monkeypatch.setattr(precision, "SCORES", 100 * tile)
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 30, 60)  # some are alone in their class
    grid = rng.integers(0, 3, (60, 3)).astype(np.float32)  # with many ties
    for embeddings in (*cases().values(), Embeddings(grid, labels), Embeddings(grid, labels % 2)):
        expected = loop((1, 4, 200), embeddings)
        for name, values in precision.per_query((1, 4, 200), embeddings).items():
            np.testing.assert_allclose(values, expected[name], atol=1e-12, err_msg=name)


def test_p_at_1_is_recall_at_1_where_every_query_has_its_class():
    query, own = points(4, 80)
    values = precision.per_query((1,), Embeddings(query, own))
    assert values["P@1"].mean() == recall.recall_at((1,), query, own)[1]


def test_a_model_that_maps_everything_to_one_point_scores_nothing():
    values = precision.per_query((1, 2), Embeddings(np.ones((20, 4), np.float32), np.arange(20) % 2))
    assert all(value.max() <= 1e-12 for value in values.values())


def test_an_embedding_that_is_no_number_is_refused():
    query = np.ones((4, 2), np.float32)
    query[2] = np.nan
    with pytest.raises(ValueError, match="query embedding 2 is NaN"):
        precision.per_query((1,), Embeddings(query, [0, 0, 1, 1]))


def test_an_interval_is_that_of_a_mean_and_the_same_each_time():
    rng = np.random.default_rng(0)
    values = {"mAP@R": rng.normal(0.5, 0.1, 400), "P@1": (rng.random(400) < 0.3).astype(float)}
    values["mAP@R"][5] = values["P@1"][5] = np.nan  # left out
    first = precision.estimates(values)
    assert precision.estimates(values) == first
    for name, (value, low, high) in first.items():
        assert value == pytest.approx(np.nanmean(values[name]))
        half = 1.96 * np.nanstd(values[name]) / np.sqrt(399)
        assert value - low == pytest.approx(half, rel=0.15)
        assert high - value == pytest.approx(half, rel=0.15)


def test_without_a_query_that_has_its_class_there_is_no_number():
    values = precision.per_query((1,), Embeddings(np.eye(3, dtype=np.float32), [0, 1, 2]))
    assert precision.estimates(values) == {"mAP@R": None, "R-precision": None, "P@1": None}
