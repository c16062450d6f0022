"""What the paper claims of its rows, better above worse, and whether it holds in our numbers."""

from typing import List, NamedTuple, Optional

from reproduce.tables import Cell, number
from reproduce.verdicts import verdict


class Claim(NamedTuple):
    """One ordering of a table, the better side first.

    name: "Both > Rank".  sides: our cell of each side, None where it has not run.  published: the published cells (a
    row of Table 7 has one mini form for all benchmarks; then those of its first benchmark).  found: what our runs say.
    """

    name: str
    sides: List[Optional[Cell]]
    published: List[Optional[Cell]]
    found: verdict.Ordering

    def outcome(self):
        """In words: "holds (p = 0.002; runs: 3, 3)"."""
        if self.found.outcome == "not run":
            return "not run"
        runs = f"runs: {', '.join(str(cell.runs) for cell in self.sides)}"
        if self.found.p_holds is not None:
            runs = f"p = {min(self.found.p_holds, self.found.p_opposite):.2g}; {runs}"
        said = self.found.outcome.replace("does not hold", "DOES NOT HOLD")
        if self.found.outcome == "undecided":
            means = "holds" if self.found.difference > 0 else "does not hold"
            said = f"{verdict.sentence(self.found)}, {means} by the means alone"
        return f"{said} ({runs})"

    def sentence(self):
        """The whole of it in one line."""
        if self.found.outcome == "not run":
            return f"{self.name}: not run"
        high, *lows = map(number, self.sides)
        return f"{self.name}: {high} against {', '.join(lows)}, {self.outcome()}"


def claims(table, rows):
    """[Claim, ...] of `table`, tested together by `verdict.orders`. rows: its entries (see `comparison.entries`)."""
    entries = {(row.row, column): row for row in rows for column in row.own_columns()}
    first = dict(reversed(entries))
    published = {(row.name, column): cell for row in table.rows for column, cell in row.published.items()}

    def known(place):
        """((row, column), name); on the embedded benchmark the benchmarks of Table 7 are one."""
        row, column = (place, None) if isinstance(place, str) else place
        if (row, column) in entries:
            return (row, column), f"{row} {column}"
        return (row, first.get(row)), row

    found, paired = {}, set()
    for ordering in table.orderings:
        places, names = zip(*map(known, ordering))
        cells = [entries[place].ours.get(place[1]) if place in entries else None for place in places]
        asked = [(place, "R@1") if isinstance(place, str) else place for place in ordering]
        name = f"{names[0]} > {', '.join(names[1:])}"
        found.setdefault(name, (cells, [published.get(place) for place in asked]))
        if len({row for row, _ in places}) == 1:  # columns of one row, of the same runs
            paired.add(name)
    values = {name: [cell.values if cell else [] for cell in cells] for name, (cells, _) in found.items()}
    said = verdict.orders({name: (better, worse) for name, (better, *worse) in values.items()}, paired=paired)
    return [Claim(name, *found[name], said[name]) for name in found]
