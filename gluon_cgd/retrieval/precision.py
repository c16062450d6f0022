"""mAP@R, R-precision and P@K of embeddings, beside Recall@K: how much of a query's class comes first, not only whether.

R is the number of items of a query's class in what it is searched in, without itself. The definitions are those of "A
Metric Learning Reality Check" (arXiv 2003.08505, section 3.2) and of pytorch-metric-learning:
- P@K: the share of the query's class among its K nearest items;
- R-precision: P@R;
- mAP@R: the sum of P@i over those i of 1 to R whose i-th item is of the query's class, divided by R.
A query without any item of its class has none of these and is left out of the means. As in `recall`, an item of another
class that is as near as one of the query's class comes before it.
"""

from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional

import numpy as np

from gluon_cgd import recall

SCORES = 2**24  # that are held at a time: 128 MB
DRAWS = 1000  # of the bootstrap


class Estimate(NamedTuple):
    """A mean over queries, with the interval that holds it in 95 % of the samples of as many queries."""

    value: float
    low: float
    high: float


def per_query(ks: Iterable[int], embeddings: recall.Embeddings) -> Dict[str, np.ndarray]:
    """{"mAP@R": (N,), "R-precision": (N,), "P@1": (N,), ...} of each query; NaN for one without an item of its class.

    Raises ValueError as `recall.recall_at` does.
    """
    search, ks = recall.Search(*embeddings), list(ks)
    own, others = search.query_labels, search.gallery_labels
    rows, columns = np.arange(len(own)), np.arange(len(others))
    measured: List[Dict[str, float]] = []
    for i in np.array_split(rows, -(-len(rows) * len(columns) // SCORES)):
        # The items in parts, too: float32 becomes float64
        parts = np.array_split(columns, -(-len(columns) // recall.TILE))
        scores = np.concatenate([search.exactly(i, j) for j in parts], axis=1)
        same = own[i, None] == others
        if search.leaves_out:
            itself = np.arange(len(i)), i
            scores[itself], same[itself] = -np.inf, False
        measured += measure(ks, scores, same, recall.TIE * search.largest)
    return collected(measured)


def measure(
    ks: Iterable[int], scores: np.ndarray, same: np.ndarray, tie: float = 0, whole: bool = False
) -> Iterator[Dict[str, float]]:
    """Yield the measures of each query: {"mAP@R": ..., "R-precision": ..., "P@1": ..., ...}; with `whole` "mAP" too.

    scores (n, M): of each item, the higher the nearer; -inf for one that does not count.  same (n, M): whether it is of
    the query's class.  tie: two scores that differ by less are equal.  "mAP" is that of the whole ranking.
    """
    ks = list(ks)
    for row, own in zip(scores, same):
        places = places_of(row, own, max(ks + [int(own.sum())]) if not whole else len(row), tie)
        relevant = int(own.sum())
        precision = np.arange(1, len(places) + 1) / places
        values = {
            "mAP@R": precision[places <= relevant].sum() / relevant if relevant else np.nan,
            "R-precision": (places <= relevant).sum() / relevant if relevant else np.nan,
            **{f"P@{k}": (places <= k).sum() / k if relevant else np.nan for k in ks},
        }
        yield {**values, "mAP": precision.sum() / relevant if relevant else np.nan} if whole else values


def places_of(scores: np.ndarray, own: np.ndarray, limit: int, tie: float = 0) -> np.ndarray:
    """The places, from 1, of the items that are the query's `own` (M,) in the order of their `scores` (M,), ascending.

    Those after the place `limit` are larger than it, but need not be right. It counts the others that are as near or
    nearer, so equal scores have one answer.
    """
    mine = np.sort(scores[own])[::-1]
    others = scores[~own]
    limit = min(limit, len(others))
    nearest = np.sort(np.partition(others, len(others) - limit)[len(others) - limit :]) if limit else others[:0]
    ahead = len(nearest) - np.searchsorted(nearest, mine - tie, side="left")
    return np.arange(1, len(mine) + 1) + ahead


def collected(measured: Iterable[Dict[str, float]]) -> Dict[str, np.ndarray]:
    """{measure: (N,)} of the measures of N queries."""
    rows = list(measured)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def estimates(values: Dict[str, np.ndarray], seed: int = 0) -> Dict[str, Optional[Estimate]]:
    """{measure: Estimate} of `values` {measure: (N,)}; None where no query has it.

    The interval is a percentile bootstrap over queries, whose draws `seed` decides.
    """
    table = np.stack(list(values.values()), axis=1)  # (N, measures)
    table = table[np.isfinite(table).all(axis=1)]
    if not len(table):
        return dict.fromkeys(values)
    rng, count = np.random.default_rng(seed), len(table)
    times = (np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(DRAWS))
    means = np.stack([drawn @ table / count for drawn in times])
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    return {name: Estimate(*map(float, column)) for name, *column in zip(values, table.mean(axis=0), low, high)}
