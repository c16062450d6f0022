"""The rates behind docs/scale.md, besides embedding: listing, cutting, joining, and `index` on an unchanged folder.

The pictures are empty files and the embeddings random ones, for none is decoded and no network computes. Each line is
measured in a process of its own, whose memory it prints.
"""

import argparse
import multiprocessing
import os
import shutil
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

from gluon_cgd.files.whole import write_json
from gluon_cgd.retrieval import collection, index, mending, sources
from gluon_cgd.shards import joining
from gluon_cgd.shards import plan as plans

A_FOLDER = 1_000  # files
MODEL = dict(parameters_sha256="0" * 64, name="random", source="none")


def make_files(folder, count):
    """`count` empty pictures in `folder`, A_FOLDER in each folder."""
    for number in range(count):
        if number % A_FOLDER == 0:
            place = folder / f"{number // A_FOLDER:06d}"
            place.mkdir(parents=True)
        (place / f"{number:09d}.jpg").touch()


def vectors_of(count, dim):
    """float32 (count, dim) of unit length."""
    vectors = np.random.default_rng(0).standard_normal((count, dim), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def look(place, count, dim):
    """The least that can be done: every folder is read, and every file looked at."""
    folders, found = [place / "files"], 0
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.path)
                else:
                    os.stat(entry.path)
                    found += 1
    return found


def list_files(place, count, dim):
    """The walk of the folder."""
    return sum(1 for _ in sources.pictures_of(place / "files"))


def cut(place, count, dim):
    """The list on the disk, in 64 parts."""
    plans.place(place / "idx").mkdir()
    return plans.make(place / "idx", place / "files", 64, {}).pictures


def fill(place, count, dim):
    """Shards as `index` writes them, with random embeddings, 64 rows at a time."""
    plan, vectors = plans.read(place / "idx"), vectors_of(index.BATCH, dim)
    for number in plan.filled:
        paths = list(plan.paths(number))
        with collection.writing(plan.shard(number), dim, MODEL) as writer:
            writer.describe(MODEL, plan.source)
            for start in range(0, len(paths), index.BATCH):
                part = paths[start : start + index.BATCH]
                writer.append(vectors[: len(part)], part, [0] * len(part), [os.stat(path).st_mtime_ns for path in part])
            writer.publish()
        write_json(plan.summary_file(number), dict(rows=len(paths), pictures=len(paths)))
    return count


def join(place, count, dim):
    """The join of 64 shards."""
    joining.check_same = lambda *models: None  # of a model that is none
    return joining.join(plans.read(place / "idx"), place / "idx")


def open_index(place, count, dim):
    """An index is opened."""
    return len(collection.read(place / "idx"))


def update(place, count, dim):
    """`index` on the unchanged folder, without its model and without comparing the embeddings: it is walked twice."""
    assert sum(1 for _ in sources.pictures_of(place / "files")) == count
    with collection.writing(place / "idx", dim, MODEL) as writer:
        *_, done = index.update(writer, place / "files", None, 224)
    return done.same


def fill_one(place, count, dim):
    """One index, as shards that are joined would give it, 4,096 rows at a time."""
    vectors, names = vectors_of(4096, dim), sources.pictures_of(place / "files")
    with collection.writing(place / "idx", dim, MODEL) as writer:
        writer.describe(MODEL, str(place / "files"))
        for paths in iter(lambda: list(islice(names, 4096)), []):
            times = [os.stat(path).st_mtime_ns for path in paths]
            writer.append(vectors[: len(paths)], paths, [0] * len(paths), times)
        writer.publish()
    return count


def compare(place, count, dim):
    """Every embedding is compared with its checksum, as `index` does first."""
    mending.mend(place / "idx")
    return count


STEPS = dict(
    listing=list_files,
    cutting=cut,
    filling=fill,
    joining=join,
    opening=open_index,
    comparing=compare,
    looking=look,
    unchanged=update,
)
UNSHARDED = dict(filling=fill_one, opening=open_index, comparing=compare, looking=look, unchanged=update)


def peak():
    """The most memory that this process has had, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():  # getrusage counts the process before exec() too
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1e3
    raise OSError("/proc/self/status has no VmHWM: measure on Linux")


def measure(name, place, count, dim, is_sharded, sender):
    """Send (seconds, seconds of the processor, pictures, MB of memory) of a step."""
    before, used = peak(), time.process_time()
    start = time.perf_counter()
    done = (STEPS if is_sharded else UNSHARDED)[name](place, count, dim)
    seconds = time.perf_counter() - start
    sender.send((seconds, time.process_time() - used, done, peak() - before))


def main(arguments=None):
    """Print a line for each step."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--pictures", type=int, default=100_000, metavar="N", help="how many (default 100,000)")
    p.add_argument("--dim", type=int, default=1536, metavar="D", help="numbers in an embedding (default 1536)")
    p.add_argument("--unsharded", action="store_true", help="only what `index` does with an index that is there")
    options = p.parse_args(arguments)
    steps, times = UNSHARDED if options.unsharded else STEPS, {}
    place, context = Path(tempfile.mkdtemp(prefix="scale")), multiprocessing.get_context("spawn")
    try:
        make_files(place / "files", options.pictures)
        for name in steps:
            receiver, sender = context.Pipe(duplex=False)
            given = (name, place, options.pictures, options.dim, not options.unsharded, sender)
            process = context.Process(target=measure, args=given)
            process.start()
            sender.close()
            seconds, used, done, memory = receiver.recv()
            process.join()
            assert done == options.pictures, name
            times[name] = seconds, used
            rate = f"{done / seconds:,.0f} pictures/s"
            print(f"{name}: {seconds:.1f} s ({used:.1f} s of a core), {rate}, {memory:,.0f} MB more memory", flush=True)
        ratio, of_a_core = (mine / least for mine, least in zip(times["unchanged"], times["looking"]))
        words = f"takes {ratio:.2f} times as long as a look at every file, and {of_a_core:.2f} times the processor"
        print(f"`index` on an unchanged folder {words}")
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
