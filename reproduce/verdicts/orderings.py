"""The orderings that the paper claims (one row better than others), and whether they hold in our numbers."""

from collections import Counter
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from reproduce.tables import Cell, number
from reproduce.verdicts import learning, queries, verdict
from reproduce.verdicts.care import care, is_rehearsal
from reproduce.verdicts.order import Comparison, Ordering, compare, decide

OPPOSITE = {False: "does not hold", True: "opposite here"}  # by whether the runs are of the mini form


PLURALS = {"holds": "hold", "does not hold": "do not hold"}


class Claim(NamedTuple):
    """One ordering of a table, the better side first.

    name: "Both > Rank".  sides: our cell of each side, None where it has not run; other people's is the published one.
    published: the published cells (a row of Table 7 has one mini form for all: those of its first benchmark).
    comparison: its test.  ordering: what our runs say, after the correction over its family.  small: whether they are
    of the mini form.  unit: of the cells, "" for %.  by_query: the better side against each other one at the same test
    queries, None where that is unknown.  care: which sides have runs that say little, see care.py.
    """

    name: str
    sides: List[Optional[Cell]]
    published: List[Optional[Cell]]
    comparison: Comparison
    ordering: Ordering
    small: bool = False
    unit: str = ""
    row: str = ""  # of the better side
    by_query: Tuple[Optional[queries.Paired], ...] = ()
    care: str = ""

    @property
    def word(self):
        """Its outcome. The mini form says nothing of the paper: what it shows the other way round is opposite here."""
        return OPPOSITE[self.small] if self.ordering.outcome == "does not hold" else self.ordering.outcome

    def outcome(self):
        """Whether it holds, in words: "holds (p = 0.002; runs: 3, 3)"."""
        if self.ordering.outcome in ("not run", "no mini form"):
            return self.ordering.outcome
        runs = f"runs: {', '.join(str(cell.runs) for cell in self.sides if cell and cell.runs)}"
        if self.ordering.p_holds is not None:
            runs = f"p = {min(self.ordering.p_holds, self.ordering.p_opposite):.2g}; {runs}"
        outcome = self.word
        if outcome == "undecided" and self.ordering.difference is not None:
            order = "the paper's" if self.ordering.difference > 0 else "the opposite"
            outcome = f"{verdict.sentence(self.ordering)}; the {self.middles()} are in {order} order"
        return f"{outcome} ({runs}){self.care and f'; {self.care}'}"

    def middles(self):
        """What is compared: "means", "medians" or "spreads"."""
        return "spreads" if "deviation" in self.unit else f"{self.sides[0].statistic}s"

    def sentence(self):
        """The claim, our numbers and the outcome in one line."""
        if self.ordering.outcome in ("not run", "no mini form"):
            return f"{self.name}: {self.ordering.outcome}"
        high, *lows = map(number, self.sides)
        apart = queries.phrase(self.by_query)
        return f"{self.name}: {high} against {', '.join(lows)}{self.unit}, {self.outcome()}{'; ' * bool(apart)}{apart}"


def correction(found):
    """A sentence: over how many tests the p of these claims, one family, are corrected."""
    count = sum(claim.ordering.p_holds is not None for claim in found)
    return f"Holm's correction over {count} tested ordering{'s' * (count != 1)}, 5 % on each side"


def claims(table, rows, small=False):
    """[Claim, ...] of `table`, a family for Holm's correction. rows: its entries (see `comparison.entries`)."""
    return together([(table, rows)], small)[table.name]


def together(tables, small=False):
    """{table's name: [Claim, ...]} of several tables as one family. tables: [(Table, its entries), ...]."""
    found = {(table.name, claim.name): claim for table, rows in tables for claim in tested(table, rows, small)}
    outcomes = decide({place: claim.comparison for place, claim in found.items()})
    sorted_by_table = {table.name: [] for table, _ in tables}
    for (name, _), claim in found.items():
        sorted_by_table[name].append(claim._replace(ordering=outcomes[name, claim.name]))
    return sorted_by_table


def tested(table, rows, small):
    """The claims of `table`, each tested alone: their `ordering` is None. A rehearsal tests none."""
    if is_rehearsal(rows):
        return []
    entries = {(row.row, column): row for row in rows for column in row.own_columns()}
    first = dict(reversed(entries))
    published = {(row.name, column): cell for row in table.rows for column, cell in row.published.items()}
    earlier = {row.name for row in table.rows if not row.experiment}

    def find_place(place):
        """((row, column), name) of a side; on the embedded benchmark the benchmarks of Table 7 are one."""
        row, column = (place, None) if isinstance(place, str) else place
        if (row, column) in entries or row in earlier:
            return (row, column), f"{row} {column}"
        return (row, first.get(row)), row

    found = {}
    for ordering in table.orderings:
        places, names = zip(*map(find_place, ordering))
        printed = [published.get((place, "R@1") if isinstance(place, str) else place) for place in ordering]
        prior = [row in earlier for row, _ in places]
        if small and any(prior):  # the benchmark is in its name: there is no mini form to be one for all
            names = [" ".join(place) for place in ordering]
        name = f"{names[0]} > {', '.join(names[1:])}"
        if name in found:
            continue
        cells = [entries[place].ours.get(place[1]) if place in entries else None for place in places]
        if any(prior):
            cells = [cell if not other else print_ for cell, other, print_ in zip(cells, prior, printed)]
            comparison = earlier_comparison(name, cells, small)
        else:
            comparison = paired_comparison(name, cells)
        apart = () if any(prior) else at_queries([(entries.get(place), place[1]) for place in places])
        doubts = care(entries[place] for place in places if place in entries)
        claim = Claim(name, cells, printed, comparison, None, small, row=places[0][0], by_query=apart, care=doubts)
        found[name] = claim
    return [*found.values(), *(learned(claim, rows, small) for claim in table.learning)]


def at_queries(sides):
    """The first of `sides`, [(Entry, column), ...], against the others at the same queries; () if one has no hits."""
    hits = [entry.hits.get(column) if entry else None for entry, column in sides]
    classes = [entry.classes for entry, _ in sides if entry]
    if not all(hits) or any(not np.array_equal(each, classes[0]) for each in classes):
        return ()
    return tuple(queries.compare(hits[0], other, classes[0]) for other in hits[1:])


def earlier_comparison(name, cells, small):
    """Our runs, the first of `cells`, against published numbers of earlier work."""
    if small:
        return Comparison("earlier work has no run on the embedded benchmark", outcome="no mini form")
    return compare(name, cells[0].values if cells[0] else [], [cell.mean for cell in cells[1:]])


def paired_comparison(name, cells):
    """Our runs of each of `cells`: seed by seed where they share seeds (columns of a row do), else apart."""
    if not all(cells):
        return compare(name, [], [[]])
    shared = set.intersection(*(set(cell.seeds) for cell in cells))
    if len(shared) < 2:
        return compare(name, cells[0].values, [cell.values for cell in cells[1:]])
    better, *worse = ([v for v, seed in zip(cell.values, cell.seeds) if seed in shared] for cell in cells)
    return compare(name, better, worse, paired=True, statistic=cells[0].statistic)


def learned(claim, rows, small):
    """The Claim of `claim`, a tables.Learning."""
    curves = {row.row: row.curves for row in rows}
    cells, comparison = learning.TESTS[claim.what](curves[claim.better], curves[claim.worse])
    name, unit = learning.PHRASES[claim.what]
    name = name.format(better=claim.better, worse=claim.worse)
    doubts = care(row for row in rows if row.row in (claim.better, claim.worse))
    return Claim(name, cells, [None, None], comparison, None, small, unit, claim.better, care=doubts)


def counted(found):
    """How many of the claims `found` have each outcome: "2 hold, 1 undecided"."""
    counts = Counter(claim.word for claim in found)
    return ", ".join(f"{count} {PLURALS.get(word, word) if count > 1 else word}" for word, count in counts.items())
