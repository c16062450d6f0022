"""The orderings that the paper claims (one row better than others), and whether they hold in our numbers."""

from typing import List, NamedTuple, Optional

from reproduce.tables import Cell, number
from reproduce.verdicts import verdict


class Claim(NamedTuple):
    """One ordering of a table, the better side first.

    name: "Both > Rank".  sides: our cell of each side, None where it has not run.  published: the published cells (a
    row of Table 7 has one mini form for all benchmarks: those of its first benchmark).  ordering: what our runs say.
    """

    name: str
    sides: List[Optional[Cell]]
    published: List[Optional[Cell]]
    ordering: verdict.Ordering

    def outcome(self):
        """Whether it holds, in words: "holds (p = 0.002; runs: 3, 3)"."""
        if self.ordering.outcome == "not run":
            return "not run"
        runs = f"runs: {', '.join(str(cell.runs) for cell in self.sides)}"
        if self.ordering.p_holds is not None:
            runs = f"p = {min(self.ordering.p_holds, self.ordering.p_opposite):.2g}; {runs}"
        outcome = self.ordering.outcome.replace("does not hold", "DOES NOT HOLD")
        if self.ordering.outcome == "undecided":
            means = "agree with" if self.ordering.difference > 0 else "contradict"
            outcome = f"{verdict.sentence(self.ordering)}; the means {means} the paper"
        return f"{outcome} ({runs})"

    def sentence(self):
        """The claim, our numbers and the outcome in one line."""
        if self.ordering.outcome == "not run":
            return f"{self.name}: not run"
        high, *lows = map(number, self.sides)
        return f"{self.name}: {high} against {', '.join(lows)}, {self.outcome()}"


def claims(table, rows):
    """[Claim, ...] of `table`, tested together by `verdict.orders`. rows: its entries (see `comparison.entries`)."""
    entries = {(row.row, column): row for row in rows for column in row.own_columns()}
    first = dict(reversed(entries))
    published = {(row.name, column): cell for row in table.rows for column, cell in row.published.items()}

    def find_place(place):
        """((row, column), name) of a side; on the embedded benchmark the benchmarks of Table 7 are one."""
        row, column = (place, None) if isinstance(place, str) else place
        if (row, column) in entries:
            return (row, column), f"{row} {column}"
        return (row, first.get(row)), row

    sides, paired = {}, set()
    for ordering in table.orderings:
        places, names = zip(*map(find_place, ordering))
        cells = [entries[place].ours.get(place[1]) if place in entries else None for place in places]
        printed = [(place, "R@1") if isinstance(place, str) else place for place in ordering]
        name = f"{names[0]} > {', '.join(names[1:])}"
        sides.setdefault(name, (cells, [published.get(place) for place in printed]))
        if len({row for row, _ in places}) == 1:  # columns of one row, of the same runs
            paired.add(name)
    values = {name: [cell.values if cell else [] for cell in cells] for name, (cells, _) in sides.items()}
    outcomes = verdict.orders({name: (better, worse) for name, (better, *worse) in values.items()}, paired=paired)
    return [Claim(name, *sides[name], outcomes[name]) for name in sides]
