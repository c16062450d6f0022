"""Re-ranking: the results of a search in another order, by what is near to the results themselves. Always opt-in.

- alpha-qe: alpha query expansion (Radenovic et al., arXiv 1711.02512, section 3.3): the query moves towards its nearest
  pictures, weighted by their cosines to the power of alpha, and is searched for again.
- k-reciprocal: Zhong et al., arXiv 1701.08398: pictures that have each other among their nearest are moved up. It is
  computed among the CANDIDATES nearest pictures; what comes after them keeps its place.

Both can lower the recall where the first results are wrong. EFFECT has what they did, measured by
benchmarks/reranking.py.
"""

from pathlib import Path
from typing import Callable, Dict, List, Tuple

import numpy as np

from gluon_cgd.files.regular import read_json

EFFECT = Path(__file__).with_name("reranking.json")
# Nearest pictures of alpha-qe, and the power of their cosines. Of 2, 3, 5 and 10 pictures, more than 3 raise mAP no
# further and cost Recall@1 where the model is weak.
EXPANSION, ALPHA = 3, 3
CANDIDATES = 100
K1, K2, WEIGHT = 20, 6, 0.3  # the paper's: neighbours, neighbours that are averaged, the share of the own distance

# (query (D,), number of pictures) -> (cosines, rows), nearest first
Find = Callable[[np.ndarray, int], Tuple[np.ndarray, np.ndarray]]


def expanded(query: np.ndarray, neighbours: np.ndarray, alpha: float = ALPHA) -> np.ndarray:
    """`query` (D,), moved towards its `neighbours` (k, D): of unit length, as they all are."""
    weights = np.maximum(neighbours.astype(np.float64) @ query, 0) ** alpha
    moved = query + weights @ neighbours
    return moved / np.sqrt(moved @ moved)


def alpha_qe(find: Find, vectors: np.ndarray, query: np.ndarray, count: int) -> np.ndarray:
    """The `count` rows that `find` returns for the expanded `query`. vectors (N, D): those that it searches in."""
    cosines, rows = find(query, EXPANSION + 1)
    others = rows[cosines < 1 - 1e-6][:EXPANSION]  # the query itself, if it is there, says nothing new
    return find(expanded(query, vectors[others]), count)[1]


def k_reciprocal(find: Find, vectors: np.ndarray, query: np.ndarray, count: int) -> np.ndarray:
    """The `count` rows nearest to `query`, the first CANDIDATES of them by their k-reciprocal distance."""
    _, rows = find(query, max(count, CANDIDATES))
    first = rows[:CANDIDATES]
    distances = reciprocal_distances(np.concatenate([query[None], vectors[first]]))
    return np.append(first[np.argsort(distances, kind="stable")], rows[CANDIDATES:])[:count]


def reciprocal_distances(vectors: np.ndarray, k1: int = K1, k2: int = K2, weight: float = WEIGHT) -> np.ndarray:
    """The k-reciprocal distance of `vectors[0]` to each of the others, (n - 1,). vectors (n, D), of unit length."""
    vectors = vectors.astype(np.float64)
    distances = np.maximum(2 - 2 * vectors @ vectors.T, 0)  # (n, n), squared
    np.fill_diagonal(distances, 0)
    distances /= np.maximum(distances.max(axis=1, keepdims=True), 1e-12)
    order = np.argsort(distances, axis=1, kind="stable")
    near, nearer = reciprocal(order, k1), reciprocal(order, round(k1 / 2))  # (n, n): who has whom, and the other way
    # The nearer neighbours of a neighbour come too if more than two thirds of them are neighbours already
    shared = near.astype(np.float64) @ nearer.T
    joins = near & (shared > 2 / 3 * nearer.sum(axis=1))
    members = near | (joins.astype(np.float64) @ nearer > 0)
    weights = np.where(members, np.exp(-distances), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    weights = np.stack([weights[row].mean(axis=0) for row in order[:, : max(k2, 1)]])
    common = np.minimum(weights[0], weights[1:]).sum(axis=1)
    return (1 - weight) * (1 - common / (2 - common)) + weight * distances[0, 1:]


def reciprocal(order: np.ndarray, k: int) -> np.ndarray:
    """bool (n, n): whether i is among the k nearest of j, and j of i. order (n, n): nearest first, itself included."""
    among = np.zeros(order.shape, bool)
    np.put_along_axis(among, order[:, : k + 1], True, axis=1)
    return among & among.T


METHODS: Dict[str, Callable] = {"alpha-qe": alpha_qe, "k-reciprocal": k_reciprocal}


def reranked(method: str, find: Find, snapshot, query: np.ndarray) -> Callable:
    """A function of a number of pictures: (their cosines with `query`, their rows), in the order of `method`.

    find: searches in `snapshot`.
    """

    def look_up(count):
        rows = METHODS[method](find, snapshot.vectors, query, count)
        return snapshot.embeddings(rows).astype(np.float64) @ query, rows

    return look_up


def effect(method: str) -> List[str]:
    """What `method` did where it was measured, a sentence for each collection."""
    return [
        "{}: R@1 {:.1f} to {:.1f} %, mAP {:.1f} to {:.1f} %".format(
            entry["collection"], *(100 * number for measure in ("R@1", "mAP") for number in entry[measure])
        )
        for entry in read_json(EFFECT)
        if entry["method"] == method
    ]
