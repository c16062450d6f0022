"""What another reading of an open detail, or an extension, changes: the difference of each row from its baseline.

A row that names its baseline (`Row.against`) is tested too, as the paper's orderings are: does it help, or harm?
"""

import math

import numpy as np
from scipy import stats

from reproduce.verdicts import significance, verdict
from reproduce.verdicts.care import care, is_rehearsal
from reproduce.verdicts.order import decide
from reproduce.verdicts.orderings import paired_comparison

LEVEL = 0.95  # of the interval
WORDS = {"holds": "helps", "does not hold": "harms"}


def sentences(table, rows):
    """One sentence for each row but the baseline; [] of a table without one. rows: see `comparison.entries`.

    Runs of equal seeds are compared in pairs, by Recall@1. The interval is Student's, of the mean difference.
    """
    if not table.baseline or is_rehearsal(rows):
        return []
    values = {row.row: by_seed(row.ours.get("R@1")) for row in rows}
    sentences, entries, found = [], {row.row: row for row in rows}, judged(table, rows)
    for row in table.rows:
        name, against = row.name, row.against or table.baseline
        if name == against or not {name, against} <= set(entries):
            continue
        told, doubts = effect(values[name], values[against]), care((entries[name], entries[against]))
        if told != "not run":
            told += (f"; {outcome(found[name])}" if name in found else "") + (f"; {doubts}" if doubts else "")
        sentences.append(f"{name} against {against}: {told}")
    return [*([f"{correction(found)}:"] if found else []), *sentences]


def judged(table, rows):
    """{row: Ordering} of the rows of `table` that name their baseline, one family: is the row above it?"""
    cells = {row.row: row.ours.get("R@1") for row in rows}
    sides = {row.name: (row.name, row.against) for row in table.rows if row.against}
    return decide({name: paired_comparison(name, [cells.get(one) for one in both]) for name, both in sides.items()})


def correction(found):
    """A phrase: how `found`, see `judged`, was tested."""
    count = sum(ordering.p_holds is not None for ordering in found.values())
    tested = f"Holm's correction over {count} tested row{'s' * (count != 1)}, 5 % on each side"
    return f"Against the baseline at equal seeds ({tested})"


def outcome(ordering):
    """What an Ordering of `judged` says: "helps (p = 0.002)"."""
    if ordering.p_holds is None:
        return ordering.outcome
    word = WORDS.get(ordering.outcome) or verdict.sentence(ordering)
    return f"{word} (p = {min(ordering.p_holds, ordering.p_opposite):.2g})"


def by_seed(cell):
    """{seed: value} of our `cell`; {} of None."""
    return dict(zip(cell.seeds, cell.values)) if cell else {}


def apart(ours, default):
    """The mean difference of pairs as a cell: "+0.4"; "-" without one. Arguments as of `effect`."""
    pairs = ours.keys() & default.keys()
    return f"{np.mean([ours[seed] - default[seed] for seed in sorted(pairs)]):+.1f}" if pairs else "-"


def interval(ours, default):
    """As `apart`, with the interval, if there is one: "+0.4 (-0.1 to +0.9)"."""
    told = effect(ours, default)
    ends = told.partition(" % interval ")[2].partition(";")[0]
    return apart(ours, default) + (f" ({ends})" if ends else "")


def effect(ours, default):
    """The mean difference of `ours` from `default`, {seed: R@1}, and its interval, as a text."""
    pairs = sorted(ours.keys() & default.keys())
    if not pairs:
        return "not run"
    apart = [ours[seed] - default[seed] for seed in pairs]
    mean = f"{np.mean(apart):+.1f} points of R@1"
    if len(pairs) == 1:
        return f"{mean} (one pair of runs)"
    reach = stats.t.isf((1 - LEVEL) / 2, len(pairs) - 1) * significance.spread(apart) / math.sqrt(len(pairs))
    ends = f"{np.mean(apart) - reach:+.1f} to {np.mean(apart) + reach:+.1f}"
    return f"{mean} ({100 * LEVEL:.0f} % interval {ends}; {len(pairs)} pairs of runs)"
