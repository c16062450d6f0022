"""How often a table is called reproduced, simulated a second time with the same draws.

Our runs are drawn around true means with the printed standard deviations, from NumPy's default generator with the seed
(0, number of seeds), 250 tables at a time. A table passes when each of its claims that count, and each of its numbers,
is shown at 5 % by itself.
"""

import functools
import math

import numpy as np

from reproduce.auditing import inference as tests
from reproduce.auditing.declared import BENCHMARKS, tables
from reproduce.auditing.samples import markdown

SIMULATED, AT_ONCE, CLEAR, WANTED, TRIED = 2000, 250, 2.0, 0.8, 60
HEAD = ("table", "seeds", "no trick works", "one trick does not", "as published", "printed numbers drawn too")


class Plan:
    """What decides the chances of a table: a place is a row and a column."""

    def __init__(self, table):
        own = {(r.name, c): (cell, r.experiment) for r in table.paper for c, cell in r.published.items()}
        self.printed = {place: cell for place, (cell, _) in own.items()}
        self.stds = {
            place: max(assumed(experiment["dataset"]) if cell.std is None else cell.std, tests.ROUNDING)
            for place, (cell, experiment) in own.items()
            if experiment
        }
        self.places = list(self.stds)
        first = next(iter(self.printed.values()))
        self.statistic, self.runs = first.statistic, first.runs
        self.claims = list(dict.fromkeys(claim for claim in claims_of(table) if self.counts(claim)))

    def counts(self, claim):
        """Whether the printed numbers of a claim differ by more than rounding can make."""
        return all(place in self.printed for place in claim) and round(self.effect(claim), 6) > 2 * tests.ROUNDING

    def effect(self, claim):
        """The printed difference of a claim."""
        better, *worse = (self.printed[place].mean for place in claim)
        return better - max(worse)

    def truth(self, claims):
        """The true mean of each of our places, where the better side of `claims` is only as good as the best worse."""
        means = {place: cell.mean for place, cell in self.printed.items()}
        worse = {}
        for better, *lows in claims:
            worse.setdefault(better, []).extend(lows)
        for _ in claims:
            for better, lows in worse.items():
                low = max(lows, key=means.get)
                for place in self.same_row(better):
                    twin = (low[0], place[1]) if better[1] == low[1] else low
                    means[place] = means.get(twin, means[place])
        return np.array([means[place] for place in self.places])[:, None]

    def same_row(self, place):
        """The places of one row, in Table 7 on one benchmark; of Table 5 the place itself."""
        if self.statistic == "median":
            return [place]
        benchmark = place[1].rpartition(" ")[0]
        return [p for p in self.places if p[0] == place[0] and p[1].rpartition(" ")[0] == benchmark]


def claims_of(table):
    """The orderings of a table as tuples of places; Table 7 has one for each benchmark, and those of earlier work."""
    columns = {}
    for row in table.paper:
        columns.setdefault(row.name, []).extend(row.published)
    for ordering in table.orderings:
        if table.name == "table5":
            yield tuple(tuple(place.split(" ")) for place in ordering)
        elif table.name == "table7":
            for name in BENCHMARKS:
                if all(f"{name} R@1" in columns[row] for row in ordering):
                    yield tuple((row, f"{name} R@1") for row in ordering)
        else:
            yield tuple((row, "R@1") for row in ordering)
    for row, column, other in table.earlier:
        yield (row, column), (other, column)


@functools.lru_cache(maxsize=None)
def assumed(dataset):
    """The standard deviation where the paper prints none: the root mean square of the printed ones of a benchmark."""
    known = "cub200" if dataset == "cub200" else "cars196"
    rows = [row for table in tables() for row in table.paper if row.experiment and "R@1" in row.published]
    stds = [row.published["R@1"].std for row in rows if row.experiment["dataset"] == known]
    return math.sqrt(np.mean(np.square(stds)))


def chances(plan, truths, seeds, count, drawn=False):
    """The share of simulated tables that pass, for each of `truths`."""
    generator = np.random.default_rng((0, seeds))
    passed, stds = np.zeros(len(truths)), np.array([plan.stds[place] for place in plan.places])[:, None]
    for start in range(0, count, AT_ONCE):
        size = min(AT_ONCE, count - start)
        noise = generator.normal(size=(size, len(plan.places), seeds)) * stds
        for number, mean in enumerate(truths):
            means, spreads = printed(plan, mean, stds, generator, size, drawn)
            passed[number] += np.count_nonzero(passes(plan, mean + noise, means, spreads))
    return passed / count


def printed(plan, mean, stds, generator, size, drawn):
    """(means, standard deviations or None) as printed, or drawn around the true means."""
    cells = [plan.printed[place] for place in plan.places]
    if not drawn:
        spreads = [cell.std for cell in cells]
        return np.array([cell.mean for cell in cells]), None if None in spreads else np.array(spreads)
    values = mean + stds * generator.normal(size=(size, len(cells), plan.runs or 1))
    if plan.statistic == "mean":
        return values.mean(axis=-1).round(1), values.std(axis=-1, ddof=1).round(1)
    return np.median(values, axis=-1).round(1), None


def passes(plan, values, means, spreads):
    """Which of the tables `values`, (tables, places, seeds), are reproduced."""
    good = within(plan, values, means, spreads).all(axis=-1)
    at = {place: number for number, place in enumerate(plan.places)}
    for better, *worse in plan.claims:
        for low in worse:
            high = values[good][:, at[better]]
            if low not in at:
                p = above_zero(high - plan.printed[low].mean - tests.ROUNDING)
            elif plan.statistic == "median":
                p = ranked(high, values[good][:, at[low]])
            else:
                p = above_zero(high - values[good][:, at[low]])
            good[np.flatnonzero(good)[p > tests.LEVEL]] = False
    return good


def within(plan, values, means, spreads):
    """Of which numbers it is shown that ours is within the margin."""
    n, std = values.shape[-1], values.std(axis=-1, ddof=1)
    if plan.statistic == "single":
        middle, error, freedom = values.mean(axis=-1), std / math.sqrt(n), n - 1
    elif plan.statistic == "median":
        middle = np.median(values, axis=-1)
        error, freedom = std * math.sqrt(tests.MEDIAN * (1 / n + 1 / plan.runs)), n - 1
    else:
        middle, m, found = values.mean(axis=-1), plan.runs, []
        ends = (np.maximum(spreads - tests.ROUNDING, 0), (spreads + tests.ROUNDING) * math.sqrt(m / (m - 1)))
        for end in ends:
            u, v = std**2 / n, end**2 / m
            found.append((u + v) ** 2 / (u**2 / (n - 1) + v**2 / (m - 1)))
        error, freedom = np.sqrt(u + v), np.minimum(*found)
    away = np.abs(middle - means)
    return tests.upper((tests.MARGIN - away - tests.ROUNDING) / error, freedom) <= tests.LEVEL


def above_zero(apart):
    """p of the means of `apart`, (tables, seeds), above 0."""
    n = apart.shape[-1]
    return tests.upper(apart.mean(axis=-1) / apart.std(axis=-1, ddof=1) * math.sqrt(n), n - 1)


def ranked(high, low):
    """p of signed-rank tests of each table; 1 where the median is not the higher one."""
    apart = high - low
    ranks = np.abs(apart).argsort(axis=-1).argsort(axis=-1) + 1
    sums = (ranks * (apart > 0)).sum(axis=-1)
    return np.where(np.median(high, axis=-1) > np.median(low, axis=-1), tail(apart.shape[-1])[sums], 1.0)


@functools.lru_cache(maxsize=None)
def tail(pairs):
    """The chance that a rank sum is s or more, for each s."""
    ways = [1]
    for rank in range(1, pairs + 1):
        ways = [a + b for a, b in zip(ways + [0] * rank, [0] * rank + ways)]
    return np.array([sum(ways[s:]) for s in range(len(ways))]) / 2**pairs


@functools.lru_cache(maxsize=None)
def part():
    """The lines of the part "power": they depend on the paper's numbers alone."""
    grid = [HEAD]
    for table in tables():
        if not table.name[-1].isdigit() or table.name == "figure3":
            continue
        plan = Plan(table)
        needed = fewest(plan, table.seeds)
        for seeds, whose in ((table.seeds, "paper's"), (needed, "needed")):
            if seeds is None or (whose == "needed" and seeds == table.seeds):
                continue
            whose = "the paper's, enough" if needed == table.seeds else whose
            grid.append((table.label, f"{seeds} ({whose})", *map(percent, of(plan, seeds))))
        if needed is None:
            grid.append((table.label, f"more than {TRIED} (needed)", "-", "-", "-", "-"))
    return markdown(grid)


def of(plan, seeds):
    """The four chances with so many seeds."""
    hardest = [claim for claim in plan.claims if plan.effect(claim) <= CLEAR] or plan.claims
    truths = [plan.truth(claims) for claims in (plan.claims, *([claim] for claim in hardest))]
    none, *missing = chances(plan, truths, seeds, 3 * SIMULATED)
    perfect = [chances(plan, [plan.truth([])], seeds, SIMULATED, drawn)[0] for drawn in (False, True)]
    return none, max(missing), *perfect


def fewest(plan, seeds):
    """The fewest seeds, at least the paper's, with which a table as published passes often enough."""
    sure = WANTED + 3 * math.sqrt(WANTED * (1 - WANTED) / SIMULATED)
    return next((n for n in range(seeds, TRIED + 1) if chances(plan, [plan.truth([])], n, SIMULATED)[0] >= sure), None)


def percent(chance):
    """A chance as it is printed."""
    return "< 1 %" if chance < 0.005 else "> 99 %" if chance > 0.995 else f"{100 * chance:.0f} %"
