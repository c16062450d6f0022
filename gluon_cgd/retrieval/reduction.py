"""Embeddings of an index with fewer numbers, by PCA that is learned from a sample of them.

Only the directions stay in which products of embeddings are largest. The mean is not taken off: that would change which
products are larger. A reduced embedding is of unit length again, so a cosine is one of what stays of two embeddings.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from gluon_cgd.files.lock import locked
from gluon_cgd.machine.progress import task
from gluon_cgd.retrieval import collection, compaction, exact, learned
from gluon_cgd.retrieval.manifest import read_manifest
from gluon_cgd.retrieval.whitening import check_model

SAMPLE = 2**27  # bytes of embeddings, spread evenly over the index, that are looked at
QUERIES, K = 100, 10  # pictures that tell the cost, which are none of the sample if there are more


class Reduction(NamedTuple):
    """The directions that stay: axes (d, D), orthogonal and of unit length."""

    axes: np.ndarray

    @property
    def mean(self):
        """What is taken off: nothing, (D,)."""
        return np.zeros(self.axes.shape[1])

    def turned(self, vectors):
        """`vectors` (..., D) without their parts in other directions: a product with a symmetric matrix."""
        return (vectors @ self.axes.T) @ self.axes

    def applied(self, embeddings):
        """`embeddings` (N, D) reduced: float32 (N, d) of unit length."""
        reduced = np.asarray(embeddings, np.float64) @ self.axes.T
        lengths = np.sqrt(np.einsum("nd,nd->n", reduced, reduced))
        return (reduced / np.maximum(lengths, 1e-12)[:, None]).astype(np.float32)


def principal_axes(vectors, count):
    """float32 (count, D): orthogonal directions that keep the most of the products of `vectors` (N, D)."""
    moments = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(vectors), 8192):
        part = vectors[start : start + 8192]
        moments += part.T @ part
    _, directions = np.linalg.eigh(moments)
    return np.ascontiguousarray(directions[:, ::-1][:, :count].T, np.float32)


def reduce(folder, dim):
    """Learn a Reduction to `dim` numbers from the index in `folder` and reduce its embeddings; what is said of it.

    {"file", "sha256": see `learned.keep`, "dim", "pictures": it was learned from, "kept": the share of the squares of
    the numbers that stays, "recall": the share of the 10 nearest of `queries` pictures that are still among them}.
    Killed at any time it leaves the index as it was. Returns None for one that has `dim` numbers by an earlier call.
    Raises ValueError for a `dim` that cannot be, too few pictures, and while another process writes.
    """
    folder = Path(folder)
    read_manifest(folder)
    with locked(folder, "writing to"), task("reducing", bar=False):
        before = collection.read(folder)
        model = before.manifest["model"]
        if (model.get("reduction") or {}).get("dim") == dim:
            return None
        rows = np.flatnonzero(before.live)
        _check(folder, before, model, dim, len(rows))
        chosen = rows[:: max(1, -(-len(rows) * 4 * before.dim // SAMPLE))]
        sample = before.embeddings(chosen)
        axes = principal_axes(sample, dim)
        found = Reduction(axes.astype(np.float64))
        others = np.setdiff1d(rows, chosen)
        drawn = np.random.default_rng(0).permutation(others if len(others) >= QUERIES else rows)[:QUERIES]
        said = dict(learned.keep(folder, "reduction", [axes]), dim=dim, pictures=len(chosen))
        kept = ((sample @ axes.T) ** 2).sum() / (sample**2).sum()
        del sample
        truth = exact.search(before, before.embeddings(drawn), K + 1)
        said.update(kept=float(kept), queries=len(drawn))
        said["recall"] = kept_neighbours(before, found.applied, drawn, truth)
        compaction.rewrite(before, convert=found.applied, model=dict(model, reduction=said), dim=dim)
        return said


def read(folder, said, dim):
    """The Reduction of the index in `folder`, of embeddings of `dim` numbers, which its manifest describes as `said`.

    Raises ValueError if its file is missing or is not the one that was written.
    """
    remedy = "copy the index again from where it was made, or index into another folder"
    try:
        if type(said["dim"]) is not int or not 0 < said["dim"] < dim:
            raise ValueError(f"it leaves {said['dim']} numbers of {dim}")
        axes = learned.take(folder, said, said["dim"] * dim)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{folder} is reduced, and how cannot be read ({error}): {remedy}") from error
    return Reduction(axes.reshape(said["dim"], dim))


def _check(folder, before, model, dim, count):
    """Raise ValueError for an index that cannot be reduced to `dim` numbers."""
    another = "index into another folder to learn it anew"
    if model.get("reduction"):
        raise ValueError(f"{folder} was reduced to {before.dim} numbers already: {another}")
    if model.get("whitening"):
        raise ValueError(f"{folder} is whitened, and one of the two is possible: {another}, without --whiten")
    check_model(folder, model, "--reduce")
    if not 0 < dim < before.dim:
        raise ValueError(f"--reduce {dim} must be at least 1 and below {before.dim}, the numbers of an embedding")
    if count < dim:
        raise ValueError(
            f"{folder} holds {count:,} pictures, and --reduce {dim} is learned from at least as many: index more, or "
            "keep fewer numbers"
        )


def kept_neighbours(before, convert, drawn, truth):
    """The share of the nearest of the rows `drawn`, in `truth`, that are nearest by converted embeddings, too.

    before: a Snapshot.  convert: embeddings (n, D) -> (n, d), of unit length.
    """
    if not len(drawn):
        return 1.0
    queries = convert(before.embeddings(drawn))
    nearest = [(np.empty(0), np.empty(0, np.int64)) for _ in drawn]
    step = max(1, exact.BLOCK // (8 * before.dim))
    for start in range(0, before.count, step):
        part = slice(start, start + step)
        before.check(part)
        answers = exact.exact(convert(before.vectors[part]), queries, K + 1, before.live[part])
        nearest = [exact.best(K + 1, old, (new[0], start + new[1])) for old, new in zip(nearest, zip(*answers))]
    shares = []
    for own, (_, right), (_, rows) in zip(drawn, truth, nearest):
        right = right[right != own][:K]
        if len(right):
            shares.append(np.isin(right, rows[rows != own][:K]).mean())
    return float(np.mean(shares)) if shares else 1.0
