"""How often a table passes, by simulation: one in which no trick works, and one that is as published.

Our runs are drawn around true means, normal, with the published standard deviations; the published numbers stay as they
are printed. A table passes when `table.judge_table` calls it reproduced. Runs are independent here. The tests draw them
with a common part of each seed, too, as rows share initial parameters and batches: claims are then easier to show.
"""

import functools
import math
from typing import Dict, NamedTuple, Optional, Tuple

import numpy as np
from scipy import stats

from reproduce.tables import TABLES, Cell
from reproduce.verdicts import significance
from reproduce.verdicts.table import counts

MARGIN, LEVEL = 1.0, 0.05
CLEAR = 2.0  # points; a row without an effect as large as that is never within the margin
WANTED = 0.8  # chance that a table which is as published passes
TRIED = 60  # the most seeds of a row that are tried
SIMULATED, AT_ONCE = 2000, 250  # tables


class Design(NamedTuple):
    """What decides the chances of a table. A place is a row's and a column's name.

    printed: all its places.  own: those that we run, with their standard deviations.  claims: those that count.
    """

    printed: Dict[tuple, Cell]
    own: Dict[tuple, float]
    claims: Tuple[Tuple[tuple, ...], ...]

    @property
    def statistic(self):
        """ "mean", "median" or "single"."""
        return next(iter(self.printed.values())).statistic


class Power(NamedTuple):
    """The chances that a table passes with so many seeds a row.

    no_trick: none of its tricks works.  one_missing: one of them does not, the one whose absence is hardest to see.
    perfect: its true means are the published ones.  drawn: the same, and the printed numbers are draws around them too.
    """

    seeds: int
    no_trick: float
    one_missing: float
    perfect: float
    drawn: float


def design(table, std=None):
    """The Design of `table`. std: of every number, where the paper prints none (default: see `assumed_std`)."""
    printed = {(row.name, column): cell for row in table.rows for column, cell in row.published.items() if cell}
    own = {}
    for row in table.rows if printed else ():
        for column, cell in row.published.items() if row.experiment else ():
            known = std or (assumed_std(row.experiment.dataset) if cell.std is None else cell.std)
            own[row.name, column] = max(known, significance.ROUNDING)  # printed as 0.0, it can be so much
    claims = [tuple((one, "R@1") if isinstance(one, str) else one for one in ordering) for ordering in table.orderings]
    claims = [claim for claim in claims if counts([printed.get(place) for place in claim])]
    return Design(printed, own, tuple(dict.fromkeys(claims)))


@functools.lru_cache(maxsize=None)
def assumed_std(dataset):
    """For Tables 5 and 7, which print none: the root mean square of the R@1's that are printed of the same benchmark.

    SOP and In-shop have none, and are taken for CARS196: their test sets are larger.
    """
    known = "cub200" if dataset == "cub200" else "cars196"
    rows = [row for table in TABLES.values() for row in table.rows if row.experiment]
    stds = [row.published["R@1"].std for row in rows if row.experiment.dataset == known and "R@1" in row.published]
    return math.sqrt(np.mean(np.square(stds)))


def without_trick(plan, claims):
    """{place: true mean} where the better side of `claims` is only as good as the best of all its worse ones.

    A row is changed as a whole; a column of Table 5, which is a claim of its own, alone.
    """
    truth = {place: cell.mean for place, cell in plan.printed.items()}
    below = {}
    for better, *worse in claims:
        below.setdefault(better, []).extend(worse)
    for _ in claims:  # once more for each step of a chain: Both over TS over None
        for better, worse in below.items():
            lower = max(worse, key=truth.get)
            for place in same_row(plan, better):
                twin = (lower[0], place[1]) if better[1] == lower[1] else lower
                if twin in truth:
                    truth[place] = truth[twin]
    return truth


def same_row(plan, place):
    """The places that one true mean belongs to: a row, of Table 7 on one benchmark; of Table 5 the place itself."""
    row, column = place
    if plan.statistic == "median":
        return [place]
    begin = column.rpartition(" ")[0]
    return [other for other in plan.own if other[0] == row and other[1].rpartition(" ")[0] == begin]


def chances(plan, truths, seeds, tables=SIMULATED, together=0.0, drawn=False, seed=0):
    """The share of simulated tables that pass, for each of `truths`, {place: true mean}.

    together: the correlation of all numbers of one seed.  drawn: whether the printed numbers of our rows are draws
    around the true means too, of as many runs as the paper had (Table 7: of one).
    """
    rng = np.random.default_rng((seed, seeds))
    passed, stds = np.zeros(len(truths)), np.array([*plan.own.values()])[:, None]
    for start in range(0, tables, AT_ONCE):
        size = (min(AT_ONCE, tables - start), len(plan.own), seeds)
        noise = math.sqrt(1 - together) * rng.normal(size=size)
        if together:
            noise += math.sqrt(together) * rng.normal(size=(size[0], 1, seeds))
        noise *= stds
        means = [np.array([truth[place] for place in plan.own])[:, None] for truth in truths]
        passed += [len(passes(plan, mean + noise, printed_draw(plan, mean, rng, len(noise), drawn))) for mean in means]
    return passed / tables


def printed_draw(plan, mean, rng, tables, drawn):
    """(printed means, printed standard deviations or None), each (tables, own places): the same ones unless `drawn`."""
    cells = [plan.printed[place] for place in plan.own]
    if not drawn:
        means, stds = ([cell[i] for cell in cells] for i in (0, 1))
        return [one if one is None else np.tile(one, (tables, 1)) for one in (means, None if None in stds else stds)]
    stds = np.array([*plan.own.values()])[:, None]
    values = mean + stds * rng.normal(size=(tables, len(cells), cells[0].runs or 1))
    if plan.statistic == "mean":
        return values.mean(axis=-1).round(1), values.std(axis=-1, ddof=1).round(1)
    return np.median(values, axis=-1).round(1), None


def passes(plan, values, printed):
    """Which of the tables `values`, (tables, own places, seeds), are reproduced: their indices. printed: see above."""
    index, left = {place: i for i, place in enumerate(plan.own)}, np.arange(len(values))
    pairs = [(better, low) for better, *worse in plan.claims for low in worse]
    middles = values.mean(axis=(0, 2))

    def ahead(pair):
        return middles[index[pair[0]]] - (middles[index[pair[1]]] if pair[1] in index else plan.printed[pair[1]].mean)

    for better, low in sorted(pairs, key=ahead):  # most tables fail by the smallest effect
        if low in index:
            p = pairs_p(values[left, index[better]], values[left, index[low]], plan.statistic == "median")
        else:  # a printed number of other people's
            p = mean_p(values[left, index[better]] - plan.printed[low].mean - significance.ROUNDING)
        left = left[p <= LEVEL]
    return left[cells_pass(plan, values[left], *(one if one is None else one[left] for one in printed))]


def cells_pass(plan, values, means, stds):
    """Of which of the tables `values` every number is shown to be within the margin of `means`: an array of bool."""
    seeds, median = values.shape[-1], plan.statistic == "median"
    middle = np.median(values, axis=-1) if median else values.mean(axis=-1)
    cell = Cell(means, stds, *plan.printed[next(iter(plan.own))][2:4])
    spread = values.std(axis=-1, ddof=1)
    error, freedom = significance.error_of(spread, seeds, cell)
    near = significance.error_of_ours(spread, seeds, cell)
    return (significance.p_values(middle - cell.mean, error, near, freedom, MARGIN)[1] <= LEVEL).all(axis=-1)


def mean_p(apart):
    """p of the mean of `apart`, (tables, seeds), above 0: a one-sided t test."""
    seeds = apart.shape[-1]
    return stats.t.sf(apart.mean(axis=-1) / apart.std(axis=-1, ddof=1) * math.sqrt(seeds), seeds - 1)


def pairs_p(high, low, median):
    """p of `high` above `low`, each (tables, seeds), in pairs: a t test, or for medians a signed-rank test."""
    apart = high - low
    if not median:
        return mean_p(apart)
    ranks = np.abs(apart).argsort(axis=-1).argsort(axis=-1) + 1
    sums = (ranks * (apart > 0)).sum(axis=-1)
    return np.where(np.median(high, axis=-1) > np.median(low, axis=-1), rank_sums(apart.shape[-1])[sums], 1.0)


@functools.lru_cache(maxsize=None)
def rank_sums(pairs):
    """The chance that the ranks with a positive sign add up to s or more, for each s, when all signs are as likely."""
    ways = np.ones(1)
    for rank in range(1, pairs + 1):
        ways = np.convolve(ways, np.r_[1, np.zeros(rank - 1), 1]) / 2
    return ways[::-1].cumsum()[::-1]


def effect(plan, claim):
    """The printed difference of a claim, in points."""
    better, *worse = (plan.printed[place].mean for place in claim)
    return better - max(worse)


@functools.lru_cache(maxsize=None)
def power(name, seeds):
    """The Power of the table `name` of TABLES with `seeds` runs a row."""
    plan = design(TABLES[name])
    hardest = [claim for claim in plan.claims if effect(plan, claim) <= CLEAR] or plan.claims
    truths = [without_trick(plan, claims) for claims in (plan.claims, *([claim] for claim in hardest))]
    no_trick, *missing = chances(plan, truths, seeds, 3 * SIMULATED)
    perfect, drawn = (chances(plan, [without_trick(plan, ())], seeds, drawn=drawn)[0] for drawn in (False, True))
    return Power(seeds, no_trick, max(missing), perfect, drawn)


@functools.lru_cache(maxsize=None)
def recommended(name) -> Optional[int]:
    """The fewest seeds of a row, at least the paper's, with which a table as published passes with WANTED or more.

    Three errors of the simulation are added. None if TRIED are too few.
    """
    plan = design(TABLES[name])
    sure = WANTED + 3 * math.sqrt(WANTED * (1 - WANTED) / SIMULATED)
    for seeds in range(TABLES[name].seeds, TRIED + 1):
        if chances(plan, [without_trick(plan, ())], seeds)[0] >= sure:
            return seeds
    return None
