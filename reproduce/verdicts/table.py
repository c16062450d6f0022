"""The verdict on a whole table: reproduced, not reproduced or undecided. `verdict.py` says which test needs what."""

from typing import NamedTuple, Optional, Tuple

from reproduce.verdicts.significance import ROUNDING


class TableVerdict(NamedTuple):
    """What our runs say of a table. A p that cannot be computed is None."""

    outcome: str  # "reproduced", "not reproduced", "undecided" or "not run"
    how: str  # what is shown of its numbers and claims
    p_reproduced: Optional[float] = None  # the highest p of its numbers and claims: all must be shown
    p_not: Optional[float] = None  # the lowest p of what contradicts the paper, times the number of tests


class Shown(NamedTuple):
    """One number or claim of a table, tested by itself: what the table's verdict is made of."""

    name: str
    p: Tuple[Optional[float], Optional[float]]  # (of the paper's statement, of what contradicts it); None: no test
    against: str  # what it says where it contradicts the paper: "is more than a point higher"
    is_claim: bool = False


def judge_table(parts, level=0.05):
    """The TableVerdict of `parts`, [Shown, ...].

    reproduced: every part is shown at `level`, each by itself. The statement is about all of them, so the highest p is
      the p of the table, without a correction (an intersection-union test). It is wrong in at most `level` of tables of
      which one number is a margin away or one claim is not true, and far more rarely where much is wrong.
    not reproduced: one part contradicts the paper, with the lowest p times the number of parts (Bonferroni). That is
      wrong in at most `level` of tables that are as published.
    undecided: neither. Both cannot be: what is shown of a part cannot also be contradicted.
    """
    tested = [part for part in parts if None not in part.p]
    if not tested:
        return TableVerdict("undecided" if parts else "not run", "there are too few runs for a test")
    worst = max(part.p[0] for part in tested) if len(tested) == len(parts) else None
    least = min(1.0, len(parts) * min(part.p[1] for part in tested))
    if worst is not None and worst <= level:
        return TableVerdict("reproduced", counted(parts, level), worst, least)
    if least <= level:
        against = [f"{part.name} {part.against}" for part in tested if len(parts) * part.p[1] <= level]
        return TableVerdict("not reproduced", "; ".join(against), worst, least)
    return TableVerdict("undecided", counted(parts, level), worst, least)


def counted(parts, level):
    """How many numbers and claims are shown: "16 of 16 numbers are within a point, 3 of 4 claims hold"."""
    phrases = []
    for is_claim, what in ((False, "numbers are within a point"), (True, "claims hold")):
        shown = [part.p[0] is not None and part.p[0] <= level for part in parts if part.is_claim == is_claim]
        phrases += [f"{sum(shown)} of {len(shown)} {what}"] if shown else []
    return ", ".join(phrases)


def counts(published):
    """Whether a claim counts for its table; `published`: the printed cells of its sides, the better one first.

    It counts when all its sides are printed and their difference is more than rounding can make: 94.8 against 94.7 can
    be 94.75 against 94.75.
    """
    if not all(published):
        return False
    better, *worse = (cell.mean for cell in published)
    return round(better - max(worse), 6) > 2 * ROUNDING


def sentence(label, verdict):
    """The verdict on the table `label` in a line."""
    if verdict.outcome == "not run":
        return f"{label}: not run"
    p = {"reproduced": verdict.p_reproduced, "not reproduced": verdict.p_not}.get(verdict.outcome)
    return f"{label} is {verdict.outcome}: {verdict.how}" + (f" (p = {p:.2g})" if p is not None else "")
