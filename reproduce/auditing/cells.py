"""The verdict on each published number that our runs can be compared with, and on a whole table."""

import math
from typing import Any, NamedTuple, Optional, Tuple

import numpy as np

from reproduce.auditing import inference as tests
from reproduce.auditing import more as seeds

WITHIN = "within a point"
COMPARED = {
    "mean": "mean of {runs} runs against the published mean and std of {published} runs",
    "median": "median of {runs} runs against the published median of {published}, assuming that they spread alike",
    "single": "mean of {runs} runs against one published number, taken as one more run (if it was picked as the best "
    "of several, 'lower' may be due to that alone)",
}


class Verdict(NamedTuple):
    """What our runs say of one number. alone: p of less and of more than the margin, before a correction."""

    outcome: str
    how: str
    difference: float = tests.NAN
    reach: float = tests.NAN
    p_different: float = tests.NAN
    more: Optional[int] = None
    alone: Optional[Tuple[float, float]] = None

    def sentence(self):
        """In a few words."""
        side = "higher" if self.difference > 0 else "lower"
        if self.outcome == "undecided" and self.more:
            return f"undecided ({more_seeds(self.more)} if the effect is what these seeds show)"
        if self.outcome in ("higher", "lower"):
            low, high = self.difference - self.reach, self.difference + self.reach
            return f"{self.outcome} by {abs(self.difference):.1f} (95 % CI {low:+.1f} to {high:+.1f})"
        if self.outcome == WITHIN and self.p_different <= tests.LEVEL:
            return f"{WITHIN}, though {side} by {abs(self.difference):.1f}"
        return self.outcome


def more_seeds(count):
    """ "1 more seed", "3 more seeds"."""
    return f"{count} more seed{'s' if count > 1 else ''}"


def of_table(table, entries):
    """{(row, column): Verdict} of a table in the paper's form; in Table 7 each benchmark is a family."""
    families = {}
    for entry in entries if table.has_published and table.name != "figure3" else ():
        for column, published in entry.row.published.items() if entry.row.experiment else ():
            family = families.setdefault(column.rpartition(" ")[0], {})
            family[entry.row.name, column] = (entry.ours.get(column), published)
    found = {place: verdict for family in families.values() for place, verdict in judged(family).items()}
    places = [(entry.row.name, column) for entry in entries for column in entry.row.published]
    return {place: found[place] for place in places if place in found}


def judged(family):
    """{place: Verdict} of one family, {place: (Sample or None, published)}."""
    found = {place: compared(*cells) for place, cells in family.items()}
    raw = [[row[name] if row else tests.NAN for row in found.values()] for name in ("different", "within")]
    corrected = [tests.adjusted(raw[0]), tests.adjusted(raw[1], hochberg=True)]
    waiting = sum(row is not None and row["runs"] == 1 for row in found.values())
    levels = [tests.next_level(p, waiting) for p in corrected]
    count = sum(not math.isnan(p) for p in raw[0])
    cells = f"{count} cell{'s' if count > 1 else ''}"
    told = f"for a difference (Holm's correction over {cells}) and for less than 1 point (Hochberg's)"
    return {
        place: verdict(family[place][1], row, ps, levels, told)
        for place, row, *ps in zip(found, found.values(), *corrected)
    }


def compared(sample, published):
    """What is known of one cell: difference, spread, runs, and the raw p; None without runs."""
    if sample is None:
        return None
    runs, std = len(sample.values), tests.deviation(list(sample.values))
    middle = (np.median if published.statistic == "median" else np.mean)(sample.values)
    row = {"difference": float(middle) - published.mean, "std": std, "runs": runs, "error": tests.NAN}
    row.update(dict.fromkeys(("freedom", "different", "within", "beyond"), tests.NAN))
    error, freedom = tests.error(std, runs, published) if runs > 1 else (tests.NAN, tests.NAN)
    if error > 0:
        away, near = abs(row["difference"]), tests.error_of_ours(std, runs, published)
        row["error"], row["freedom"] = error, freedom
        row["different"] = 2 * float(tests.upper(max(away - tests.ROUNDING, 0) / error, freedom))
        row["within"] = float(tests.upper((tests.MARGIN - away - tests.ROUNDING) / near, freedom))
        row["beyond"] = float(tests.upper((away - tests.MARGIN - tests.ROUNDING) / error, freedom))
    return row


def verdict(published, row, ps, levels, told):
    """The Verdict of one cell. ps: after correction."""
    if row is None:
        return Verdict("not run", "no run yet")
    difference, runs = row["difference"], row["runs"]
    how = COMPARED[published.statistic].format(runs=runs, published=published.runs)
    if math.isnan(row["error"]):
        more = seeds.of_cell(difference, row["std"], runs, published, levels) if runs == 1 else None
        why = "a single run has no spread to judge by" if runs == 1 else "the runs are all equal: no spread to judge by"
        return Verdict("undecided", f"{how}; {why}{'; ' + chances(more) if more else ''}", difference, more=more)
    how += f"; {'Welch' if published.statistic == 'mean' else 't'} tests {told}"
    outcome = WITHIN if ps[1] <= tests.LEVEL else "higher" if difference > 0 else "lower"
    more = None
    if min(ps) > tests.LEVEL:
        outcome = "undecided"
        more = seeds.of_cell(difference, row["std"], runs, published, levels)
        how += f"; {chances(more)}"
    reach = tests.ROUNDING + float(tests.quantile(tests.LEVEL / 2, row["freedom"])) * row["error"]
    return Verdict(outcome, how, difference, reach, ps[0], more, (row["within"], row["beyond"]))


def chances(more):
    """How many more seeds would decide, in words."""
    if more is None:
        return f"not even {tests.MOST_SEEDS} more seeds would decide with a chance of 80 %"
    return f"{more_seeds(more)} would decide with a chance of 80 %, if the effect is what these seeds show"


class Whole(NamedTuple):
    """The verdict on a table."""

    outcome: str
    sentence: str


def whole(table, entries, verdicts, claims) -> Any:
    """The Whole of a table in the paper's form, None where the paper prints nothing to judge by."""
    if not table.has_published or table.name == "figure3":
        return None
    if not any(entry.ours for entry in entries):
        return Whole("not run", f"{table.label}: not run")
    shown = []  # (name, p of the paper's statement, p of what contradicts it, in words, whether it is a claim)
    for (row, column), one in verdicts.items():
        side = "higher" if one.difference > 0 else "lower"
        shown.append((f"{row} {column}", *(one.alone or (None, None)), f"is more than 1 point {side}", False))
    for claim in claims:
        if counts(claim.published):
            p = (None, None) if math.isnan(claim.alone[0]) else claim.alone
            shown.append((claim.name, *p, "is contradicted", True))
    tested = [part for part in shown if part[1] is not None]
    if not tested:
        return Whole("undecided", f"{table.label} is undecided: there are too few runs for a test")
    worst = max(part[1] for part in tested) if len(tested) == len(shown) else 1.0
    least = min(1.0, len(shown) * min(part[2] for part in tested))
    told = []
    for is_claim, what in ((False, "numbers are within a point"), (True, "claims hold")):
        held = [part[1] is not None and part[1] <= tests.LEVEL for part in shown if part[4] == is_claim]
        told += [f"{sum(held)} of {len(held)} {what}"] if held else []
    if worst <= tests.LEVEL:
        return Whole("reproduced", f"{table.label} is reproduced: {', '.join(told)} (p = {worst:.2g})")
    if least <= tests.LEVEL:
        against = "; ".join(f"{part[0]} {part[3]}" for part in tested if len(shown) * part[2] <= tests.LEVEL)
        return Whole("not reproduced", f"{table.label} is not reproduced: {against} (p = {least:.2g})")
    return Whole("undecided", f"{table.label} is undecided: {', '.join(told)}")


def counts(published):
    """Whether a claim counts for its table: its printed numbers differ by more than rounding can make."""
    if not all(published):
        return False
    better, *worse = (cell.mean for cell in published)
    return round(better - max(worse), 6) > 2 * tests.ROUNDING


def told(verdicts):
    """How many numbers are within the margin, and a line on each that is not."""
    ran = {place: one for place, one in verdicts.items() if one.outcome != "not run"}
    lines = [f"{' '.join(place)}: {one.sentence()}; {one.how}" for place, one in ran.items() if one.outcome != WITHIN]
    count = f"{len(ran) - len(lines)} of {len(ran)} published numbers are within a point of ours."
    return [count, *lines] if ran else []
