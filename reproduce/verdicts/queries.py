"""Two configurations compared query by query: what their runs of the same seeds found at the same test pictures.

A hit is a query whose nearest item is of its class (for R@K, one of the K nearest). The difference of two rows is the
mean over queries of (hits of the one - hits of the other), each the mean over the seeds that both have. So it is the
difference of the means of their Recall@K over these seeds. Queries of one class succeed and fail together, and so do
their differences: the sample is the classes, not the pictures. The interval is that of a t test with classes as
clusters: of the mean of the class means where all classes have as many pictures, and of their ratio of sums by its
linear part (Cochran, Sampling Techniques, 3rd edition, 6.3) where they have not. It is a formula, so that anybody gets
the same digits; a bootstrap of classes would draw. tests/reproduce/test_queries.py simulates both: with 100 classes of
20 pictures it covers the true difference in 95 % of all samples, and an interval that takes each picture for a draw of
its own in fewer.

It answers another question than the test over seeds. That one asks whether other seeds would show the same order at
these pictures; this one, whether these networks would show it at other classes. A claim on the method needs both.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05  # of the interval, two-sided
FEWEST = 10  # classes; with fewer the t distribution is too narrow for shares that are not normal


class Paired(NamedTuple):
    """The difference of two configurations at the same queries, in points, with its interval and two-sided p.

    p is NaN, and the interval is the difference alone, where no class differs from another.
    """

    difference: float
    low: float
    high: float
    p: float
    seeds: int
    queries: int
    classes: int


def compare(better, worse, classes):
    """The Paired of two configurations; None without a common seed, and with fewer than FEWEST classes.

    better, worse: {seed: hits (N,)}, true or false for each query.  classes: (N,), the class of each query.
    Raises ValueError if they are of different numbers of queries.
    """
    seeds = sorted(better.keys() & worse.keys())
    classes = np.asarray(classes)
    shapes = {np.shape(side[seed]) for side in (better, worse) for seed in seeds}
    if shapes - {classes.shape}:
        raise ValueError(f"hits of {sorted(shapes)} queries must be as many as the {classes.shape} classes of queries")
    numbers = np.unique(classes, return_inverse=True)[1]
    if not seeds or len(set(numbers.tolist())) < FEWEST:
        return None
    wins = np.sum([np.subtract(better[s], worse[s], dtype=np.int64) for s in seeds], axis=0)  # (N,), whole numbers
    sums, sizes = np.bincount(numbers, wins), np.bincount(numbers)
    mean, error = clustered(sums, sizes)
    freedom = len(sums) - 1
    difference = 100 * int(wins.sum()) / (len(seeds) * len(classes))  # exact, so that 0.05 is rounded one way
    reach = 100 * float(stats.t.isf(LEVEL / 2, freedom)) * error / len(seeds)
    p = 2 * float(stats.t.sf(abs(mean) / error, freedom)) if error > 0 else math.nan
    return Paired(difference, difference - reach, difference + reach, p, len(seeds), len(classes), len(sums))


def clustered(sums, sizes):
    """(mean, its standard error) of values whose sums and numbers over clusters these are, clusters on the last axis.

    Of clusters of one size the error is that of the mean of the cluster means.
    """
    clusters, total = sums.shape[-1], sizes.sum(axis=-1)
    mean = sums.sum(axis=-1) / total
    residuals = sums - np.expand_dims(mean, -1) * sizes
    variance = (residuals**2).sum(axis=-1) * clusters / (clusters - 1)
    return (float(mean), float(np.sqrt(variance)) / total) if sums.ndim == 1 else (mean, np.sqrt(variance) / total)


def cell(paired):
    """ "+1.2 (+0.3 to +2.1)" for a table, in points with the interval; "-" for None."""
    return f"{paired.difference:+.1f} ({paired.low:+.1f} to {paired.high:+.1f})" if paired else "-"


def phrase(compared):
    """ "at the same queries +1.2 points (95 % CI +0.3 to +2.1)" of [Paired, ...]; "" where one is missing."""
    if not compared or None in compared:
        return ""
    each = [
        f"{one.difference:+.1f} points ({100 * (1 - LEVEL):g} % CI {one.low:+.1f} to {one.high:+.1f})"
        for one in compared
    ]
    return f"at the same queries {', '.join(each)}"
