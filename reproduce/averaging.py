"""Which runs of an experiment count together. Runs of different precision are never averaged; runs of different engines
only where it is recorded that the engines agree (see parity.py).

runs, everywhere: the folder that holds the stores of all engines, see `store.of_engine`.
"""

from gluon_cgd.engines import choice
from gluon_cgd.engines.choice import MXNET, PRECISIONS, Engine
from reproduce import parity, store

EVERY = (MXNET, *(Engine("pytorch", precision) for precision in PRECISIONS))


def together(experiment, engine):
    """The engines whose runs of `experiment` are averaged with those of `engine`, itself first."""
    others = [other for other in EVERY if other.precision == engine.precision == "float32" and other != engine.kind]
    return (engine.kind, *(others if others and parity.is_recorded(experiment) else ()))


def results(runs, experiment, seeds, engine=MXNET, of_store=store.results):
    """As `store.results`, of the runs by `engine`, and of another one that may be averaged where it has none of a seed.

    of_store: what reads one store, as `store.results`.
    """
    found = {}
    for each in together(experiment, engine):
        for result in of_store(store.of_engine(runs, each), experiment, seeds):
            found.setdefault(result["seed"], result)
    store.check_alike(found.values(), f"{runs} by {engine} and another engine")
    return [found[seed] for seed in sorted(found)]


def every(runs, experiment, engine=MXNET):
    """As `results`, of all seeds that there are."""
    found = {}
    for each in together(experiment, engine):
        for result in store.every(store.of_engine(runs, each), experiment):
            found.setdefault(result["seed"], result)
    store.check_alike(found.values(), f"{store.of_engine(runs, engine)}, {experiment.key()},")
    return [result for seed in sorted(found) for result in with_losses(runs, experiment, [found[seed]])]


def with_losses(runs, experiment, finished_runs):
    """As `store.with_losses`, of runs by several engines."""
    return [
        completed
        for run in finished_runs
        for completed in store.with_losses(store.of_engine(runs, choice.of(run)), experiment, [run])
    ]


def ranks_of(runs, experiment, finished_runs):
    """As `store.ranks_of`, of runs by several engines."""
    found = {}
    for run in finished_runs:
        found.update(store.ranks_of(store.of_engine(runs, choice.of(run)), experiment, [run]))
    return found


def left_out(runs, experiment, seeds, engine=MXNET):
    """[(Engine, how many runs, why), ...]: finished runs of `experiment` that are there and do not count."""
    lines, counted = [], together(experiment, engine)
    taken = {run["seed"]: choice.of(run).kind for run in results(runs, experiment, seeds, engine)}
    for each in EVERY:
        finished = [seed for seed in range(seeds) if store.result(store.of_engine(runs, each), experiment, seed)]
        others = [seed for seed in finished if taken.get(seed) != each]
        if others and each in counted:
            lines.append((each, len(others), "another engine has runs with these seeds"))
        elif others and each.precision != engine.precision:
            lines.append((each, len(others), "runs of different precision are never averaged"))
        elif others:
            lines.append((each, len(others), "that both engines agree is not recorded for this experiment"))
    return lines


def missing(runs, wanted, engine, needed=False):
    """Those of `wanted`, [plan.Wanted, ...], that `engine` has to train: they are not done.

    Where both engines agree, a run by the other one is as good, unless its parameters are `needed`.
    """

    def is_elsewhere(run):
        others = together(run.experiment, engine)[1:]
        return not needed and any(
            store.result(store.of_engine(runs, other), run.experiment, run.seed) for other in others
        )

    return [run for run in wanted if not run.done and not is_elsewhere(run)]
