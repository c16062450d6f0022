"""What another reading of an open detail changes: the difference of each row from the baseline of its table."""

import math

import numpy as np
from scipy import stats

from reproduce.verdicts import significance
from reproduce.verdicts.care import care, is_rehearsal

LEVEL = 0.95  # of the interval


def sentences(table, rows):
    """One sentence for each row but the baseline; [] of a table without one. rows: see `comparison.entries`.

    Runs of equal seeds are compared in pairs, by Recall@1. The interval is Student's, of the mean difference.
    """
    if not table.baseline or is_rehearsal(rows):
        return []
    values = {row.row: by_seed(row.ours.get("R@1")) for row in rows}
    default = values.pop(table.baseline, {})
    sentences, entries = [], {row.row: row for row in rows}
    for name, ours in values.items():
        told, doubts = effect(ours, default), care((entries[name], entries[table.baseline]))
        if doubts and told != "not run":
            told += f"; {doubts}"
        sentences.append(f"{name} against {table.baseline}: {told}")
    return sentences


def by_seed(cell):
    """{seed: value} of our `cell`; {} of None."""
    return dict(zip(cell.seeds, cell.values)) if cell else {}


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
