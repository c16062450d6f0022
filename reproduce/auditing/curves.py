"""Recall@1 over the iterations of recorded runs, and when it first reaches a value."""

import numpy as np

from reproduce.auditing.samples import Sample


def curve(run):
    """[(iteration, R@1 in %), ...] of a run."""
    return [(entry["iteration"], 100 * entry["recall"]["R@1"]) for entry in run.get("history") or ()]


def reached(points, target):
    """Where a curve first reaches `target`, on a straight line between evaluations; None if it never does."""
    for at, (iteration, value) in enumerate(points):
        if value >= target:
            if not at:
                return float(iteration)
            start, below = points[at - 1]
            return float(start + (iteration - start) * (target - below) / (value - below))
    return None


def sample(values, which):
    """The Sample of one value a seed."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Sample(float(np.mean(values)), std, "mean", tuple(values), tuple(which))


def paired_curves(runs):
    """(seeds, [{seed: curve} of each side]) of runs that share their seeds."""
    curves = [{run["seed"]: curve(run) for run in side if run.get("history")} for side in runs]
    return [seed for seed in curves[0] if seed in curves[1]], curves
