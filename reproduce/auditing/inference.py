"""The tests behind the verdicts, implemented a second time: from their definitions, with other functions of SciPy.

Student's t comes from `special.stdtr`, chi-squared from the incomplete gamma function; rank sums are counted instead of
listed. NaN means that there is nothing to test.
"""

import math

import numpy as np
from scipy import special

ROUNDING = 0.05  # points that a number printed to a tenth can be off
MARGIN, LEVEL = 1.0, 0.05
MOST_SEEDS, SURE = 100, 0.8  # more seeds that are considered, and the chance with which they must decide
MEDIAN = math.pi / 2  # variance of a normal sample's median over that of its mean
COUNTED = 12  # pairs up to which the signs of a signed-rank test are counted; of more, 20,000 are drawn
NAN = math.nan


def upper(t, freedom):
    """The chance that Student's t is above `t`."""
    return special.stdtr(freedom, -np.asarray(t, float))


def quantile(p, freedom):
    """The t that is exceeded with the chance `p`."""
    return -special.stdtrit(freedom, p)


def normal(x):
    """The chance that a normal value is below `x`."""
    return special.ndtr(x)


def deviation(values):
    """The standard deviation (n - 1) of the values: 0 if they are equal, NaN of one."""
    if len(values) < 2:
        return NAN
    return 0.0 if min(values) == max(values) else float(np.std(values, ddof=1))


def welch(a, n, b, m):
    """(standard error, degrees of freedom) of a difference of means; of two runs the fewest degrees there can be."""
    if min(n, m) < 2:
        return NAN, NAN
    u, v = a * a / n, b * b / m
    if u + v == 0:
        return 0.0, NAN
    freedom = (u + v) ** 2 / ((u * u / (n - 1) if u else 0) + (v * v / (m - 1) if v else 0))
    return math.sqrt(u + v), min(n, m) - 1 if min(n, m) < 3 else freedom


def error(std, runs, published):
    """(standard error, degrees of freedom) of ours - published, by what the paper prints."""
    if published.statistic == "single":
        return std * math.sqrt(1 / runs + 1), runs - 1
    if published.statistic == "median":
        return std * math.sqrt(MEDIAN * (1 / runs + 1 / published.runs)), runs - 1
    low, high = ends(published)
    found = [welch(std, runs, end, published.runs) for end in (low, high)]
    freedom = [each for _, each in found if not math.isnan(each)]
    return found[1][0], min(freedom) if freedom else NAN


def ends(published):
    """The lowest and highest standard deviation that the printed one can be, whether divided by n or n - 1."""
    n = published.runs
    return max(published.std - ROUNDING, 0.0), (published.std + ROUNDING) * math.sqrt(n / (n - 1))


def error_of_ours(std, runs, published):
    """The standard error where a single number is taken as it is printed."""
    return std / math.sqrt(runs) if published.statistic == "single" else error(std, runs, published)[0]


def adjusted(p, hochberg=False):
    """p corrected by Holm's method, or by Hochberg's; NaN stays NaN and does not count."""
    tested = sorted((value, place) for place, value in enumerate(p) if not math.isnan(value))
    out, count = [NAN] * len(p), len(tested)
    raised = [min(1.0, (count - rank) * value) for rank, (value, _) in enumerate(tested)]
    if hochberg:
        for rank in range(count - 2, -1, -1):
            raised[rank] = min(raised[rank], raised[rank + 1])
    else:
        for rank in range(1, count):
            raised[rank] = max(raised[rank], raised[rank - 1])
    for (_, place), value in zip(tested, raised):
        out[place] = value
    return out


def next_level(corrected, waiting=0):
    """The level that the next test of a family must reach."""
    tested = [value for value in corrected if not math.isnan(value)]
    return LEVEL / max(len(tested) - sum(value <= LEVEL for value in tested) + waiting, 1)


def paired(high, lows):
    """(p that high is above all lows, p that one is above high): t tests of the differences of equal seeds."""
    p = []
    for low in lows:
        apart = [a - b for a, b in zip(high, low)]
        error = deviation(apart) / math.sqrt(len(apart)) if apart else NAN
        p.append(upper(np.mean(apart) / error, len(apart) - 1) if error > 0 else NAN)
    return both(p, [1 - value for value in p])


def apart(high, lows):
    """As `paired`, by Welch's test of runs with other seeds."""
    p = []
    for low in lows:
        error, freedom = welch(deviation(high), len(high), deviation(low), len(low))
        p.append(upper((np.mean(high) - np.mean(low)) / error, freedom) if error > 0 else NAN)
    return both(p, [1 - value for value in p])


def both(holds, opposite):
    """The highest p of the claim, and the lowest of its opposite times their number; NaN if one is NaN."""
    if any(math.isnan(value) for value in (*holds, *opposite)):
        return NAN, NAN
    return float(max(holds)), float(min(1.0, len(opposite) * min(opposite)))


def against_printed(values, printed):
    """(p that our mean is above a printed number, p that it is below)."""
    error = deviation(values) / math.sqrt(len(values)) if len(values) > 1 else NAN
    if not error > 0:
        return NAN, NAN
    away, freedom = np.mean(values) - printed, len(values) - 1
    return float(upper((away - ROUNDING) / error, freedom)), float(upper(-(away + ROUNDING) / error, freedom))


def signed_ranks(high, lows):
    """As `paired`, for medians: Wilcoxon's signed-rank tests. p is 1 for a side whose median is not the higher one."""
    holds, opposite = [], []
    for low in lows:
        apart = np.array([a - b for a, b in zip(high, low)])
        if len(apart) < 2 or not apart.any():
            return NAN, NAN
        up, down = rank_p(apart)
        above = float(np.median(high)) - float(np.median(low))
        holds.append(up if above > 0 else 1.0)
        opposite.append(down if above < 0 else 1.0)
    return both(holds, opposite)


def rank_p(apart):
    """(p of a sum of signed ranks as high, p of one as low) when each sign is as likely."""
    order = np.sort(np.abs(apart))
    ranks = [
        int(np.searchsorted(order, abs(value), "left") + np.searchsorted(order, abs(value), "right") + 1)
        for value in apart
    ]  # twice the mean rank, so that it is whole
    ranks = [rank if value != 0 else 0 for rank, value in zip(ranks, apart)]
    own = sum(rank if value > 0 else -rank if value < 0 else 0 for rank, value in zip(ranks, apart))
    if len(apart) > COUNTED:
        drawn = np.random.default_rng(0).choice((1, -1), size=(20_000, len(apart))) @ ranks
        drawn = np.concatenate([[sum(ranks), -sum(ranks)], drawn])
        return float(np.mean(drawn >= own)), float(np.mean(drawn <= own))
    ways = {0: 1}  # of each sum
    for rank in ranks:
        step = {}
        for total, count in ways.items():
            for sign in (rank, -rank):
                step[total + sign] = step.get(total + sign, 0) + count
        ways = step
    every = 2 ** len(ranks)
    high = sum(count for total, count in ways.items() if total >= own)
    return high / every, sum(count for total, count in ways.items() if total <= own) / every


def spreads(wide, narrow):
    """(p that `wide` spreads more than `narrow`, p that it spreads less): Brown and Forsythe's test in pairs."""
    far, near = ([abs(value - float(np.median(side))) for value in side] for side in (wide, narrow))
    return paired(far, [near])
