"""For which experiments both engines are known to give the same result, so that their runs may be averaged.

The file beside this module is the record. `python -m reproduce TABLE --parity` writes it, from whole runs of both
engines with the same seeds: they begin with the same parameters, learn from the same batches, draw the same numbers.
Single runs cannot be compared: hard mining makes two runs of one seed differ by more than a point as soon as one sum is
rounded otherwise. So the means are, by an equivalence test.
"""

import math
from pathlib import Path

import numpy as np
from scipy import stats

from gluon_cgd.experiment import REVISION
from gluon_cgd.files import regular
from gluon_cgd.files.whole import write_json
from gluon_cgd.runs import schema

FILE = Path(__file__).resolve().with_name("parity.json")
SEEDS = 5  # runs of each engine that are compared, at least
MARGIN = 0.01  # of R@1: the means of the engines must be shown to be less than this apart
LEVEL = 0.05  # of each of the two one-sided tests that show it
FRACTIONS = schema.each(schema.number(0, 1), of=list)
COMPARED = schema.fields(
    {"revision": schema.SEED, "seeds": schema.each(schema.SEED, of=list), "mxnet": FRACTIONS, "pytorch": FRACTIONS},
    {"versions": schema.each(schema.text), "device": schema.text},
)
RULE = schema.each(COMPARED)


def read(file=None):
    """{key of an experiment: {"revision", "seeds", "mxnet", "pytorch", "versions"}}: R@1 of each seed by both engines.

    {} without the file. Raises ValueError for anything else in it.
    """
    file = FILE if file is None else file
    if not Path(file).is_file():
        return {}
    known = regular.read_json(file)
    wrong = RULE(known, "contents")
    if wrong:
        raise ValueError(f"{file} {wrong}: take it from the repository again")
    return known


def is_recorded(experiment):
    """Whether runs of `experiment` by both engines may be averaged: what is recorded shows that they agree.

    What was recorded of another revision of the training code shows nothing of this one.
    """
    compared = read().get(experiment.key())
    return bool(compared) and compared["revision"] == REVISION and not disagreement(compared)


def disagreement(compared):
    """Why runs of both engines, as `read` returns them, do not show that the engines agree: a text, "" if they do."""
    seeds, mxnet, pytorch = (compared[name] for name in ("seeds", "mxnet", "pytorch"))
    if not len(set(seeds)) == len(seeds) == len(mxnet) == len(pytorch):
        return "does not have one run of each engine for each seed"
    if len(seeds) < SEEDS:
        return f"has runs of both engines for {len(seeds)} seeds, and {SEEDS} are needed"
    apart = np.subtract(pytorch, mxnet)  # of each seed
    reach = stats.t.isf(LEVEL, len(apart) - 1) * apart.std(ddof=1) / math.sqrt(len(apart))
    if abs(apart.mean()) + reach >= MARGIN:
        ends = f"{100 * (apart.mean() - reach):+.2f} to {100 * (apart.mean() + reach):+.2f} points of R@1"
        return f"has a mean difference of the engines from {ends}, which may be {100 * MARGIN:g} point or more"
    return ""


def record(experiment, mxnet, pytorch, file=None):
    """Record that the engines agree on `experiment`; returns whether the file changed.

    mxnet, pytorch: results of finished runs, as `train.fit` returns them; seeds that only one of them has are left out.
    Raises ValueError if the runs do not show it.
    """
    file = FILE if file is None else file
    ours, others = ({run["seed"]: run for run in runs} for runs in (mxnet, pytorch))
    seeds = sorted(set(ours) & set(others))
    compared = {"revision": REVISION, "seeds": seeds}
    for name, runs in (("mxnet", ours), ("pytorch", others)):
        compared[name] = [round(runs[seed]["last"]["R@1"], 6) for seed in seeds]
    if seeds:
        versions = [runs[seeds[0]].get("versions") or {} for runs in (ours, others)]
        compared["versions"] = {name: str(version) for each in versions for name, version in each.items()}
        compared["device"] = str(others[seeds[0]].get("device"))
    wrong = disagreement(compared)
    if wrong:
        raise ValueError(f"{experiment.key()} {wrong}: its runs by both engines are not averaged")
    known = read(file)
    if known.get(experiment.key()) == compared:
        return False
    write_json(file, dict(sorted({**known, experiment.key(): compared}.items())))
    return True
