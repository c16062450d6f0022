"""What each row of a table of the project's own changes against its baseline, and whether that is shown."""

import math
from typing import NamedTuple, Optional

import numpy as np

from reproduce.auditing import claims, regime
from reproduce.auditing import inference as tests


class Effect(NamedTuple):
    """A row against its baseline. claim: the tested `claims.Claim` that it is above; None where nothing is tested."""

    row: str
    against: str
    told: str
    claim: Optional[claims.Claim]
    care: str


def of_table(table, found):
    """[Effect, ...] of a table with a baseline, in the order of its rows. found: its entries."""
    by_row, tested = {entry.row.name: entry for entry in found}, family(table, found)
    effects = []
    for entry in found:
        name = entry.row.name
        against = table.against.get(name, table.baseline)
        if name != against:
            told = effect(values(entry), values(by_row[against]))
            care = regime.care((entry, by_row[against]))
            effects.append(Effect(name, against, told, tested.get(name), care))
    return effects


def family(table, found):
    """{row: Claim} of the rows that are tested, after Holm's correction over all of them."""
    by_row = {entry.row.name: entry for entry in found}
    alone = [
        (row, claims.compared(row, [(by_row[row], "R@1"), (by_row[against], "R@1")], [None, None], True))
        for row, against in table.against.items()
    ]
    return dict(zip((row for row, _ in alone), claims.corrected(alone)))


def sentences(table, found):
    """A line for each row, below a line that says how they were tested; [] of a table without a baseline."""
    if not table.baseline:
        return []
    lines = [f"{correction(table, found)}:"] if table.against else []
    for one in of_table(table, found):
        told = one.told
        if told != "not run":
            told += (f"; {verdict(one.claim)}" if one.claim else "") + (f"; {one.care}" if one.care else "")
        lines.append(f"{one.row} against {one.against}: {told}")
    return lines


def correction(table, found):
    """How many rows were tested."""
    count = sum(not math.isnan(claim.p[0]) for claim in family(table, found).values())
    rows = "row" if count == 1 else "rows"
    return f"Against the baseline at equal seeds (Holm's correction over {count} tested {rows}, 5 % on each side)"


def verdict(claim):
    """Whether the row helps, in words."""
    if math.isnan(claim.p[0]):
        return claim.outcome
    word = {"holds": "helps", "does not hold": "harms"}.get(claim.outcome, claim.outcome)
    if word == "undecided" and claim.more:
        seeds = "1 more seed" if claim.more == 1 else f"{claim.more} more seeds"
        word += f" ({seeds} if the effect is what these seeds show)"
    return f"{word} (p = {min(claim.p):.2g})"


def values(entry):
    """{seed: R@1} of an entry."""
    return dict(zip(entry.ours["R@1"].seeds, entry.ours["R@1"].values)) if entry.ours else {}


def effect(own, default):
    """The mean difference and its interval."""
    pairs = sorted(set(own) & set(default))
    if not pairs:
        return "not run"
    apart = [own[seed] - default[seed] for seed in pairs]
    mean = float(np.mean(apart))
    if len(pairs) == 1:
        return f"{mean:+.1f} points of R@1 (one pair of runs)"
    reach = tests.quantile(0.025, len(pairs) - 1) * tests.deviation(apart) / math.sqrt(len(pairs))
    interval = f"95 % interval {mean - reach:+.1f} to {mean + reach:+.1f}; {len(pairs)} pairs of runs"
    return f"{mean:+.1f} points of R@1 ({interval})"
