"""Recording runs: their results go into the repository."""

from gluon_cgd.experiment import Experiment
from gluon_cgd.files.whole import write_json
from reproduce import store
from reproduce.recorded import FOLDER, alone, file_of, read
from reproduce.training import plan


def record(runs, tables, folder=FOLDER):
    """Copy the finished runs that `tables` ask for, mini forms too, from the store `runs` into `folder`.

    A run that was recorded before is recorded anew. Returns the names of the files that changed.
    """
    changed = []
    experiments = {run.experiment for small in (True, False) for run in plan.wanted(tables, None, small, runs)}
    for experiment in sorted(experiments, key=Experiment.key):
        seeds, own = (
            {run["seed"]: alone(run) for run in found}
            for found in (read(experiment, folder), store.every(runs, experiment))
        )
        if {**seeds, **own} != seeds:
            kept = [run for _, run in sorted({**seeds, **own}.items())]
            write_json(file_of(experiment, folder), {"experiment": experiment.to_dict(), "runs": kept})
            changed.append(file_of(experiment, folder).name)
    return changed
