"""What the engine on the disk learns from a sample: directions, cells and codes. FAISS does the work.

Rows whose checksum says so are held out (see `held_out`): they are never learned from, and so tell the recall.
"""

import importlib

import numpy as np

from gluon_cgd.ondisk.choice import CENTRES, POINTS, PRODUCT
from gluon_cgd.retrieval import checksums
from gluon_cgd.retrieval.reduction import principal_axes

SAMPLE = 2**28  # bytes of vectors, at most, that the directions are learned from
REDUCED = 2**29  # bytes of reduced vectors, at most, that the cells are learned from
A_CELL = POINTS + 1  # vectors for each
ROUNDS = 10  # of k-means for the cells; FAISS's own 25 cost two and a half times as much
ROTATIONS = 12  # of OPQ; FAISS's own are 50
ONE_IN = np.uint64(64)  # rows is held out


def sums_of(snapshot, rows):
    """uint64 (n,): the checksums of the vectors in `rows`, a slice or an array of rows."""
    if snapshot.manifest["format"] == 1:  # it has none
        return checksums.sums(snapshot.vectors[rows])
    return snapshot.records(rows)["sum"] if isinstance(rows, slice) else snapshot.rows["sum"][rows]


def held_out(sums):
    """bool (n,): which of the vectors with these checksums are held out; the same ones whatever their rows are."""
    with np.errstate(over="ignore"):
        return ((sums * checksums.MULTIPLIER) >> np.uint64(40)) % ONE_IN == 0


def rows_to_learn_from(snapshot, seed=0):
    """The live rows that are not held out, in a drawn order; all live ones where that leaves none."""
    rows = np.flatnonzero(snapshot.live)
    kept = rows[~held_out(sums_of(snapshot, rows))]
    return np.random.default_rng(seed).permutation(kept if len(kept) >= len(rows) // 2 else rows)


def trained(snapshot, shape, log=lambda text: None):
    """FAISS's empty index of the `shape`, an IndexPreTransform, learned from a sample of `snapshot`."""
    faiss = importlib.import_module("faiss")
    drawn = rows_to_learn_from(snapshot)
    sample = snapshot.embeddings(np.sort(drawn[: max(1, SAMPLE // (4 * snapshot.dim))]))
    log(f"learning {shape.dim} directions from {len(sample):,} vectors")
    turned = faiss.LinearTransform(snapshot.dim, shape.dim, False)
    faiss.copy_array_to_vector(principal_axes(sample, shape.dim).ravel(), turned.A)
    turned.is_trained = True
    chain, sample = [turned], turned.apply(sample)
    if shape.kind == PRODUCT:
        rotation = faiss.OPQMatrix(shape.dim, shape.code)
        rotation.niter, rotation.max_train_points = ROTATIONS, CENTRES * POINTS
        log(f"rotating them for codes of {shape.code} bytes")
        rotation.train(sample)
        chain.append(rotation)
    del sample
    codes = f"PQ{shape.code}np" if shape.kind == PRODUCT else "SQ8"
    cells = faiss.index_factory(shape.dim, f"IVF{shape.lists},{codes}", faiss.METRIC_INNER_PRODUCT)
    cells.cp.niter, cells.cp.min_points_per_centroid = ROUNDS, 1
    wanted = drawn[: min(max(A_CELL * shape.lists, POINTS * CENTRES), REDUCED // (4 * shape.dim))]
    log(f"learning {shape.lists:,} cells from {len(wanted):,} vectors")
    cells.train(_reduced(snapshot, wanted, chain))
    index = faiss.IndexPreTransform(cells)
    for step in reversed(chain):
        index.prepend_transform(step)
    index.is_trained = True
    # FAISS keeps pointers to these: they live as long as the index
    index.of_python = (cells, chain)
    return index


def _reduced(snapshot, rows, chain):
    """The vectors of `rows` behind the transforms of `chain`, a block at a time."""
    rows, step = np.sort(rows), max(1, SAMPLE // 4 // (4 * snapshot.dim))
    parts = []
    for start in range(0, len(rows), step):
        part = snapshot.embeddings(rows[start : start + step])
        for transform in chain:
            part = transform.apply(part)
        parts.append(part)
    return np.concatenate(parts)
