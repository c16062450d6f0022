"""What an index of many rows costs apart from its embeddings: opening, pruning, compacting, readers beside a writer.

The rows are of no pictures, and their embeddings, of few numbers, are random: no step here depends on either. Each line
is measured in a process of its own, whose memory it prints.
"""

import argparse
import functools
import multiprocessing
import os
import shutil
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

from benchmarks.scale import MODEL, peak, vectors_of
from gluon_cgd.retrieval import blocks, checksums, collection, compaction, exact, gone, index, mending

STEP = 1 << 14  # rows that are written at a time
FOLDER = "/photographs"  # that is not there
READERS, SECONDS = 10, 10
BATCHES = 300  # of pictures that are written to time their checksums


def paths_of(numbers):
    """The paths of the rows `numbers`."""
    return [f"{FOLDER}/{number // 1000:06d}/{number:09d}.jpg" for number in numbers]


def fill(place, count, dim):
    """Rows are appended."""
    vectors = vectors_of(STEP, dim)
    with collection.writing(place, dim, MODEL) as writer:
        writer.describe(MODEL, FOLDER)
        for start in range(0, count, STEP):
            numbers = range(start, min(start + STEP, count))
            writer.append(vectors[: len(numbers)], paths_of(numbers), [7] * len(numbers), numbers)
        writer.publish()


def open_index(place, count, dim):
    """It is opened, and the path of one row is read."""
    snapshot = collection.read(place)
    assert snapshot.path(count // 2) == paths_of([count // 2])[0]


def open_without_blocks(place, count, dim):
    """As an index of an earlier version is opened: all rows and paths are compared."""
    file = blocks.file_of(place, 0)
    hidden = file.rename(file.with_suffix(".hidden"))
    assert not collection.read(place).has_blocks
    hidden.rename(file)


def search(place, count, dim):
    """The ten nearest of one query, exactly, each embedding compared with its checksum."""
    snapshot = collection.read(place)
    ((_, rows),) = exact.search(snapshot, vectors_of(1, dim), 10)
    assert [snapshot.path(row) for row in rows] == paths_of(rows)


def compare(place, count, dim):
    """Everything is compared with its checksum, as `index` does first."""
    assert mending.mend(place) == 0


def prune(place, count, dim):
    """Every second row is of a picture that is gone, the others were seen."""
    with collection.writing(place, dim, MODEL) as writer:
        snapshot = collection.read(place)
        removed = gone.find_gone(snapshot, np.arange(count) % 2 > 0, FOLDER, (), [FOLDER], True, lambda: snapshot).rows
        for start in range(0, len(removed), index.PRUNED):
            writer.commit(np.empty((0, dim)), [], [], removed[start : start + index.PRUNED])
    assert len(removed) == (count + 1) // 2


def compact(place, count, dim):
    """What was removed gives its room back."""
    assert compaction.compact(place) == (count + 1) // 2


STEPS = dict(
    filling=fill,
    opening=open_index,
    opening_without_blocks=open_without_blocks,
    searching=search,
    comparing=compare,
    pruning=prune,
    opening_pruned=lambda place, count, dim: collection.read(place),
    compacting=compact,
)


def measure(name, place, count, dim, sender):
    """Send (seconds, seconds of the processor, MB of memory) of a step."""
    before, used, start = peak(), time.process_time(), time.perf_counter()
    STEPS[name](place, count, dim)
    sender.send((time.perf_counter() - start, time.process_time() - used, peak() - before))


def share_of_checksums(place, dim=1536):
    """The share of the time of filling that checksums take: without a model, 64 pictures at a time, all on the disk."""
    spent, depth = [0.0], [0]

    def timed(function):
        @functools.wraps(function)
        def call(*arguments):
            start, outermost = time.perf_counter(), not depth[0]
            depth[0] += 1
            try:
                return function(*arguments)
            finally:
                depth[0] -= 1
                spent[0] += outermost * (time.perf_counter() - start)

        return call

    vectors, kept = vectors_of(index.BATCH, dim), (zlib.crc32, checksums.sums, blocks.added)
    with collection.writing(place, dim, MODEL) as writer:
        zlib.crc32, checksums.sums, blocks.added = map(timed, kept)
        start = time.perf_counter()
        for batch in range(BATCHES):
            numbers = range(batch * index.BATCH, (batch + 1) * index.BATCH)
            writer.append(vectors, paths_of(numbers), [7] * len(numbers), numbers)
            writer.publish()
        seconds = time.perf_counter() - start
        zlib.crc32, checksums.sums, blocks.added = kept
    return spent[0] / seconds, BATCHES * index.BATCH / seconds, spent[0] / BATCHES / index.BATCH


def read_on(place, stop, sender):
    """Open the index again and again, and look at a hundred rows each time; send (times, the longest opening)."""
    times, longest, rng = 0, 0.0, np.random.default_rng(os.getpid())
    while not stop.is_set():
        start = time.perf_counter()
        snapshot = collection.read(place)
        longest, times = max(longest, time.perf_counter() - start), times + 1
        rows = rng.choice(np.flatnonzero(snapshot.live), 100)
        snapshot.check(rows)
        for row in rows:
            number = int(snapshot.records([row])["mtime_ns"][0])
            assert snapshot.path(row) == paths_of([number])[0]
    sender.send((times, longest))


def read_and_write(place, dim, context):
    """[(times, the longest opening) of each reader], and how often the writer added, removed and compacted."""
    stop, receivers, readers = context.Event(), [], []
    for _ in range(READERS):
        receiver, sender = context.Pipe(duplex=False)
        readers.append(context.Process(target=read_on, args=(place, stop, sender)))
        readers[-1].start()
        receivers.append(receiver)
    vectors, commits, compactions, end = vectors_of(index.BATCH, dim), 0, 0, time.time() + SECONDS
    while time.time() < end or not compactions:
        with collection.writing(place, dim, MODEL) as writer:
            for _ in range(20):
                count = writer.manifest["rows"]
                numbers = range(10**8 + count, 10**8 + count + index.BATCH)
                writer.append(vectors, paths_of(numbers), [7] * len(numbers), numbers, [count - 1])
                writer.publish()
                commits += 1
        compactions += compaction.compact(place) > 0
    stop.set()
    answers = [receiver.recv() for receiver in receivers]
    for reader in readers:
        reader.join()
    return answers, commits, compactions


def main(arguments=None):
    """Print a line for each step."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--rows", type=int, default=10_000_000, metavar="N", help="how many (default 10,000,000)")
    p.add_argument("--dim", type=int, default=16, metavar="D", help="numbers in an embedding (default 16)")
    p.add_argument("--small", type=int, default=100_000, metavar="N", help="rows that are read and written at once")
    options = p.parse_args(arguments)
    folder, context = Path(tempfile.mkdtemp(prefix="rows")), multiprocessing.get_context("spawn")
    try:
        for name in STEPS:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=measure, args=(name, folder / "idx", options.rows, options.dim, sender))
            process.start()
            sender.close()
            seconds, used, memory = receiver.recv()
            process.join()
            words = f"{seconds:.2f} s ({used:.2f} s of a core), {memory:,.0f} MB more memory"
            print(f"{name.replace('_', ' ')}: {words}", flush=True)
        fill(folder / "small", options.small, options.dim)
        answers, commits, compactions = read_and_write(folder / "small", options.dim, context)
        times, longest = sum(times for times, _ in answers), max(longest for _, longest in answers)
        words = f"{times:,} openings, the longest {longest:.2f} s; {commits:,} commits, {compactions} compactions"
        print(f"{READERS} readers beside a writer, {options.small:,} rows: {words}", flush=True)
        share, rate, each = share_of_checksums(folder / "filled")
        words = f"{100 * share:.1f} % of the time, {1e6 * each:.1f} us a picture, at {rate:,.0f} pictures/s"
        print(f"checksums, filling with 1,536 numbers without a model: {words}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
