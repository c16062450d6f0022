"""The paper's orderings, tested on the recorded runs a second time, and the sentences that say how they come out."""

import math
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

import numpy as np

from reproduce.auditing import inference as tests
from reproduce.auditing import more as seeds
from reproduce.auditing import queries, regime
from reproduce.auditing.curves import paired_curves, reached, sample
from reproduce.auditing.declared import BENCHMARKS
from reproduce.auditing.samples import Sample, shown

SHARE, FEWEST = 0.9, 5  # of a recall that is to be reached; evaluations that can say when
NOT_RUN, NO_MINI = "not run", "no mini form"


class Claim(NamedTuple):
    """An ordering and its test. p: of the claim and of its opposite, before and after Holm's correction."""

    name: str
    sides: List[Any]
    published: List[Any]
    outcome: str = "undecided"
    difference: Optional[float] = None
    alone: Tuple[float, float] = (tests.NAN, tests.NAN)
    p: Tuple[float, float] = (tests.NAN, tests.NAN)
    more: Optional[int] = None
    more_of: Callable = lambda levels: None
    small: bool = False
    unit: str = ""
    by_query: Tuple = ()
    care: str = ""

    def word(self):
        """Its outcome in the documents."""
        return "opposite here" if self.small and self.outcome == "does not hold" else self.outcome

    def told(self):
        """Its outcome with p and the number of runs."""
        if self.outcome in (NOT_RUN, NO_MINI):
            return self.outcome
        runs = f"runs: {', '.join(str(runs_of(side)) for side in self.sides if side and runs_of(side))}"
        if not math.isnan(self.p[0]):
            runs = f"p = {min(self.p):.2g}; {runs}"
        word = self.word()
        if word == "undecided":
            count = f"{self.more} more seed{'s' if self.more and self.more > 1 else ''}"
            word += f" ({count} if the effect is what these seeds show)" if self.more else ""
            if self.difference is not None:
                order = "the paper's" if self.difference > 0 else "the opposite"
                kind = "spreads" if "deviation" in self.unit else f"{self.sides[0].statistic}s"
                word += f"; the {kind} are in {order} order"
        return f"{word} ({runs})" + (f"; {self.care}" if self.care else "")

    def sentence(self):
        """The whole line."""
        if self.outcome in (NOT_RUN, NO_MINI):
            return f"{self.name}: {self.outcome}"
        high, *lows = map(shown, self.sides)
        return f"{self.name}: {high} against {', '.join(lows)}{self.unit}, {self.told()}{queries.phrase(self.by_query)}"


def runs_of(side):
    """How many runs a side has."""
    return len(side.values) if isinstance(side, Sample) else side.runs


def of_table(table, entries, small):
    """[Claim, ...] of a table, one family."""
    return corrected([(table.label, claim) for claim in alone(table, entries, small)])


def corrected(found):
    """The claims of [(label, Claim), ...] after Holm's correction over all of them, on each side."""
    claims = [claim for _, claim in found]
    sides = [tests.adjusted([claim.alone[side] for claim in claims]) for side in (0, 1)]
    levels = [tests.next_level(side) for side in sides]
    done = []
    for claim, holds, opposite in zip(claims, *sides):
        if math.isnan(holds):
            done.append(claim)
            continue
        outcome = "holds" if holds <= tests.LEVEL else "does not hold" if opposite <= tests.LEVEL else "undecided"
        more = claim.more_of(levels) if outcome == "undecided" else None
        done.append(claim._replace(outcome=outcome, p=(holds, opposite), more=more))
    return done


def correction(claims):
    """Over how many tests the p of a family are corrected."""
    count = sum(not math.isnan(claim.p[0]) for claim in claims)
    return f"Holm's correction over {count} tested ordering{'' if count == 1 else 's'}, 5 % on each side"


def alone(table, entries, small):
    """The claims of a table before a correction, in the order of the documents."""
    by_row = {}
    for entry in entries:
        by_row.setdefault(entry.row.name, []).append(entry)
    if table.name == "table7":
        yield from of_table7(table, by_row, small)
    else:
        for ordering in table.orderings:
            names = [place.split(" ") if table.name == "table5" else (place, "R@1") for place in ordering]
            places = [(by_row[row][0], column) for row, column in names]
            printed = [entry.row.published.get(column) for entry, column in places]
            care = regime.care([entry for entry, _ in places])
            yield compared(named(ordering), places, printed, small)._replace(care=care)
    for what, better, worse in table.learning:
        found = [entry for entry in entries if entry.row.name in (better, worse)]
        runs = [by_row[row][0].runs for row in (better, worse)]
        claim = {"sooner": sooner, "steadier": steadier}[what](better, worse, runs, small)
        yield claim._replace(care=regime.care(found))


def named(ordering):
    """ "A > B, C"."""
    return f"{ordering[0]} > {', '.join(ordering[1:])}"


def of_table7(table, by_row, small):
    """Table 7: an ordering for each benchmark that both rows have, one in the mini form; then earlier work."""
    for ordering in table.orderings:
        cells = [{c: cell for entry in by_row[row] for c, cell in entry.row.published.items()} for row in ordering]
        common = [f"{name} R@1" for name in BENCHMARKS if all(f"{name} R@1" in cell for cell in cells)]
        if small:
            places = [(by_row[row][0], "glyphs R@1") for row in ordering]
            claim = compared(named(ordering), places, [cell[common[0]] for cell in cells], True)
            yield claim._replace(care=regime.care(by_row[row][0] for row in ordering))
            continue
        for column in common:
            places = [(next((e for e in by_row[row] if column in e.ours), None), column) for row in ordering]
            names = [f"{row} {column}" for row in ordering]
            claim = compared(named(names), places, [cell[column] for cell in cells], False)
            own = [next(e for e in by_row[row] if column in e.own_columns()) for row in ordering]
            yield claim._replace(care=regime.care(own))
    for row, column, other in table.earlier:
        published = [
            next(e.row.published[column] for e in by_row[name] if column in e.row.published) for name in (row, other)
        ]
        name = named([f"{row} {column}", f"{other} {column}"])
        if small:
            yield Claim(name, [None, None], published, NO_MINI, small=True)
            continue
        side = next(filter(None, (entry.ours.get(column) for entry in by_row[row])), None)
        own = [entry for entry in by_row[row] if column in entry.own_columns()]
        yield beside_earlier(name, side, published)._replace(care=regime.care(own))


def beside_earlier(name, side, published):
    """Our runs against a published number of earlier work."""
    if side is None:
        return Claim(name, [None, published[1]], published, NOT_RUN)
    printed, values = published[1].mean, side.values
    p = tests.against_printed(values, printed)

    def more_of(levels):
        return seeds.of_pairs([np.subtract(values, printed)], tests.ROUNDING, levels)

    difference = float(np.mean(values)) - printed
    return Claim(name, [side, published[1]], published, "undecided", difference, p, more_of=more_of)


def compared(name, places, published, small):
    """The claim that the first of [(entry, column), ...] is above the others: in pairs where they share their seeds."""
    sides = [entry.ours.get(column) if entry else None for entry, column in places]
    if not all(sides):
        return Claim(name, sides, published, NOT_RUN, small=small)
    shared = set.intersection(*(set(side.seeds) for side in sides))
    median = sides[0].statistic == "median"
    if len(shared) < 2:
        high, *lows = (side.values for side in sides)
        p = tests.apart(high, lows)

        def more_of(levels):
            return seeds.of_sides(high, lows, levels)
    else:
        by_seed = [dict(zip(side.seeds, side.values)) for side in sides]  # a seed that is there twice counts once
        high, *lows = ([values[seed] for seed in sorted(shared)] for values in by_seed)
        p = (tests.signed_ranks if median else tests.paired)(high, lows)

        def more_of(levels):
            return seeds.of_pairs([np.subtract(high, low) for low in lows], 0, levels, median)

    middle = np.median if median and len(shared) > 1 else np.mean
    difference = float(middle(high) - max(map(middle, lows)))
    told = dict(more_of=more_of, small=small, by_query=queries.compared(places))
    return Claim(name, sides, published, "undecided", difference, p, **told)


def sooner(better, worse, runs, small):
    """Section 3.3: with the classification loss a recall is reached in fewer iterations."""
    name, unit = f"{better} reaches {100 * SHARE:g} % of {worse}'s R@1 sooner than {worse}", " iterations"
    which, curves = paired_curves(runs)
    few = not which or min(len(points) for side in curves for points in side.values()) <= FEWEST
    if few:
        return Claim(name, [None, None], [None, None], NOT_RUN, small=small, unit=unit)
    target = SHARE * float(np.mean([points[-1][1] for points in curves[1].values()]))
    found = [[reached(side[seed], target) for seed in which] for side in curves]
    values = [
        [side[seed][-1][0] if at is None else at for seed, at in zip(which, ats)] for side, ats in zip(curves, found)
    ]
    p = tests.paired(values[1], values[:1])
    if not math.isnan(p[0]):
        p = tuple(1.0 if None in ats else one for ats, one in zip(found, p))

    def more_of(levels):
        return None if None in found[0] + found[1] else seeds.of_pairs([np.subtract(*values[::-1])], 0, levels)

    difference = float(np.mean(values[1]) - np.mean(values[0]))
    sides = [sample(side, which) for side in values]
    return Claim(name, sides, [None, None], "undecided", difference, p, more_of=more_of, small=small, unit=unit)


def steadier(better, worse, runs, small):
    """Section 3.3: with the classification loss the runs spread less."""
    name, unit = f"{better} spreads less over seeds than {worse}", " points of standard deviation"
    which, curves = paired_curves(runs)
    if not which:
        return Claim(name, [None, None], [None, None], NOT_RUN, small=small, unit=unit)
    ends = [[side[seed][-1][1] for seed in which] for side in curves]
    stds = [tests.deviation(side) for side in ends]
    sides = [None if math.isnan(std) else Sample(std, None, "mean", tuple(ends[0]), tuple(which)) for std in stds]
    if math.isnan(stds[0]):
        return Claim(name, sides, [None, None], "undecided", small=small, unit=unit)
    p = tests.spreads(ends[1], ends[0])
    return Claim(name, sides, [None, None], "undecided", stds[1] - stds[0], p, small=small, unit=unit)
