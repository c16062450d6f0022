"""Exact and approximate search of a collection, compared with a bare matrix product: python benchmarks/search.py

Compare machines by the ratios to the product of the same arrays, not by the times. Clustered vectors are like those of
a trained model: a class is a direction, and its pictures lie around it. Random vectors have no near neighbours: in
1,536 dimensions all are about equally far from each other, so an inverted file finds little more than the share of the
vectors that it looks at.
"""

import os
import statistics
import sys
import tempfile
import time
from functools import lru_cache
from importlib.util import find_spec

import numpy as np

from gluon_cgd.commands.effects import Rule
from gluon_cgd.commands.options import main_of
from gluon_cgd.ondisk.choice import lists_of
from gluon_cgd.retrieval import approximate, collection, exact

ROUNDS = 5


def vectors(kind, n, dim, classes, seed):
    """float32 (n, dim) of unit length. "clustered" ones are the sum of a random vector and one of their class."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, dim), np.float32)
    if kind == "clustered":
        rows += centres(classes, dim)[rng.integers(classes, size=n)]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


@lru_cache(maxsize=1)
def centres(classes, dim):
    """float32 (classes, dim): the random vectors of the classes, always the same."""
    return np.random.default_rng(99).standard_normal((classes, dim), np.float32)


def filled(folder, kind, n, dim, classes):
    """The Snapshot of a new collection in `folder` that holds n such vectors."""
    stat = os.stat(folder)
    with collection.writing(folder, dim, {}) as writer:
        for start in range(0, n, 10_000):
            part = vectors(kind, min(10_000, n - start), dim, classes, seed=start)
            writer.commit(part, [f"/{start + i}.jpg" for i in range(len(part))], [stat] * len(part))
    return collection.read(folder)


def seconds(call):
    """The median of the seconds that `call` takes, of ROUNDS."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def recall(truth, results):
    """The share of the true neighbours that are among the results."""
    return np.mean([np.isin(rows, others).mean() for (_, rows), (_, others) in zip(truth, results)])


def compare(snapshot, queries, k, kinds, uri, milvus_kinds):
    """Print one line for each engine: recall@k, milliseconds of one query and of all `queries`."""
    memory = snapshot.vectors
    memory.sum()  # reads them once, so that the disk is not measured
    bare = [seconds(lambda rows=rows: queries[:rows] @ memory.T) for rows in (1, len(queries))]

    def line(name, engine, built=None):
        results = exact.search(snapshot, queries, k, engine)
        times = [seconds(lambda rows=r: exact.search(snapshot, queries[:rows], k, engine)) for r in (1, len(queries))]
        one, many = (f"{1000 * t:9.1f} ms ({t / b:5.2f} x)" for t, b in zip(times, bare))
        built = f"  built in {built:.0f} s" if built else ""
        print(f"  {name:14} recall@{k} {recall(truth, results):.3f}  {one} {many}{built}", flush=True)

    print(f"  {'bare product':14} {'':15}  {1000 * bare[0]:9.1f} ms {'':10}{1000 * bare[1]:9.1f} ms", flush=True)
    truth = exact.search(snapshot, queries, k)
    drawn = np.random.default_rng(0).integers(len(memory), size=1000)
    near, far = np.mean([cosines[-1] for cosines, _ in truth]), np.mean(queries @ memory[np.sort(drawn)].T)
    print(f"  cosine of the {k}th nearest {near:.3f}, of any {far:.3f}: the closer the two, the harder the search")
    line("exact", None)
    if "ivf" in "".join(kinds):
        cells = lists_of(snapshot.count)
        print(f"  ivf and ivfpq look into the nearest {approximate.probed(cells):,} of {cells:,} cells")
    for kind in kinds if find_spec("faiss") else ():
        start = time.perf_counter()
        engine = approximate.build_faiss(snapshot, kind)
        line(f"faiss {kind}", engine, time.perf_counter() - start)
    for kind in milvus_kinds if uri else ():  # the rows are sent to the first one
        start = time.perf_counter()
        engine = approximate.build(snapshot, "milvus", kind, uri)
        line(engine.name, engine, time.perf_counter() - start)
        engine.close()


def add_flags(p):
    """The flags of this script."""
    p.add_argument("--pictures", type=int, default=100_000)
    p.add_argument("--dim", type=int, default=1536)
    p.add_argument(
        "--classes", type=int, default=5_000, help="number of classes of the clustered vectors (default 5000)"
    )
    p.add_argument("--queries", type=int, default=100)
    p.add_argument("-k", type=int, default=10)
    p.add_argument("--vectors", nargs="*", choices=("random", "clustered"), default=("random", "clustered"))
    p.add_argument("--kinds", nargs="*", choices=tuple(approximate.FAISS), default=("flat", "ivf", "hnsw", "ivfpq"))
    help_text = "compare Milvus too: a server, or Milvus Lite"
    p.add_argument("--milvus", nargs="?", const="", type=str, metavar="http://...", help=help_text)
    kinds = approximate.Milvus.kinds
    p.add_argument("--milvus-kinds", nargs="*", choices=kinds, default=("auto",), help="of a server (default auto)")


def run(options):
    """Measure and print."""
    for kind in options.vectors:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            snapshot = filled(folder, kind, options.pictures, options.dim, options.classes)
            queries = vectors(kind, options.queries, options.dim, options.classes, seed=options.pictures + 1)
            print(
                f"{len(snapshot):,} {kind} vectors of {options.dim}, written in {time.perf_counter() - start:.1f} s; "
                f"1 query, {options.queries} queries at once:",
                flush=True,
            )
            uri = None if options.milvus is None else options.milvus or os.path.join(folder, "milvus.db")
            compare(snapshot, queries, options.k, options.kinds, uri, options.milvus_kinds)


RULES = (
    Rule(("classes",), lambda o: "clustered" in o.vectors, "{typed} is for clustered --vectors: leave it out"),
    Rule(("milvus", "kinds"), lambda o: len(o.vectors) > 0, "{flags} need some --vectors"),
    Rule(("milvus_kinds",), lambda o: o.milvus, "{flags} are of a server: name it, --milvus http://..."),
)
main = main_of(__doc__, add_flags, run, rules=RULES)

if __name__ == "__main__":
    sys.exit(main())
