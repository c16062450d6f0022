"""Searching a collection, exactly and approximately, against the bare matrix product: python benchmarks/search.py.

Of unit vectors on this machine: ratios to the product of the same arrays are what can be compared between machines.
Clustered vectors are what a trained model gives: a class is a direction, and its pictures are around it. Random ones
have no neighbours worth the name: in 1,536 dimensions all are about as far from each other, the nearest are in any cell
of an inverted file, and it finds little more than the share of the vectors that it looks at.
"""

import argparse
import os
import statistics
import tempfile
import time
from importlib.util import find_spec

import numpy as np

from gluon_cgd.retrieval import approximate, collection, exact

ROUNDS = 5


def vectors(kind, n, dim, classes, seed):
    """float32 (n, dim) of unit length; "clustered": half a picture's direction is its own, half is its class's."""
    rng = np.random.default_rng(seed)
    found = rng.standard_normal((n, dim), np.float32)
    if kind == "clustered":
        centres = np.random.default_rng(99).standard_normal((classes, dim), np.float32)
        found += centres[rng.integers(classes, size=n)]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def filled(folder, kind, n, dim, classes):
    """The Snapshot of a collection of such vectors."""
    stat = os.stat(folder)
    with collection.writing(folder, dim, {}) as writer:
        for start in range(0, n, 10_000):
            part = vectors(kind, min(10_000, n - start), dim, classes, seed=start)
            writer.commit(part, [f"/{start + i}.jpg" for i in range(len(part))], [stat] * len(part))
    return collection.read(folder)


def seconds(call):
    """Median time of `call`, over ROUNDS."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def recall(truth, found):
    """Share of the true neighbours that are found."""
    return np.mean([np.isin(rows, other).mean() for (_, rows), (_, other) in zip(truth, found)])


def compare(snapshot, asked, k, kinds, uri):
    """Print a line for each engine: recall@k, milliseconds of 1 query and of all of `asked`."""
    memory = snapshot.vectors
    memory.sum()  # read once, so that no disk is measured
    bare = [seconds(lambda rows=rows: asked[:rows] @ memory.T) for rows in (1, len(asked))]

    def line(name, engine, built=None):
        found = exact.search(snapshot, asked, k, engine)
        times = [seconds(lambda rows=r: exact.search(snapshot, asked[:rows], k, engine)) for r in (1, len(asked))]
        told = [f"{1000 * t:9.1f} ms ({t / b:5.2f} x)" for t, b in zip(times, bare)]
        built = f"  built in {built:.0f} s" if built else ""
        print(f"  {name:14} recall@{k} {recall(truth, found):.3f}  {told[0]} {told[1]}{built}", flush=True)

    print(f"  {'bare product':14} {'':15}  {1000 * bare[0]:9.1f} ms {'':10}{1000 * bare[1]:9.1f} ms", flush=True)
    truth = exact.search(snapshot, asked, k)
    drawn = np.random.default_rng(0).integers(len(memory), size=1000)
    near, far = np.mean([cosines[-1] for cosines, _ in truth]), np.mean(asked @ memory[np.sort(drawn)].T)
    print(f"  cosine of the {k}th nearest {near:.3f}, of any {far:.3f}: the nearer the two, the less there is to find")
    line("exact", None)
    if "ivf" in "".join(kinds):
        cells = approximate.lists_of(snapshot.count)
        print(f"  ivf and ivfpq look into the nearest {approximate.probed(cells):,} of {cells:,} cells")
    for kind in kinds if find_spec("faiss") else ():
        start = time.perf_counter()
        engine = approximate.build_faiss(snapshot, kind)
        line(f"faiss {kind}", engine, time.perf_counter() - start)
    if uri:
        start = time.perf_counter()
        engine = approximate.Milvus(snapshot, uri)
        engine.send()
        line("milvus", engine, time.perf_counter() - start)
        engine.close()


def main(arguments=None):
    """Measure and print."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--pictures", type=int, default=100_000)
    p.add_argument("--dim", type=int, default=1536)
    p.add_argument("--classes", type=int, default=5_000, help="of the clustered vectors (default 5000)")
    p.add_argument("--queries", type=int, default=100)
    p.add_argument("-k", type=int, default=10)
    p.add_argument("--vectors", nargs="*", choices=("random", "clustered"), default=("random", "clustered"))
    p.add_argument("--kinds", nargs="*", choices=tuple(approximate.FAISS), default=("flat", "ivf", "hnsw", "ivfpq"))
    p.add_argument("--milvus", action="store_true", help="Milvus Lite too")
    options = p.parse_args(arguments)
    for kind in options.vectors:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            snapshot = filled(folder, kind, options.pictures, options.dim, options.classes)
            asked = vectors(kind, options.queries, options.dim, options.classes, seed=options.pictures + 1)
            print(
                f"{len(snapshot):,} {kind} vectors of {options.dim}, written in {time.perf_counter() - start:.1f} s; "
                f"1 query, {options.queries} queries at once:",
                flush=True,
            )
            uri = os.path.join(folder, "milvus.db") if options.milvus else None
            compare(snapshot, asked, options.k, options.kinds, uri)


if __name__ == "__main__":
    main()
