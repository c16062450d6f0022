"""PCA-whitening of the embeddings of an index, learned from them, as SPoC was meant (Babenko and Lempitsky, 2015).

The directions in which the pictures of a collection differ most, such as light and background, then count no more than
others. Dividing by the deviation alone would put all pictures equally far from each other where there are no more of
them than directions. So a constant is added to every variance: what is known from little stays nearly as it is.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from gluon_cgd.files.lock import locked
from gluon_cgd.machine.progress import task
from gluon_cgd.retrieval import collection, compaction
from gluon_cgd.retrieval import learned as files
from gluon_cgd.retrieval.manifest import read_manifest

SAMPLE = 2_000  # pictures, spread evenly over the index, that are looked at: more take minutes
AXES = 256  # directions that are shrunk, at most: the variance of any other is below 1/256 of the whole
RIDGE = 0.03  # is added to every variance, times the whole


class Whitening(NamedTuple):
    """What is done with the embeddings of an index: take off their mean, then shrink some directions."""

    mean: np.ndarray  # (D,)
    axes: np.ndarray  # (r, D): orthogonal directions of unit length
    gains: np.ndarray  # (r,): a part g of an embedding along an axis becomes (1 + gain) g; above -1

    def turned(self, vectors):
        """`vectors` (..., D) with their parts along the axes shrunk: a product with a symmetric matrix."""
        return vectors + ((vectors @ self.axes.T) * self.gains) @ self.axes

    def applied(self, embeddings):
        """`embeddings` (N, D) whitened: float32 (N, D) of unit length, zero for one that is the mean itself."""
        turned = self.turned(np.asarray(embeddings, np.float64) - self.mean)
        lengths = np.sqrt(np.einsum("nd,nd->n", turned, turned))
        return (turned / np.maximum(lengths, 1e-12)[:, None]).astype(np.float32)


def learn(embeddings):
    """The Whitening of `embeddings` (N, D) of unit length. Raises ValueError if they are all the same, or only one.

    The part along a principal axis of variance v is divided by the root of v + r, with r the RIDGE, and all is
    multiplied by the root of r: a direction without variance stays as it is, and no number can become large.
    """
    embeddings = np.asarray(embeddings, np.float64)
    count, dim = embeddings.shape
    mean = embeddings.mean(axis=0)
    centred = embeddings - mean
    few = count <= dim  # the products of the pictures then have the variances that those of the numbers have
    variances, vectors = np.linalg.eigh((centred @ centred.T if few else centred.T @ centred) / count)
    variances, vectors, total = variances[::-1], vectors.T[::-1], float((centred**2).sum()) / count
    if not total > 1e-9:
        raise ValueError("the pictures have one embedding, from which no whitening can be learned: leave --whiten out")
    # A direction in which only rounding differs is none
    kept = min(AXES, int((variances > 1e-9 * total).sum()))
    axes = vectors[:kept] @ centred / np.sqrt(count * variances[:kept, None]) if few else vectors[:kept]
    gains = np.sqrt(RIDGE * total / (variances[:kept] + RIDGE * total)) - 1
    # As they are stored: a new index and an opened one compute the same
    return Whitening(*(array.astype("<f4").astype(np.float64) for array in (mean, axes, gains)))


def whiten(folder):
    """Learn a Whitening from the index in `folder` and whiten its embeddings; returns what the manifest says of it.

    {"file": its name, "sha256": of that, "axes": r, "pictures": how many it was learned from}. Killed at any time it
    leaves the index as it was. Returns None for an index that is whitened already, to which it does nothing.
    Raises ValueError as `learn` does, and while another process writes; and as `read_manifest`.
    """
    folder = Path(folder)
    read_manifest(folder)
    with locked(folder, "writing to"), task("whitening", bar=False):
        before = collection.read(folder)
        model = before.manifest["model"]
        if model.get("whitening"):
            return None
        if model.get("reduction"):
            raise ValueError(f"{folder} was reduced, and one of the two is possible: index into another folder")
        rows = np.flatnonzero(before.live)
        rows = rows[:: max(1, -(-len(rows) // SAMPLE))]
        if len(rows) < 2:
            raise ValueError(f"{folder} holds {len(rows)} pictures, and whitening is learned from several: index more")
        before.check(rows)
        learned = learn(before.vectors[rows])
        said = dict(files.keep(folder, "whitening", learned), axes=len(learned.gains), pictures=len(rows))
        changed = dict(model, whitening=said)
        compaction.rewrite(before, convert=learned.applied, model=changed)
        return said


def read(folder, said, dim):
    """The Whitening of the index in `folder`, of embeddings of `dim` numbers, which its manifest describes as `said`.

    Raises ValueError if its file is missing or is not the one that was written.
    """
    remedy = "copy the index again from where it was made, or index into another folder"
    try:
        count = said["axes"]
        if type(count) is not int:
            raise ValueError("it does not say how many axes it has")
        values = files.take(folder, said, dim + count * dim + count)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{folder} is whitened, and its whitening cannot be read ({error}): {remedy}") from error
    mean, axes, gains = np.split(values, [dim, dim + count * dim])
    return Whitening(mean, axes.reshape(count, dim), gains)
