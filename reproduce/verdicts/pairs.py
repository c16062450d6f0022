"""Tests of runs in pairs, which share their seed, and of runs against a printed number."""

import itertools
import math

import numpy as np
from scipy import stats

from reproduce.verdicts.significance import LIMIT, ROUNDING, first, likely, paired_p, spread

EXACT = 12  # pairs; for more of them signs are drawn
DRAWN = 20_000  # of these signs, with a seed of their own


def printed_p(values, printed):
    """(p of our mean above the number `printed`, p of it below): t tests of one sample. NaN without any spread.

    The printed number can be ROUNDING higher or lower, whichever is against the test.
    """
    error = spread(values) / math.sqrt(len(values)) if len(values) > 1 else 0
    if not error > 0:
        return math.nan, math.nan
    apart, freedom = np.mean(values) - printed, len(values) - 1
    return stats.t.sf((apart - ROUNDING) / error, freedom), stats.t.cdf((apart + ROUNDING) / error, freedom)


def signed_rank_p(high, lows):
    """(p of high above all `lows`, p of one of them above high) for medians: Wilcoxon's signed-rank tests of the pairs.

    If no side is better, the two values of a seed could as well be exchanged: each sign of a difference is equally
    likely. So the test is exact for five pairs and for ten, whatever the distribution, and with ties (the rank sums of
    all signs are counted). It is a test of the shift between the medians, for differences that are symmetric around it.
    The difference of the two medians itself cannot be tested in this way: exchanging a pair that is above both medians
    moves neither, so many signs give the same difference. A bootstrap of ten values has too few medians for levels like
    0.05 / 9. What is printed must agree: p is 1 for a side whose median is not the higher one. NaN if all differences
    are 0, and for a single pair.
    """
    p = []
    for low in lows:
        apart = np.subtract(high, low)
        if len(apart) < 2 or not np.any(apart):
            p.append((math.nan, math.nan))
            continue
        above = np.median(high) - np.median(low)
        ranks, signs = stats.rankdata(np.abs(apart)) * (apart != 0), signs_of(len(apart))
        sums, own = signs @ ranks, np.sign(apart) @ ranks
        holds, opposite = np.mean(sums >= own - 1e-9), np.mean(sums <= own + 1e-9)
        p.append((holds if above > 0 else 1.0, opposite if above < 0 else 1.0))
    holds, opposite = np.transpose(p)
    return np.max(holds), np.minimum(1, len(p) * np.min(opposite))


def signs_of(pairs):
    """Every choice of signs of `pairs` differences, (2^pairs, pairs); of many pairs DRAWN ones, always the same."""
    if pairs <= EXACT:
        return np.array(list(itertools.product((1, -1), repeat=pairs)))
    drawn = np.random.default_rng(0).choice((1, -1), size=(DRAWN, pairs))
    return np.concatenate([np.ones((1, pairs), int), -np.ones((1, pairs), int), drawn])


def spread_p(wide, narrow):
    """(p of `wide` spreading more than `narrow`, p of it spreading less), for runs in pairs. NaN for two pairs.

    Brown and Forsythe's test, seed by seed: a paired t test of how far each run is from the median of its side. It is
    right however the two runs of a seed are correlated, for heavy tails and for skew (the tests simulate them), where
    Pitman and Morgan's test of normal pairs is wrong in up to 10 %. For five pairs it is careful: it errs in 2 %.
    """
    far, near = (np.abs(np.subtract(side, np.median(side))) for side in (wide, narrow))
    return paired_p(far, [near])


def more_seeds(aparts, off, holds_level, opposite_level, ranks=False):
    """How many more seeds decide a claim with a probability of CHANCE; None if LIMIT do not.

    aparts: the differences of each pair of sides.  off: points that a difference must exceed.
    ranks: as if t tests decided, but only from as many pairs as a signed-rank test needs.
    """
    more, misses, opposite = np.arange(1, LIMIT + 1), 0, 0
    for apart in aparts:
        mean, now = float(np.mean(apart)), len(apart)
        std, then = likely(spread(apart), now - 1), now + more
        error, moves = std / np.sqrt(then), std * np.sqrt(1 / now - 1 / then)
        if not std > 0:
            return None
        above = off + stats.t.isf(holds_level, then - 1) * error
        below = off + stats.t.isf(opposite_level / len(aparts), then - 1) * error
        misses += stats.norm.cdf((above - mean) / moves)
        opposite = np.maximum(opposite, stats.norm.cdf((-below - mean) / moves))
    enough = 0.5 ** (now + more) <= min(holds_level, opposite_level / len(aparts)) if ranks else True
    return first((np.maximum(1 - misses, 0) + opposite) * enough)
