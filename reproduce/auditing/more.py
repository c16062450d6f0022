"""How many more seeds would decide, if the effect is what the seeds so far show: as the documents say it."""

import math

import numpy as np
from scipy import special

from reproduce.auditing import inference as tests

THEN = np.arange(1, tests.MOST_SEEDS + 1)


def likely(std, freedom):
    """The standard deviation of which a sample's is as often below as above."""
    return std * math.sqrt(freedom / (2 * special.gammaincinv(freedom / 2, 0.5)))


def fewest(chance):
    """The smallest number of seeds whose chance is enough, None if there is none."""
    enough = np.asarray(chance) >= tests.SURE
    return int(np.argmax(enough)) + 1 if enough.any() else None


def of_pairs(aparts, off, levels, ranks=False):
    """Of a claim that is tested in pairs. aparts: the differences of each pair of sides.  off: points to exceed.

    levels: for the claim and for its opposite.  ranks: whether a signed-rank test decides.
    """
    misses, opposite = np.zeros(len(THEN)), np.zeros(len(THEN))
    for apart in aparts:
        now, mean, spread = len(apart), float(np.mean(apart)), tests.deviation(list(apart))
        if not spread > 0:
            return None
        std, then = likely(spread, now - 1), now + THEN
        moves = std * np.sqrt(1 / now - 1 / then)
        above = off + tests.quantile(levels[0], then - 1) * std / np.sqrt(then)
        below = off + tests.quantile(levels[1] / len(aparts), then - 1) * std / np.sqrt(then)
        misses = misses + tests.normal((above - mean) / moves)
        opposite = np.maximum(opposite, tests.normal((-below - mean) / moves))
    chance = np.maximum(1 - misses, 0) + opposite
    if ranks:
        chance = chance * (0.5 ** (len(aparts[0]) + THEN) <= min(levels[0], levels[1] / len(aparts)))
    return fewest(chance)


def of_sides(high, lows, levels):
    """Of a claim that Welch's tests decide."""
    misses, opposite = np.zeros(len(THEN)), np.zeros(len(THEN))
    for low in lows:
        (a, n), (b, m) = ((likely(tests.deviation(side), len(side) - 1), len(side)) for side in (high, low))
        found = [tests.welch(a, n + k, b, m + k) for k in THEN.tolist()]
        error, freedom = (np.array(part) for part in zip(*found))
        moves = np.sqrt(a * a * (1 / n - 1 / (n + THEN)) + b * b * (1 / m - 1 / (m + THEN)))
        apart = float(np.mean(high)) - float(np.mean(low))
        misses = misses + tests.normal((tests.quantile(levels[0], freedom) * error - apart) / moves)
        below = -apart - tests.quantile(levels[1] / len(lows), freedom) * error
        opposite = np.maximum(opposite, tests.normal(below / moves))
    return fewest(np.maximum(1 - misses, 0) + opposite)


def of_cell(difference, std, runs, published, levels):
    """Of a published number. levels: for a difference, and for less than the margin."""
    known = runs - 1
    if runs == 1 and published.statistic == "mean":
        std, known = tests.ends(published)[1], published.runs - 1
    if known == 0 or std == 0:
        return None
    std, median = likely(std, known), published.statistic == "median"
    chances = []
    for then in (runs + THEN).tolist():
        error, freedom = tests.error(std, then, published)
        near = tests.error_of_ours(std, then, published)
        within = max(tests.MARGIN - tests.ROUNDING - tests.quantile(levels[1], freedom) * near, 0)
        beyond = tests.ROUNDING + tests.quantile(levels[0] / 2, freedom) * error
        moves = std * math.sqrt((tests.MEDIAN if median else 1) * (1 / runs - 1 / then))
        inside = [
            tests.normal((reach - difference) / moves) - tests.normal((-reach - difference) / moves)
            for reach in (within, beyond)
        ]
        chances.append(1 if within >= beyond else inside[0] + 1 - inside[1])
    return fewest(chances)
