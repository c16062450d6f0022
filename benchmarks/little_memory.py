"""Search in little memory, by the kinds that stay on the disk: python -m benchmarks.little_memory --pictures 1000000

Makes a collection, builds the engine, searches, and prints what each took: seconds, the most resident memory (with the
pages of files that are mapped), milliseconds of a query, recall against exact. Each step is a process of its own. The
vectors are clustered (see benchmarks/search.py), made as they are written, or with --images a pretrained model's, of
pictures that are cropped, mirrored and lit anew for each row. Queries are made as the rows are, and are in no row.
"""

import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import search as vectors_of
from benchmarks import table
from benchmarks.scale import peak
from gluon_cgd.commands.effects import Rule
from gluon_cgd.commands.options import main_of
from gluon_cgd.retrieval import approximate, collection, exact, reduction, storing

BLOCK = 10_000  # rows that are made at a time
QUERIES = 100
KS = (10, 100)
CHANGED = 1_000  # rows that are added, and as many removed, once all is measured
STEPS = ("fill", "costs", "build", "search", "change")
REDUCED = (1024, 512, 256, 128)  # numbers whose cost is measured, below those of the vectors


def make(options, start, count):
    """float32 (count, D) of unit length: the rows from `start` on; queries are those behind the last row."""
    if not options.images:
        return vectors_of.vectors("clustered", count, options.dim, options.classes, seed=start)
    from benchmarks.augmented import embedded

    return embedded(options.images, options.pretrained, options.input_size, start, count)


def fill(options, place):
    """Make the collection; one that is there goes on where it was interrupted."""
    dim, stat = make(options, 0, 1).shape[1], os.stat(place)
    if options.store != "float32" and not os.path.lexists(place / "idx"):
        with collection.writing(place / "idx", dim, {}):
            pass  # an empty one is stored so at once
        storing.store(place / "idx", options.store)
    with collection.writing(place / "idx", dim, {}) as writer:
        for start in range(writer.manifest["rows"], options.pictures, BLOCK):
            part = make(options, start, min(BLOCK, options.pictures - start))
            writer.commit(part, [f"/{start + i}.jpg" for i in range(len(part))], [stat] * len(part))
    return dict(dim=dim)


def costs(options, place):
    """What the smaller stores and fewer numbers cost: {"costs": {name: share of the 10 nearest that stay}}."""
    snapshot = collection.read(place / "idx")
    rows = np.flatnonzero(snapshot.live)
    chosen = rows[:: max(1, -(-len(rows) * 4 * snapshot.dim // reduction.SAMPLE))]
    others = np.setdiff1d(rows, chosen)
    drawn = np.random.default_rng(0).permutation(others if len(others) >= QUERIES else rows)[:QUERIES]
    truth = exact.search(snapshot, snapshot.vectors[drawn], reduction.K + 1)
    ways = {kind: storing.as_stored(kind, snapshot.dim) for kind in ("float16", "int8")}
    fewer = [count for count in REDUCED if count < min(snapshot.dim, len(chosen))]
    axes = reduction.principal_axes(snapshot.vectors[chosen], max(fewer)) if fewer else None
    ways.update({f"{count:,} numbers": reduction.Reduction(axes[:count].astype(np.float64)).applied for count in fewer})
    return dict(costs={name: reduction.kept_neighbours(snapshot, way, drawn, truth) for name, way in ways.items()})


def build(options, place):
    """Build the engine."""
    snapshot, start = collection.read(place / "idx"), time.perf_counter()
    engine = built(options, snapshot)
    seconds = time.perf_counter() - start
    if engine is None:
        raise ValueError(f"so few are searched exactly: {approximate.chosen(snapshot)['why']}")
    sizes = sum(file.stat().st_size for file in engine.file.parent.iterdir())
    return dict(kind=engine.kind, build_seconds=seconds, disk=sizes, says=engine.sentence())


def built(options, snapshot):
    """The engine of `snapshot`, built or brought up to date."""
    return approximate.build(snapshot, "faiss", options.kind, None, target=options.recall, memory=1e9 * options.memory)


def measure(options, place):
    """Open, search and compare with the exact search."""
    start = time.perf_counter()
    snapshot = collection.read(place / "idx")
    engine = approximate.open_engine(snapshot, "faiss", options.kind, None)
    results = dict(open_seconds=time.perf_counter() - start)
    queries = make(options, options.pictures, QUERIES)
    answers, memory = {}, 0
    for k in KS:

        def of(rows, k=k):
            return exact.search(snapshot, queries[rows], k, engine)

        first = [seconds_of(lambda i=i: of(slice(i, i + 1))) for i in range(QUERIES)]
        warm = [seconds_of(lambda i=i: of(slice(i, i + 1))) for i in range(QUERIES)]
        many = [seconds_of(lambda: of(slice(None))) for _ in range(3)]
        answers[k], memory = of(slice(None)), peak()
        times = (statistics.median(times) for times in (first, warm, many))
        results.update(zip((f"first_{k}", f"one_{k}", f"hundred_{k}"), times))
    results.update(search_memory=1e6 * memory, load=os.getloadavg()[0])
    start = time.perf_counter()
    truth = exact.search(snapshot, queries, max(KS))
    results["exact_hundred"] = time.perf_counter() - start
    results.update({f"recall_{k}": recall(truth, answers[k], k) for k in KS})
    results["cosines"] = [float(np.mean([cosines[i] for cosines, _ in truth])) for i in (0, 9, 99)]
    return results


def change(options, place):
    """Add CHANGED rows, remove as many others, bring the engine up to date, and compare again."""
    start = time.perf_counter()
    removed, stat = np.flatnonzero(collection.read(place / "idx").live)[:CHANGED], os.stat(place)
    added = make(options, options.pictures + QUERIES, CHANGED)
    with collection.writing(place / "idx", added.shape[1], {}) as writer:
        first = writer.manifest["rows"]
        writer.commit(added, [f"/{first + i}.jpg" for i in range(CHANGED)], [stat] * CHANGED, removed)
    snapshot = collection.read(place / "idx")
    engine = built(options, snapshot)
    results, queries = dict(changed_in=time.perf_counter() - start), make(options, options.pictures, QUERIES)
    truth, answers = (exact.search(snapshot, queries, KS[0], one) for one in (None, engine))
    return dict(results, changed_recall=recall(truth, answers, KS[0]))


def recall(truth, answers, k):
    """The mean share of the k nearest rows in `truth` that are in `answers`, [(cosines, rows)] of each query."""
    return float(np.mean([np.isin(rows[:k], others).mean() for (_, rows), (_, others) in zip(truth, answers)]))


def seconds_of(call):
    """The seconds that `call` takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def step(name, options, place, sender):
    """Send the results of a step, with its seconds and its most memory."""
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    start = time.perf_counter()
    results = dict(fill=fill, costs=costs, build=build, search=measure, change=change)[name](options, place)
    taken = {f"{name}_seconds": time.perf_counter() - start, f"{name}_memory": 1e6 * peak()}
    sender.send({**taken, **results})


def add_flags(p):
    """The flags of this script."""
    p.add_argument("--pictures", type=int, default=100_000, metavar="N", help="rows (default 100,000)")
    p.add_argument("--dim", type=int, default=1536, metavar="D", help="numbers of a clustered vector (default 1536)")
    p.add_argument("--classes", type=int, metavar="N", help="of clustered vectors (default: one for 200 rows)")
    p.add_argument("--kind", default="auto", choices=("auto", "disksq", "diskpq"))
    p.add_argument("--recall", type=float, default=0.95, metavar="R", help="to be reached (default 0.95)")
    p.add_argument("--memory", type=float, default=4, metavar="GB", help="that searching may use (default 4)")
    p.add_argument("--store", default="float32", choices=("float32", "float16", "int8"), help="of a new collection")
    p.add_argument("--costs", action="store_true", help="measure too what smaller stores and fewer numbers cost")
    p.add_argument("--images", metavar="DIR", help="embed these pictures, augmented, instead of clustered vectors")
    p.add_argument("--pretrained", default="efficientnet_lite0", metavar="NAME", help="the model that embeds --images")
    p.add_argument("--input-size", type=int, default=96, metavar="N", help="the side of --images (default 96)")
    p.add_argument("--folder", metavar="DIR", help="keep the collection here, and go on with it (default: temporary)")
    p.add_argument("--record", action="store_true", help="keep the results in benchmarks/results, for docs/speed.md")


def run(options):
    """Measure and print."""
    options.classes = options.classes or max(1, options.pictures // 200)
    place = Path(options.folder or tempfile.mkdtemp(prefix="little-memory"))
    place.mkdir(parents=True, exist_ok=True)
    results = dict(pictures=options.pictures, target=options.recall, memory=1e9 * options.memory)
    results["of"] = f"{options.pretrained}, augmented pictures" if options.images else clusters(options)
    results["store"] = options.store
    context = multiprocessing.get_context("spawn")
    try:
        for name in [name for name in STEPS if name != "costs" or options.costs]:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=step, args=(name, options, place, sender))
            process.start()
            sender.close()
            results.update(receiver.recv())
            process.join()
            print(f"{name}: " + ", ".join(f"{key} {shown(value)}" for key, value in results.items()), flush=True)
    except EOFError as error:
        raise ValueError(f"the step {name} ended early: see what it printed") from error
    finally:
        if not options.folder:
            shutil.rmtree(place)
    if options.record:
        others = table.recorded("little_memory") or []
        same = ("pictures", "dim", "of", "kind", "store", "target", "memory", "machine")
        results.update(table.origin())
        before = [row for row in others if [row.get(key) for key in same] == [results[key] for key in same]]
        for row in before:
            results.setdefault("costs", row.get("costs"))
        kept = [row for row in others if row not in before]
        table.record("little_memory", sorted([*kept, results], key=lambda row: (row["of"], row["pictures"])))


def clusters(options):
    """What the vectors are, in words."""
    return f"clusters of {options.pictures // options.classes:,}"


def shown(value):
    """A value as it is printed."""
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


RULES = (
    Rule(("dim", "classes"), lambda o: not o.images, "{flags}: the vectors of --images have their own, leave it out"),
    Rule(("pretrained", "input_size"), lambda o: o.images, "{flags} embeds pictures: name them with --images"),
)
main = main_of(__doc__, add_flags, run, "python -m benchmarks.little_memory", RULES)

if __name__ == "__main__":
    sys.exit(main())
