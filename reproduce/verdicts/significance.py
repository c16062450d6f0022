"""The tests behind the verdicts: standard errors, p, Holm's correction, and how many more seeds would decide.

Every distribution is SciPy's t. Numbers can be arrays: all cells, or all simulated tables, at once.
"""

import math

import numpy as np
from scipy import stats

ROUNDING = 0.05  # points that a number printed to 0.1 can be away from the true one
LIMIT = 100  # the most additional seeds that are considered
CHANCE = 0.8  # the probability with which the additional seeds must decide
FEW = 3  # runs; with fewer on a side Welch's degrees of freedom are too optimistic
MEDIAN = math.pi / 2  # variance of a median over that of the mean of as many normal values; less for few of them


def spread(values):
    """Standard deviation (divided by n - 1); exactly 0 of equal values, NaN of a single one."""
    if len(values) == 1:
        return math.nan
    return float(np.std(values, ddof=1)) if min(values) < max(values) else 0.0


def welch(std, runs, other_std, other_runs):
    """(standard error, degrees of freedom) of a difference of means, by Welch; without any spread the latter is NaN.

    When a side has fewer than FEW runs, the degrees of freedom are the smaller side's n - 1, which is never too many
    (Mickey and Brown, 1966). Simulations show why: with two runs Welch's approximation can give a wrong verdict in half
    of all tables of 40 published cells, instead of 5 %. With three runs it does so in 12 % at worst, when our runs
    spread ten times as far as the published ones (7 % for five orderings of our own), and in less than 5 % when ours
    spread by half a point.
    """
    mine, other = np.square(std) / runs, np.square(other_std) / other_runs
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = (mine + other) ** 2 / (mine**2 / (runs - 1) + other**2 / (other_runs - 1))
    fewest = np.minimum(runs, other_runs)
    return np.sqrt(mine + other), np.where((fewest < FEW) & (freedom > 0), fewest - 1, freedom)


def std_ends(cell):
    """The lowest and the highest standard deviation (divided by n - 1) that a printed one can stand for.

    The paper does not say whether it divided by n or n - 1, so the highest assumes n.
    """
    return np.maximum(cell.std - ROUNDING, 0), (cell.std + ROUNDING) * math.sqrt(cell.runs / (cell.runs - 1))


def error_of(std, runs, cell):
    """(standard error, degrees of freedom) of ours - published, from our std and runs, by the statistic of `cell`.

    mean: Welch's, with the highest std that the printed one can stand for and the fewest degrees of freedom (they rise
    and then fall with the std, so they are fewest at an end).  median, single: our std stands for the published one,
    see `verdict.judge`.
    """
    if cell.statistic == "mean":
        (_, lowest), (error, highest) = (welch(std, runs, end, cell.runs) for end in std_ends(cell))
        return error, np.fmin(lowest, highest)
    factors = MEDIAN / runs + MEDIAN / cell.runs if cell.statistic == "median" else 1 / runs + 1
    return std * np.sqrt(factors), runs - 1


def error_of_ours(std, runs, cell):
    """As the error of `error_of`, but of a single number taken as it is printed: only our mean is uncertain."""
    return std / np.sqrt(runs) if cell.statistic == "single" else error_of(std, runs, cell)[0]


def p_values(difference, error, near, freedom, margin):
    """(two-sided p of no difference, p of less than `margin`, p of more than `margin`), for the worst rounding.

    error, near: standard errors, as of `error_of` and of `error_of_ours`, which the second p uses. It is the higher p
    of two one-sided tests (TOST). All are NaN where the error is.
    """
    away = np.abs(difference)
    different = 2 * stats.t.sf(np.maximum(away - ROUNDING, 0) / error, freedom)
    within = stats.t.sf((margin - away - ROUNDING) / near, freedom)
    return different, within, stats.t.sf((away - margin - ROUNDING) / error, freedom)


def holm(p):
    """p corrected over the last axis by Holm's method. NaN means not tested: it stays NaN and does not count."""
    p = np.asarray(p, float)
    order = np.argsort(p, axis=-1)  # NaN last
    factor = np.maximum(np.isfinite(p).sum(axis=-1, keepdims=True) - np.arange(p.shape[-1]), 1)
    raised = np.maximum.accumulate(np.take_along_axis(p, order, -1) * factor, axis=-1)
    corrected = np.empty_like(p)
    np.put_along_axis(corrected, order, np.minimum(raised, 1), -1)
    return corrected


def hochberg(p):
    """p corrected over the last axis by Hochberg's method: as `holm`, but where all p are at most a level, all stay so.

    It assumes that the p do not depend on each other, or rise together; the tests simulate both.
    """
    p = np.asarray(p, float)
    order = np.argsort(p, axis=-1)  # NaN last
    factor = np.maximum(np.isfinite(p).sum(axis=-1, keepdims=True) - np.arange(p.shape[-1]), 1)
    raised = np.take_along_axis(p, order, -1) * factor
    lowered = np.fmin.accumulate(raised[..., ::-1], axis=-1)[..., ::-1]
    corrected = np.empty_like(p)
    np.put_along_axis(corrected, order, np.where(np.isnan(raised), math.nan, np.minimum(lowered, 1)), -1)
    return corrected


def next_level(corrected, level, waiting=0):
    """The level that the next test of a family must reach in Holm's method. waiting: tests that are still to come."""
    return level / max(np.isfinite(corrected).sum() - (corrected <= level).sum() + waiting, 1)


def first(chance):
    """The smallest number of seeds, from 1, whose `chance` reaches CHANCE; None if none does."""
    enough = chance >= CHANCE
    return int(enough.argmax()) + 1 if enough.any() else None


def likely(std, freedom):
    """The median estimate of the true standard deviation: that of few runs is more often too small than too large."""
    return std * np.sqrt(freedom / stats.chi2.median(freedom))


def more_seeds(difference, std, runs, cell, margin, different_level, equivalent_level):
    """How many more seeds decide a cell with a probability of CHANCE, see `verdict.judge`; None if LIMIT do not."""
    known = runs - 1
    if runs == 1 and cell.statistic == "mean":
        std, known = std_ends(cell)[1], cell.runs - 1
    if known == 0 or std == 0:
        return None
    std, then = likely(std, known), runs + np.arange(1, LIMIT + 1)
    error, freedom = error_of(std, then, cell)
    near = error_of_ours(std, then, cell)
    within = np.maximum(margin - ROUNDING - stats.t.isf(equivalent_level, freedom) * near, 0)
    beyond = ROUNDING + stats.t.isf(different_level / 2, freedom) * error
    moves = std * np.sqrt((MEDIAN if cell.statistic == "median" else 1) * (1 / runs - 1 / then))

    def inside(reach):
        return stats.norm.cdf((reach - difference) / moves) - stats.norm.cdf((-reach - difference) / moves)

    return first(np.where(within >= beyond, 1, inside(within) + 1 - inside(beyond)))


def claim_p(high, lows):
    """(p of high above all `lows`, p of one of them above high). Each side is (mean, std, runs); NaN without spread."""
    p = []
    for low in lows:
        error, freedom = welch(*high[1:], *low[1:])
        p.append(stats.t.sf((high[0] - low[0]) / np.where(error > 0, error, math.nan), freedom))
    return np.max(p, axis=0), np.minimum(1, len(p) * np.min(1 - np.array(p), axis=0))


def paired_p(high, lows):
    """As `claim_p`, for values of the same runs: one-sided t tests of their differences."""
    p = []
    for low in lows:
        apart = np.subtract(high, low)
        error = spread(apart) / math.sqrt(len(apart))
        p.append(stats.t.sf(np.mean(apart) / error, len(apart) - 1) if error > 0 else math.nan)
    return np.max(p), np.minimum(1, len(p) * np.min(1 - np.array(p)))


def more_of_each(high, lows, holds_level, opposite_level):
    """How many more seeds of each side decide a claim with a probability of CHANCE; None if LIMIT do not."""
    more, misses, opposite = np.arange(1, LIMIT + 1), 0, 0
    for low in lows:
        (a, n), (b, m) = ((likely(std, runs - 1), runs) for _, std, runs in (high, low))
        error, freedom = welch(a, n + more, b, m + more)
        moves = np.sqrt(a**2 * (1 / n - 1 / (n + more)) + b**2 * (1 / m - 1 / (m + more)))
        misses += stats.norm.cdf((stats.t.isf(holds_level, freedom) * error - (high[0] - low[0])) / moves)
        below = low[0] - high[0] - stats.t.isf(opposite_level / len(lows), freedom) * error
        opposite = np.maximum(opposite, stats.norm.cdf(below / moves))
    return first(np.maximum(1 - misses, 0) + opposite)
