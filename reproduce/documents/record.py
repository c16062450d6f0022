"""Recording runs: their results go into the repository."""

from gluon_cgd.experiment import Experiment
from gluon_cgd.files.whole import write_json
from reproduce import seal, store
from reproduce.recorded import FOLDER, alone, file_of, read
from reproduce.training import plan


def record(runs, tables, folder=FOLDER):
    """Copy the finished runs behind `tables`, mini forms too, from the store `runs` into `folder`.

    A run that was recorded before is replaced. Returns the names of the files that changed.
    """
    changed = []
    experiments = {run.experiment for small in (True, False) for run in plan.wanted(tables, None, small, runs)}
    for experiment in sorted(experiments, key=Experiment.key):
        before = {run["seed"]: alone(run) for run in read(experiment, folder)}
        finished = {run["seed"]: alone(run) for run in store.every(runs, experiment)}
        after = {seed: seal.sealed(experiment.key(), run) for seed, run in {**before, **finished}.items()}
        if after != before:
            file = file_of(experiment, folder)
            results = [run for _, run in sorted(after.items())]
            write_json(file, {"experiment": experiment.to_dict(), "runs": results})
            changed.append(file.name)
    return changed
