"""Records for which experiments the finished runs of both engines agree (see parity.py)."""

from gluon_cgd.engines.choice import MXNET, Engine
from gluon_cgd.experiment import Experiment
from reproduce import parity, store
from reproduce.training import plan


def record(runs, tables, small):
    """Record the experiments behind `tables` that both engines have runs of in the folder `runs`; returns lines.

    small: on the embedded benchmark. Experiments whose runs do not agree are told, and not recorded. Raises ValueError
    if no experiment has runs by both engines.
    """
    lines = []
    experiments = {run.experiment for run in plan.wanted(tables, None, small, runs)}
    for experiment in sorted(experiments, key=Experiment.key):
        mxnet, pytorch = (store.every(store.of_engine(runs, one), experiment) for one in (MXNET, Engine("pytorch")))
        if mxnet and pytorch:
            try:
                changed = parity.record(experiment, mxnet, pytorch)
                lines.append(f"{experiment.key()}: {'recorded' if changed else 'recorded before'}")
            except ValueError as error:
                lines.append(f"not recorded: {error}")
    if not lines:
        names = ", ".join(table.name for table in tables)
        remedy = "train its rows with --engine mxnet, and again with --engine pytorch"
        raise ValueError(f"{runs} has no experiment of {names} with finished runs by both engines in float32: {remedy}")
    return lines
