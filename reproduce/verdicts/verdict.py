"""Judges how far our runs are from each published number of a table; order.py judges the paper's orderings.

Which family needs which correction:
- A difference of one cell ("higher", "lower"): Holm's method over the cells of a table, in Table 7 over each benchmark.
  It is valid however the cells depend on each other (the Recall@K of a row come from the same runs).
- One cell within the margin: Hochberg's method over the same cells. It is valid where they are independent or rise
  together, as recalls of a run do, and it agrees with the table: all cells are within a point exactly when each is at
  `level` by itself.
- A table is reproduced when all its cells are within the margin and all its claims hold. That needs no correction: one
  statement is made, and it is wrong only if a part is wrong that has passed a test of `level` (see `table.py`). A
  margin of one point is larger than most effects that the paper claims, so cells alone prove nothing: claims decide.
- A table is not reproduced when one of its cells is beyond the margin, or one of its claims is contradicted:
  Bonferroni's method over both.
- A claim counts for its table if the printed numbers differ by more than rounding can make, 0.1. A smaller effect, such
  as Table 7's 94.8 against 94.7, is not a claim that numbers with one decimal support, and dozens of seeds could not
  show it.

The p assume that the number of seeds was fixed before the runs. Adding seeds until a cell is decided gives wrong
verdicts more often than `level`. `power.py` computes how many a table needs.
"""

import math
from typing import NamedTuple, Optional, Tuple

import numpy as np
from scipy import stats

from reproduce.verdicts.significance import (
    CHANCE,
    LIMIT,
    ROUNDING,
    error_of,
    error_of_ours,
    hochberg,
    holm,
    more_seeds,
    next_level,
    p_values,
    spread,
)

WITHIN = "within a point"
COMPARED = {  # by the statistic of the published number
    "mean": "mean of {runs} runs against the published mean and std of {published} runs",
    "median": "median of {runs} runs against the published median of {published}, assuming that they spread alike",
    "single": "mean of {runs} runs against one published number, taken as one more run (if it was picked as the best "
    "of several, 'lower' may be due to that alone)",
}


class Verdict(NamedTuple):
    """What our runs say of one published number. A field that cannot be computed is None."""

    outcome: str  # "within a point", "higher", "lower", "undecided" or "not run"
    how: str  # what was compared, and with which assumptions
    level: float = 0.05
    difference: Optional[float] = None  # ours - published, in points
    interval: Optional[Tuple[float, float]] = None  # of the difference at 1 - level, for this cell alone
    p_different: Optional[float] = None  # of the test that shows a difference, after Holm
    p_equivalent: Optional[float] = None  # of the test that shows that it is below the margin, after Hochberg
    more: Optional[int] = None  # seeds that would decide an undecided one; None where no number would
    alone: Optional[Tuple[float, float]] = None  # p of less and of more than the margin, uncorrected, for the table


def judge(cells, margin=1.0, level=0.05):
    """{place: Verdict} for one table.

    cells: {place: (values, Cell)}, values in %, one for each seed; None or empty where nothing has run.

    The standard error e of our difference from a published number depends on what the paper prints:
      mean and std of n runs: Welch's test, from the means and stds (a more careful one for two runs).
      median of n runs: the paper prints no spread, so we assume that its runs spread as ours, with our std s. Ours is a
        median too. Both have the variance of a normal sample's median: e = s sqrt(pi/2 (1/ours + 1/n)).
      single number: we treat it as one more run, e = s sqrt(1 + 1/ours); the interval is then a prediction interval.
        "higher" and "lower" mean that this number would be a surprise among our runs. If the authors picked it as the
        best of several runs, that alone may cause "lower", and "higher" is even stronger. The equivalence test takes
        the printed number as it is, e = s / sqrt(ours): it shows that our mean is within the margin of that number, and
        says nothing of the mean behind it. That mean cannot be tested: a number from one run is too uncertain, and one
        that was picked is too high by an unknown part.
    Rounding: a printed number can be 0.05 off, and each test takes the worst case; see `significance.std_ends` and
    `error_of`.
    There are two tests, each corrected over the cells that can be tested. p_different is two-sided. p_equivalent is the
    higher p of two one-sided tests (TOST), that ours is `margin` points or more above or below.
    outcome: within a point when p_equivalent is at most `level`, even if a small difference is significant too
      (`sentence` says so); else higher or lower when p_different is at most `level`; else undecided. There is no test,
      and the outcome is undecided, for a single run of ours, and for equal runs whose spread must stand for the
      published one.
    more: the fewest additional seeds that decide this cell with a probability of CHANCE while the other cells stay as
      they are. It assumes that the true spread s is what `significance.likely` makes of ours, and that the future mean
      is normal around our present one with std s sqrt(1/now - 1/then) (sqrt(pi/2) times that for a median). For a
      single run the published std stands for ours. None if LIMIT seeds are too few, mostly because the published number
      itself is too uncertain.
    Raises ValueError for values that are not finite, a margin below 0, and a cell without what its statistic needs.
    """
    if not 0 <= margin < math.inf:
        raise ValueError(f"margin {margin} must be 0 points or more")
    checked_level(level)
    rows = {place: compared(place, values, cell) for place, (values, cell) in cells.items()}
    numbers = np.array([row or [math.nan] * 5 for row in rows.values()], float).reshape(-1, 5)
    near = [error_of_ours(row[1], row[2], cells[place][1]) if row else math.nan for place, row in rows.items()]
    near = np.where(np.isnan(numbers[:, 3]), math.nan, np.array(near, float))
    *raw, beyond = p_values(numbers[:, 0], numbers[:, 3], near, numbers[:, 4], margin)
    p = [holm(raw[0]), hochberg(raw[1])]
    waiting = sum(row is not None and row[2] == 1 for row in rows.values())  # for a second run
    levels = [next_level(one, level, waiting) for one in p]
    tested = int(np.isfinite(p[0]).sum())
    points, cells_tested = f"{margin:g} point{'s' * (margin != 1)}", f"{tested} cell{'s' * (tested > 1)}"
    tests = f"for a difference (Holm's correction over {cells_tested}) and for less than {points} (Hochberg's)"
    verdicts = {}
    alone = np.transpose([raw[1], beyond]).tolist()
    for place, row, own, *ps in zip(rows, rows.values(), alone, *(one.tolist() for one in p)):
        cell = cells[place][1]
        if row is None:
            verdicts[place] = Verdict("not run", "no run yet", level)
            continue
        difference, std, runs, error, freedom = row
        how = COMPARED[cell.statistic].format(runs=runs, published=cell.runs)
        if math.isnan(error):
            more = more_seeds(difference, std, runs, cell, margin, *levels) if runs == 1 else None
            how += f"; {spreadless(runs)}" + (f"; {chances(more)}" if more else "")
            verdicts[place] = Verdict("undecided", how, level, difference, more=more)
            continue
        how += f"; {'Welch' if cell.statistic == 'mean' else 't'} tests {tests}"
        reach = ROUNDING + float(stats.t.isf(level / 2, freedom)) * error
        outcome, more = within(margin) if ps[1] <= level else "higher" if difference > 0 else "lower", None
        if min(ps) > level:
            outcome, more = "undecided", more_seeds(difference, std, runs, cell, margin, *levels)
            how += f"; {chances(more)}"
        interval = (difference - reach, difference + reach)
        verdicts[place] = Verdict(outcome, how, level, difference, interval, *ps, more, tuple(own))
    return verdicts


def within(margin):
    """The outcome of a cell that is shown to be less than `margin` points away."""
    return WITHIN if margin == 1 else f"within {margin:g} points"


def compared(place, values, cell):
    """[difference, our std, our runs, standard error, degrees of freedom], NaN for unknown ones; None without runs."""
    values = finite(place, values)
    if getattr(cell, "statistic", None) not in ("mean", "median", "single") or not math.isfinite(cell.mean):
        raise ValueError(f"{place}: {cell} must be a mean, a median or a single number")
    if cell.statistic == "mean" and not (cell.std is not None and 0 <= cell.std < math.inf and (cell.runs or 0) > 1):
        raise ValueError(f"{place}: {cell} is a mean, and must have its std and two runs or more")
    if cell.statistic == "median" and not (cell.runs or 0) > 0:
        raise ValueError(f"{place}: {cell} is a median, and must have its number of runs")
    if not values:
        return None
    middle = np.median(values) if cell.statistic == "median" else np.mean(values)
    std, runs = spread(values), len(values)
    error, freedom = error_of(std, runs, cell) if runs > 1 else (math.nan, math.nan)
    known = [float(error), float(freedom)] if error > 0 else [math.nan, math.nan]
    return [float(middle - cell.mean), std, runs, *known]


def finite(place, values):
    """`values` as a list of floats, [] for None. Raises ValueError when one is not finite."""
    values = [] if values is None else [float(value) for value in values]
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{place}: the values {values} must all be finite: leave out the runs that have none")
    return values


def checked_level(level):
    """Raise ValueError unless `level` is between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level {level} must be between 0 and 1")


def spreadless(runs):
    """A phrase: why there is no test."""
    return "a single run has no spread to judge by" if runs == 1 else "the runs are all equal: no spread to judge by"


def chances(more):
    """A phrase: how many more seeds would decide."""
    if more is None:
        return f"not even {LIMIT} more seeds would decide with a chance of {100 * CHANCE:g} %"
    return f"{seeds(more)} would decide with a chance of {100 * CHANCE:g} %, if the effect is what these seeds show"


def seeds(more):
    """ "1 more seed", "3 more seeds"."""
    return f"{more} more seed{'s' * (more > 1)}"


def sentence(verdict):
    """A Verdict or an Ordering in a few words: "lower by 1.3 (95 % CI -1.8 to -0.8)", "within a point"."""
    if verdict.outcome == "undecided" and verdict.more:
        return f"undecided ({seeds(verdict.more)} if the effect is what these seeds show)"
    if verdict.outcome in ("higher", "lower"):
        low, high = verdict.interval
        sure = f"{100 * (1 - verdict.level):g} % CI {low:+.1f} to {high:+.1f}"
        return f"{verdict.outcome} by {abs(verdict.difference):.1f} ({sure})"
    if verdict.outcome.startswith("within") and verdict.p_different <= verdict.level:
        away = f"{'higher' if verdict.difference > 0 else 'lower'} by {abs(verdict.difference):.1f}"
        return f"{verdict.outcome}, though {away}"
    return verdict.outcome
