"""Which rows are nearest to a query: exactly, or first narrowed down by FAISS or Milvus.

An engine covers the first `rows` rows of a collection, and its `candidates(queries, count)` are rows (Q, count) that it
takes for the nearest, -1 where it has no more. What it does not cover is searched exactly, and every cosine that comes
out is computed from the collection's own vectors: an engine can miss a picture, but never give one a wrong cosine.
"""

import importlib

import numpy as np

from gluon_cgd.machine import facts

BLOCK = 2**26  # bytes of vectors that are looked at at a time
SPARE = 4  # times k, candidates of an engine: compressed vectors rank them roughly, the exact cosines then order them


def exact(vectors, queries, k, live=None, start=0):
    """(cosines (Q, k') float64, rows (Q, k')) of the k nearest of `vectors` (N, D), best first, equal ones by row.

    queries (Q, D), all of unit length; k' is k, or less where there are not so many. live (N,): False for rows to leave
    out; start: the first row to look at. Exact: a blocked float32 product finds what can be among the k by the bound of
    its rounding, and float64 decides. Memory: one block of BLOCK bytes, whatever N.
    """
    queries = np.ascontiguousarray(queries, np.float32)
    wide = queries.astype(np.float64)
    margin = 2 * queries.shape[1] * 2.0**-24 * 1.001  # by how much the product of two unit vectors can be off, twice
    step = max(k, BLOCK // (4 * max(queries.shape)), 1)
    found = [(np.empty(0), np.empty(0, np.int64)) for _ in queries]
    for first in range(start, len(vectors), step):
        block = vectors[first : first + step]
        scores = queries @ block.T  # (Q, b)
        if live is not None:
            scores[:, ~live[first : first + step]] = -np.inf
        bounds = [cosines[k - 1] if len(cosines) == k else -np.inf for cosines, _ in found]
        hopeful = np.flatnonzero(scores.max(axis=1) >= np.array(bounds) - margin)
        for i in hopeful:
            bound = max(bounds[i], np.partition(scores[i], -k)[-k] if k < len(block) else -np.inf)
            rows = np.flatnonzero((scores[i] >= bound - margin) & (scores[i] > -np.inf))
            found[i] = best(k, found[i], (inner(block[rows], wide[i]), first + rows))
    return tuple(np.stack(column) for column in zip(*found))


def inner(vectors, query):
    """Products in float64, equal for equal rows wherever they stand: (n, D) and (D,) -> (n,)."""
    return np.einsum("nd,d->n", vectors.astype(np.float64), query)


def best(k, *found):
    """The first k of [(cosines, rows), ...], by falling cosine and then by row."""
    cosines, rows = (np.concatenate(column) for column in zip(*found))
    order = np.lexsort((rows, -cosines))[:k]
    return cosines[order], rows[order]


def search(snapshot, queries, k, engine=None):
    """[(cosines, rows) of each of `queries` (Q, D)], at most k, best first. Without an engine this is exact."""
    queries = np.ascontiguousarray(queries, np.float32)
    if engine is None or not engine.rows:
        return list(zip(*exact(snapshot.vectors, queries, k, snapshot.live)))
    proposed = engine.candidates(queries, min(max(SPARE * k, 40), engine.rows))
    tails = zip(*exact(snapshot.vectors, queries, k, snapshot.live, engine.rows))
    answers = []
    for query, rows, tail in zip(queries, proposed, tails):
        rows = np.array([row for row in rows if 0 <= row < snapshot.count and snapshot.live[row]], np.int64)
        answer = best(k, (inner(snapshot.vectors[rows], query.astype(np.float64)), rows), tail)
        if len(answer[1]) < min(k, len(snapshot)):  # too many of the engine's were replaced or removed since
            answer = [column[0] for column in exact(snapshot.vectors, query[None], k, snapshot.live)]
        answers.append(answer)
    return answers


def recall(snapshot, engine, k=10, queries=100, seed=0):
    """(share of the exact k nearest that `engine` finds, number of queries), on pictures of the collection, drawn.

    The query itself, which every engine finds, does not count; a picture as near as the last of the k is as good.
    """
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(snapshot.live))[:queries]
    asked, shares = snapshot.vectors[drawn], []
    for own, (right, rows), found in zip(drawn, search(snapshot, asked, k + 1), search(snapshot, asked, k + 1, engine)):
        right = right[rows != own][:k]
        if len(right):
            shares.append((found[0][found[1] != own][:k] >= right[-1]).sum() / len(right))
    return float(np.mean(shares)) if shares else 1.0, len(drawn)


def needed(module, package):
    """The optional `module`. Raises ImportError naming the remedy where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"this engine needs {package} ({error}): {facts.install('requirements-extra.txt')}, or take --engine exact"
        ) from error
