"""Figure 4 in numbers: is the similarity of SPoC spread wider than that of MAC, more than in any network?

MAC takes one position of each channel and SPoC all of them, so MAC's maps are narrower whatever was learned: a test of
that alone says nothing. The gap between the two is therefore compared with two controls, whose gaps are of
the same kind: the same network before training, and pairs of pictures of different classes.
"""

from typing import NamedTuple

import numpy as np

MEASURES = ("entropy of the map", "share of positions that make 90 %")
CONTROLS = {
    "untrained": ("the same pairs before training", "training changes it by"),
    "shuffled": ("pairs of different classes", "one class for both changes it by"),
}
DRAWS = 2000


class Interval(NamedTuple):
    """A mean, and its interval of 95 %."""

    mean: float
    low: float
    high: float


def interval(values, classes, draws=DRAWS, seed=0):
    """The Interval of the mean of `values` (n,), by a bootstrap over `classes` (n,): those of the queries.

    Classes are drawn, not pairs: pairs of one class are alike, and their number would make the interval too narrow.
    """
    names, of = np.unique(classes, return_inverse=True)
    sums, counts = np.bincount(of, values), np.bincount(of)
    times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), draws)
    low, high = np.percentile(times @ sums / (times @ counts), (2.5, 97.5))
    return Interval(float(np.mean(values)), float(low), float(high))


def gaps(spreads):
    """How much wider SPoC's map is than MAC's for each pair: (n, 2), a column for each of MEASURES."""
    return spreads["SPoC"] - spreads["MAC"]


def differences(measured):
    """{control: [Interval for each of MEASURES]}: the gap of the trained network less that of the control.

    measured: a `reproduce.figure4.Measured`.
    """
    return {
        control: [
            interval(values, measured.classes)
            for values in (gaps(measured.spreads["trained"]) - gaps(measured.spreads[control])).T
        ]
        for control in CONTROLS
    }


def judged(difference):
    """An Interval in words."""
    if difference.low > 0:
        return "wider"
    return "narrower" if difference.high < 0 else "no difference shown"


def sentences(measured):
    """What was measured, and how it differs from the controls: lines of text."""
    trained, compared = measured.spreads["trained"], differences(measured)
    pairs, classes = len(measured.classes), len(np.unique(measured.classes))
    lines = [f"spread of SM's maps, means over {pairs:,} pairs of a query and the nearest picture of its class:"]
    for i, measure in enumerate(MEASURES):
        wide, narrow = trained["SPoC"][:, i].mean(), trained["MAC"][:, i].mean()
        lines.append(f"- {measure}: {wide:.3f} for SPoC, {narrow:.3f} for MAC, a gap of {wide - narrow:.3f}")
        for control, (name, changes) in CONTROLS.items():
            difference, gap = compared[control][i], gaps(measured.spreads[control])[:, i].mean()
            limits = f"{difference.low:+.2g} to {difference.high:+.2g}"
            lines.append(f"  {name}: {gap:.3f}; {changes} {difference.mean:+.2g} ({limits}): {judged(difference)}")
    lines.append(
        "MAC's maps are narrower than SPoC's before training too, as MAC takes one position of each channel: only the "
        f"changes say what was learned. Their intervals are of 95 %, over {classes} classes, for one run."
    )
    return lines
