"""Preparing pictures and reading batches, against a plain OpenCV loop: python benchmarks/pictures.py DATASET [DIR]

Prints ratios of rates that are measured in turns on the same pictures; the rates themselves hold for this machine only.
"""

import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from gluon_cgd import datasets
from gluon_cgd.commands.options import main_of
from gluon_cgd.datasets import images
from gluon_cgd.datasets.cache import cached as prepared
from gluon_cgd.machine import facts
from gluon_cgd.sampler import ClassBalancedSampler

ROUNDS = 5
BATCH = 128


def plain(record, side):
    """The obvious way: read, decode, crop, resize."""
    x1, y1, x2, y2 = record.box or (0, 0, None, None)
    return cv2.resize(cv2.imread(record.path)[y1:y2, x1:x2], (side, side))


def rate(call, pictures):
    """Pictures per second of `call`."""
    start = time.perf_counter()
    call()
    return pictures / (time.perf_counter() - start)


def prepare(records, side, cores):
    """The rate of `cache.cached` with an empty cache and `cores` threads."""
    cv2.setNumThreads(1)
    all_cores, facts.cores = facts.cores, lambda: cores
    try:
        with tempfile.TemporaryDirectory() as folder:
            return rate(lambda: prepared(records, side, folder), len(records))
    finally:
        facts.cores = all_cores


def loop(records, side, cores, keep):
    """The rate of the plain loop on `cores` threads; keep: whether it keeps its pictures in memory."""
    cv2.setNumThreads(1)

    def work(part):
        return [plain(record, side) for record in part] if keep else [plain(record, side) is None for record in part]

    with ThreadPoolExecutor(cores) as pool:
        return rate(lambda: list(pool.map(work, [records[core::cores] for core in range(cores)])), len(records))


def batches(records, side, size, pictures):
    """Training pictures per second in batches of BATCH: (from the cache `pictures`, decoded each time, a bare copy)."""
    labels = [record.label for record in records]
    classes = min(32, len(set(labels)))
    sampler = ClassBalancedSampler(labels, classes, -(-BATCH // classes))
    buffer = np.empty((BATCH, size, size, 3), np.uint8)
    flat, target = np.asarray(pictures).reshape(len(pictures), -1), buffer.reshape(BATCH, -1)

    def cached():
        for iteration in range(50):
            indices, rng = sampler.batch(iteration)
            images.augment(pictures, indices[:BATCH], size, rng, buffer)

    def decoded():
        indices, rng = sampler.batch(0)
        fresh = np.stack([plain(records[i], side) for i in indices[:BATCH]])
        images.augment(fresh, np.arange(BATCH), size, rng, buffer)

    def copied():
        for iteration in range(50):
            for row, i in zip(target, range(iteration * 37, iteration * 37 + BATCH)):
                row[:] = flat[i % len(flat), : len(row)]

    return rate(cached, 50 * BATCH), rate(decoded, BATCH), rate(copied, 50 * BATCH)


def add_flags(p):
    """The flags of this script."""
    p.add_argument("dataset")
    p.add_argument("data", nargs="?")
    p.add_argument("--pictures", type=int, default=2000, help="how many to use (default 2000)")
    p.add_argument("--input-size", type=int, default=224)


def run(options):
    """Measure and print."""
    records = datasets.load(options.dataset, options.data, allow_partial=True).train[: options.pictures]
    size, side = options.input_size, options.input_size * 9 // 8
    for record in records:  # reads them into the system's cache, so that the disk is not measured
        plain(record, side)
    for cores in sorted({1, facts.cores()}):
        for keep, words in ((True, "keeping its pictures"), (False, "throwing them away")):
            rounds = [(prepare(records, side, cores), loop(records, side, cores, keep)) for _ in range(ROUNDS)]
            ours, theirs = (statistics.median(rates) for rates in zip(*rounds))
            ratio = statistics.median(a / b for a, b in rounds)
            print(
                f"prepare, {cores} cores: {ours:,.0f} img/s; plain loop {words}: {theirs:,.0f} img/s; ratio {ratio:.2f}"
            )
    with tempfile.TemporaryDirectory() as folder:
        pictures = prepared(records, side, folder)
        batches(records, side, size, pictures)  # maps the cache into memory, which a run does once
        rounds = [batches(records, side, size, pictures) for _ in range(ROUNDS)]
    ours, theirs, copied = (statistics.median(rates) for rates in zip(*rounds))
    ratio, limit = (statistics.median(rates[i] / rates[1] for rates in rounds) for i in (0, 2))
    print(f"batches of {BATCH}: {ours:,.0f} img/s from the cache, {theirs:,.0f} img/s decoded; ratio {ratio:.1f}")
    print(f"a bare copy of as many bytes: {copied:,.0f} img/s; ratio {limit:.1f}")


main = main_of(__doc__, add_flags, run)

if __name__ == "__main__":
    sys.exit(main())
