"""Which rows are nearest to a query: by exact search, or among the candidates of FAISS or Milvus.

An engine covers the first `rows` rows of a collection. Its `candidates(queries, count, within)` are rows (Q, count)
that it takes for the nearest of those `within`, -1 if it has no more; it may propose more than `count`, or None if it
cannot look into a part alone. The other rows are searched exactly, and every cosine is computed from the collection's
own vectors: an engine can miss a picture, but it never gives one a wrong cosine.
"""

import importlib

import numpy as np

from gluon_cgd.machine import facts

BLOCK = 2**26  # bytes of vectors that are compared at a time
SPARE = 4  # candidates of an engine, times k: compressed vectors rank roughly, exact cosines then order them


def exact(vectors, queries, k, live=None, start=0, check=None):
    """(cosines (Q, k') float64, rows (Q, k')) of the k nearest of `vectors` (N, D), best first, equal ones by row.

    queries (Q, D); all vectors have unit length. k' is k, or the number of rows if that is less. live (N,): False for
    rows to leave out.  start: the first row to compare.  check: is called with the slice of each block of rows before
    it is read, and may refuse it. A float32 product finds, within the bound of its rounding, what can be among the k,
    and float64 decides. Memory: one block of BLOCK bytes, and some 50 bytes for each of the k rows, whatever N.
    """
    queries = np.ascontiguousarray(queries, np.float32)
    wide = queries.astype(np.float64)
    margin = 2 * queries.shape[1] * 2.0**-24 * 1.001  # by how much the product of two unit vectors can be off, twice
    step = max(1, BLOCK // (4 * max(queries.shape)))
    nearest = [[(np.empty(0), np.empty(0, np.int64))] for _ in queries]  # the parts of each answer
    bounds = np.full(len(queries), -np.inf)  # the k-th cosine of each, once it is known
    for first in range(start, len(vectors), step):
        if live is not None and not live[first : first + step].any():
            continue
        if check:
            check(slice(first, first + step))
        block = vectors[first : first + step]
        scores = queries @ block.T  # (Q, b)
        if live is not None:
            scores[:, ~live[first : first + step]] = -np.inf
        hopeful = np.flatnonzero(scores.max(axis=1) >= bounds - margin)
        for i in hopeful:
            bound = max(bounds[i], np.partition(scores[i], -k)[-k] if k < len(block) else -np.inf)
            rows = np.flatnonzero((scores[i] >= bound - margin) & (scores[i] > -np.inf))
            nearest[i].append((inner(block[rows], wide[i]), first + rows))
            if sum(len(cosines) for cosines, _ in nearest[i]) >= max(k, 2 * k - step):  # a large k is sorted rarely
                nearest[i] = [best(k, *nearest[i])]
                bounds[i] = nearest[i][0][0][-1]
    return tuple(np.stack(column) for column in zip(*(best(k, *parts) for parts in nearest)))


def inner(vectors, query):
    """Products in float64: (n, D) and (D,) -> (n,). Equal rows have equal products, whatever their place."""
    return np.einsum("nd,d->n", vectors.astype(np.float64), query)


def best(k, *answers):
    """The best k of several (cosines, rows), as one: by falling cosine, then by row."""
    cosines, rows = (np.concatenate(column) for column in zip(*answers))
    order = np.lexsort((rows, -cosines))[:k]
    return cosines[order], rows[order]


def search(snapshot, queries, k, engine=None, within=None):
    """[(cosines, rows) of each of `queries` (Q, D)], at most k, best first. Without an engine the search is exact.

    within: bool (N,), the rows to search in; None for all. So few that an engine would return them all are compared.
    """
    queries, check = np.ascontiguousarray(queries, np.float32), snapshot.check
    live = snapshot.live if within is None else snapshot.live & within
    total, count = int(np.count_nonzero(live)), max(SPARE * k, 40)
    proposed = None
    if engine is not None and engine.rows and (within is None or total > count):
        proposed = engine.candidates(queries, min(count, engine.rows), within)
    if proposed is None:
        return list(zip(*exact(snapshot.vectors, queries, k, live, check=check)))
    tails = zip(*exact(snapshot.vectors, queries, k, live, engine.rows, check))
    answers = []
    for query, rows, tail in zip(queries, proposed, tails):
        rows = np.asarray(rows, np.int64)
        rows = rows[(rows >= 0) & (rows < min(engine.rows, snapshot.count))]  # the tail has those behind
        rows = rows[live[rows]]
        answer = best(k, (inner(snapshot.embeddings(rows), query.astype(np.float64)), rows), tail)
        if len(answer[1]) < min(k, total):  # too many of the candidates were replaced or removed since
            answer = [column[0] for column in exact(snapshot.vectors, query[None], k, live, 0, check)]
        answers.append(answer)
    return answers


def recall(snapshot, engine, k=10, queries=100, seed=0):
    """(share of the exact k nearest that `engine` finds, number of queries), on drawn pictures of the collection.

    The query itself, which every engine finds, is left out. A picture that is as near as the last of the k counts.
    """
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(snapshot.live))[:queries]
    vectors = snapshot.embeddings(drawn)
    found = shares(drawn, search(snapshot, vectors, k + 1), search(snapshot, vectors, k + 1, engine), k)
    return float(np.mean(found)) if found else 1.0, len(drawn)


def shares(drawn, truth, answers, k):
    """[share of the k nearest in `truth` that is in `answers`] for the pictures in the rows `drawn`.

    truth, answers: (cosines, rows) of each, with itself, which is left out.
    """
    shares = []
    for own, (right, rows), (cosines, candidates) in zip(drawn, truth, answers):
        right = right[rows != own][:k]
        if len(right):
            shares.append((cosines[candidates != own][:k] >= right[-1]).sum() / len(right))
    return shares


def needed(module, package):
    """The optional `module`. Raises ImportError, naming the remedy, if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"this engine needs {package} ({error}): {facts.install('requirements-extra.txt')}, or take --engine exact"
        ) from error
