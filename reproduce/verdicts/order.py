"""Tests of claims that one side is better than others: do our runs show it, show the opposite, or neither?

Runs of one seed share their initial parameters and their batches, so two rows are compared in pairs, seed by seed.
All p of a family, the claims of a table or of a digest, are corrected together by Holm's method.
"""

import math
from typing import Callable, NamedTuple, Optional, Tuple

import numpy as np

from reproduce.verdicts import pairs
from reproduce.verdicts.significance import claim_p, holm, more_of_each, next_level, paired_p, spread
from reproduce.verdicts.verdict import chances, checked_level, finite, spreadless


class Ordering(NamedTuple):
    """What our runs say of a claim that a configuration is better than others. What cannot be computed is None."""

    outcome: str  # "holds", "does not hold", "undecided", "not run" or "no mini form"
    how: str
    difference: Optional[float] = None  # the better - the highest of the worse, in points
    p_holds: Optional[float] = None  # after Holm
    p_opposite: Optional[float] = None
    more: Optional[int] = None  # seeds of each configuration
    alone: Optional[Tuple[float, float]] = None  # (p_holds, p_opposite) before Holm, for the verdict on the table


class Comparison(NamedTuple):
    """A claim that is tested alone, before it is corrected with the others of its family (see `decide`)."""

    how: str
    difference: Optional[float] = None
    p: Tuple[float, float] = (math.nan, math.nan)  # of the claim, of its opposite; NaN where nothing can be tested
    more: Callable[..., Optional[int]] = lambda holds_level, opposite_level: None
    outcome: str = "undecided"  # where nothing is tested


def orders(claims, level=0.05, paired=()):
    """{claim: Ordering} of one family. claims: {claim: (better, [worse, ...])}, see `compare`; paired: some of them."""
    return decide({claim: compare(claim, *sides, claim in paired) for claim, sides in claims.items()}, level)


def compare(claim, better, worse, paired=False, statistic="mean"):
    """The Comparison that `better` is above each of `worse`; a side is a list of our values in %, one a run.

    One of `worse` can be a published number: a float. Then our mean is tested against it by a one-sided t test; it may
    be 0.05 off, which counts against the verdict.
    paired: the values of all sides are of the same seeds in the same order. Then the tests are t tests of their
    differences, or with statistic="median" signed-rank tests (see `pairs.signed_rank_p`); else they are Welch tests.
    The claim holds when `better` is shown to be above each of `worse` (the highest p counts). It does not hold when one
    of them is shown to be above `better` (the lowest p counts, times their number). There is no test, and the outcome
    is undecided, for a single run on a side and for no spread.
    Raises ValueError for values that are not finite, and for paired values that differ in number.
    """
    if len(worse) == 0:
        raise ValueError(f"{claim}: name at least one configuration that is worse")
    published = [side for side in worse if isinstance(side, float)]
    runs = [finite(claim, values) for values in (better, *(side for side in worse if not isinstance(side, float)))]
    if not all(runs):
        return Comparison("a configuration has no run yet", outcome="not run")
    counts, middle = [len(values) for values in runs], np.median if statistic == "median" else np.mean
    how = f"{statistic}s of {', '.join(map(str, counts))} runs"
    difference = float(middle(runs[0]) - max([*map(middle, runs[1:]), *published]))
    if paired and len(set(counts)) > 1:
        raise ValueError(f"{claim}: paired values must be the same number on each side, one for each run")
    if published:
        if len(runs) > 1:
            raise ValueError(f"{claim}: compare it with published numbers or with runs, not with both")
        p, kind = pairs.printed_p(runs[0], max(published)), "t test against the published number"
    elif paired and statistic == "median":
        p, kind = pairs.signed_rank_p(runs[0], runs[1:]), "signed-rank tests of the same seeds' differences"
    elif paired:
        p, kind = paired_p(runs[0], runs[1:]), "t tests of the same runs' differences"
    else:
        sides = [(float(np.mean(values)), spread(values), len(values)) for values in runs]
        p, kind = claim_p(sides[0], sides[1:]), "Welch tests"
    if math.isnan(p[0]):
        return Comparison(f"{how}; {spreadless(min(counts))}", difference)

    def more(*levels):
        if published:
            return pairs.more_seeds([np.subtract(runs[0], max(published))], pairs.ROUNDING, *levels)
        if paired:
            apart = [np.subtract(runs[0], low) for low in runs[1:]]
            return pairs.more_seeds(apart, 0, *levels, ranks=statistic == "median")
        return more_of_each(sides[0], sides[1:], *levels)

    return Comparison(f"{how}; one-sided {kind}", difference, tuple(map(float, p)), more)


def decide(tests, level=0.05):
    """{claim: Ordering} of the family `tests`, {claim: Comparison}; both directions are corrected by Holm's method.

    more: as in `verdict.judge`, for each configuration.
    """
    checked_level(level)
    p = [holm(one) for one in np.array([test.p for test in tests.values()], float).reshape(-1, 2).T]
    levels = [next_level(one, level) for one in p]
    tested = int(np.isfinite(p[0]).sum())
    orderings = {}
    for (claim, test), *ps in zip(tests.items(), *(one.tolist() for one in p)):
        if math.isnan(ps[0]):
            orderings[claim] = Ordering(test.outcome, test.how, test.difference)
            continue
        how, more = f"{test.how}, Holm's correction over {tested} claim{'s' * (tested > 1)}", None
        outcome = "holds" if ps[0] <= level else "does not hold"
        if min(ps) > level:
            outcome, more = "undecided", test.more(*levels)
            how += f"; {chances(more)}"
        orderings[claim] = Ordering(outcome, how, test.difference, *ps, more, test.p)
    return orderings
