"""Recording runs: their results and ranks go into the repository."""

import functools
from pathlib import Path

import numpy as np

from gluon_cgd.engines import choice
from gluon_cgd.experiment import Experiment
from gluon_cgd.files import stand_in
from gluon_cgd.files.arrays import write_compressed
from gluon_cgd.files.whole import write_json
from gluon_cgd.runs import ranks
from reproduce import recorded, seal, store
from reproduce.documents import findings
from reproduce.recorded import FOLDER, alone
from reproduce.tables import EVERYTHING
from reproduce.training import plan


def everything():
    """The tables whose runs are recorded."""
    return (*EVERYTHING, findings.table())


def record(runs, tables, folder=FOLDER):
    """Copy the finished runs behind `tables`, in all their forms, from the store `runs` into `folder`.

    A run that was recorded before is replaced. Returns the names of the files that changed.
    Raises ValueError, before anything is written, for a run whose ranks are not what it was counted from, and where
    runs would be averaged or compared that learned from different things.
    """
    writers, engines = {}, {}  # {file: a function that writes it}, {experiment: {the name of an engine, ...}}
    for experiment in sorted(plan.experiments(tables), key=Experiment.key):
        found, made = prepared(runs, experiment, folder)
        writers.update(found)
        if found:
            engines[experiment] = made
    check_engines(engines, folder)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for file, writer in writers.items():
        writer(file)
    return [file.name for file in writers]


def check_engines(changed, folder):
    """Raise ValueError if a table would have rows by different engines. changed: {experiment: names of its engines}."""

    def engines_of(experiment):
        known = changed.get(experiment)
        return known if known is not None else {str(choice.of(run)) for run in recorded.read(experiment, folder)}

    engines_of = functools.lru_cache(None)(engines_of)
    for table, experiments in plan.of_forms(EVERYTHING):
        if experiments & set(changed):
            names = sorted(set().union(*map(engines_of, experiments)))
            if len(names) > 1:
                raise ValueError(
                    f"{table.label} would compare runs by {' and by '.join(names)}: record all its rows by one engine, "
                    f"and delete those by the other one from {folder}"
                )


def prepared(runs, experiment, folder):
    """({file: a function that writes what is new in it}, the names of the engines of all runs) of one experiment."""
    key, writers = experiment.key(), {}
    before = {run["seed"]: alone(run) for run in recorded.read(experiment, folder)}
    ranks_before = recorded.all_ranks(experiment, folder)
    after, ranks_after = dict(before), dict(ranks_before)
    for run in store.every(runs, experiment):
        seed, arrays = run["seed"], ranks_of(runs, experiment, run)
        if arrays is None and seed in ranks_before and not recorded.check_ranks(ranks_before[seed], alone(run)):
            arrays = ranks_before[seed]  # recorded before they were deleted
        after[seed] = seal.sealed(key, alone(run), arrays and ranks.without_classes(arrays))
        ranks_after.pop(seed, None)
        ranks_after.update({seed: arrays} if arrays else {})
    after = {seed: seal.sealed(key, run) for seed, run in after.items()}
    made = sorted({str(choice.of(run)) for run in after.values()})
    if len(made) > 1:
        file = recorded.file_of(experiment, folder)
        raise ValueError(f"{file} would hold runs by {' and by '.join(made)}: delete it to record only the new ones")
    store.check_alike(after.values(), f"{recorded.file_of(experiment, folder)}, with the new ones,")
    for seed, arrays in ranks_after.items():
        wrong = recorded.check_ranks(arrays, after[seed]) if seed in after else "is of no recorded run"
        if wrong:
            raise ValueError(f"{recorded.ranks_of(experiment, folder)}, seed {seed}, {wrong}: {recorded.REMEDY}")
    if not same(ranks_after, ranks_before):  # first: a run that is recorded has its ranks
        check_classes(recorded.ranks_of(experiment, folder), ranks_after)
        writers[recorded.ranks_of(experiment, folder)] = functools.partial(write_ranks, ranks_of_runs=ranks_after)
    if after != before:
        content = {"experiment": experiment.to_dict(), "runs": [run for _, run in sorted(after.items())]}
        writers[recorded.file_of(experiment, folder)] = functools.partial(write_json, values=content)
    return writers, set(made)


def write_ranks(file, ranks_of_runs):
    """Write `ranks_of_runs`, {seed: {"last": (N,), ..., "classes": (N,)}}, to `file`, the classes once."""
    classes = check_classes(file, ranks_of_runs)
    named = {ranks.CLASSES: classes[0]} if classes else {}
    for seed, arrays in sorted(ranks_of_runs.items()):
        named.update({f"seed{seed}/{name}": array for name, array in arrays.items() if name != ranks.CLASSES})
    write_compressed(file, named)


def check_classes(file, ranks_of_runs):
    """The classes of each run's test pictures, [(N,), ...]. Raises ValueError for runs of different test pictures."""
    classes = [arrays[ranks.CLASSES] for arrays in ranks_of_runs.values()]
    if any(not np.array_equal(each, classes[0]) for each in classes):
        raise ValueError(f"{file} would be of runs that were tested on different pictures: keep only those that agree")
    return classes


def ranks_of(runs, experiment, run):
    """The ranks of a finished `run` in the store `runs` that are recorded, {"last": (N,), ...}; None if it has none.

    Raises ValueError if they are not what its recalls were counted from, and for a run of a rehearsal.
    """
    if stand_in.of(run):
        place = store.folder(runs, experiment, run["seed"])
        raise ValueError(f"{place} is a rehearsal's run, whose {stand_in.of(run)} are made up: it is no result to keep")
    arrays = store.ranks_of_run(runs, experiment, run)
    return arrays and ranks.recorded(arrays)


def same(one, other):
    """Whether the ranks of runs, {seed: {name: array}}, are equal."""
    values = [
        {(seed, name): array.tolist() for seed, arrays in each.items() for name, array in arrays.items()}
        for each in (one, other)
    ]
    return values[0] == values[1]
