"""Section 3.3: with the classification loss the model trains faster and more stably. What that means, and its tests.

Both definitions were written before any run was looked at.
sooner: the iterations until Recall@1 first reaches SHARE of what the worse row has on average at its end. Between two
  evaluations it is taken to rise in a straight line. A paired t test compares the iterations of the same seeds. A run
  that never reaches the recall counts as if it did at its end. That favours it, so it can never make a verdict against
  it too easy; a verdict for it is not given.
steadier: the standard deviation of Recall@1 at the end over seeds, compared by `pairs.spread_p`.
"""

import math

import numpy as np

from reproduce.tables import Cell
from reproduce.verdicts import pairs
from reproduce.verdicts.order import Comparison
from reproduce.verdicts.significance import paired_p, spread

SHARE = 0.9  # of the mean R@1 at the end of the row that is said to learn more slowly
FEWEST = 5  # evaluations of a run that can say when it reached a recall
PHRASES = {  # name, unit
    "sooner": ("{better} reaches %g %% of {worse}'s R@1 sooner than {worse}" % (100 * SHARE), " iterations"),
    "steadier": ("{better} spreads less over seeds than {worse}", " points of standard deviation"),
}


def reached(curve, target):
    """The iteration at which `curve`, [(iteration, R@1 in %), ...], first reaches `target`; None if it never does."""
    before = None
    for iteration, value in curve:
        if value >= target:
            if before is None:
                return float(iteration)
            return float(before[0] + (iteration - before[0]) * (target - before[1]) / (value - before[1]))
        before = iteration, value
    return None


def sooner(better, worse):
    """(cells, Comparison): does `better` reach the recall in fewer iterations? Each is {seed: curve}, see `reached`."""
    seeds = [seed for seed in better if seed in worse]
    if not seeds:
        return [None, None], Comparison("a row has no run yet", outcome="not run")
    if min(len(curve) for side in (better, worse) for curve in side.values()) <= FEWEST:
        rule = f"runs that were evaluated fewer than {FEWEST} times do not say when they reached a recall"
        return [None, None], Comparison(rule, outcome="not run")
    target = SHARE * float(np.mean([curve[-1][1] for curve in worse.values()]))
    found = [[reached(side[seed], target) for seed in seeds] for side in (better, worse)]
    ends = [[side[seed][-1][0] for seed in seeds] for side in (better, worse)]
    values = [[end if at is None else at for at, end in zip(*both)] for both in zip(found, ends)]
    holds, opposite = paired_p(values[1], values[:1]) if len(seeds) > 1 else (math.nan, math.nan)
    if not math.isnan(holds):
        holds, opposite = (1.0 if None in side else p for side, p in zip(found, (holds, opposite)))
    how = (
        f"iterations to {target:.1f} % R@1, {len(seeds)} runs of each; one-sided t tests of the same seeds' differences"
    )
    difference = float(np.mean(values[1]) - np.mean(values[0]))

    def more(*levels):
        return None if None in found[0] + found[1] else pairs.more_seeds([np.subtract(*values[::-1])], 0, *levels)

    return [cell_of(one, seeds) for one in values], Comparison(how, difference, (float(holds), float(opposite)), more)


def steadier(better, worse):
    """(cells, Comparison): do the final recalls of `better` spread less than those of `worse`? Each as in `sooner`."""
    seeds = [seed for seed in better if seed in worse]
    if not seeds:
        return [None, None], Comparison("a row has no run yet", outcome="not run")
    values = [[side[seed][-1][1] for seed in seeds] for side in (better, worse)]
    stds = [spread(one) for one in values]
    how = f"standard deviations of {len(seeds)} runs of each; one-sided Brown-Forsythe tests of pairs"
    cells = [None if math.isnan(std) else Cell(std, None, len(seeds)) for std in stds]
    if math.isnan(stds[0]):
        return cells, Comparison("a single run has no spread", outcome="undecided")
    return cells, Comparison(how, stds[1] - stds[0], pairs.spread_p(values[1], values[0]))


def cell_of(values, seeds):
    """The Cell of one value a seed."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Cell(float(np.mean(values)), std, len(values), "mean", tuple(values), tuple(seeds))


TESTS = {"sooner": sooner, "steadier": steadier}
