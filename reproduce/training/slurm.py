"""Training on a Slurm cluster: one job array, one run a job. What becomes of a job says gluon_cgd/cluster/jobs.py.

A run that goes back into the queue continues from its last checkpoint.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from gluon_cgd.cluster import jobs
from gluon_cgd.engines.choice import MXNET, Engine
from gluon_cgd.experiment import Experiment
from reproduce import store


@dataclass
class Job:
    """What one job does: the run of one experiment and seed. It is pickled, so it holds words and numbers only."""

    experiment: dict
    seed: int
    runs: str
    data: str
    weights: Optional[str]
    device: str
    engine: dict = field(default_factory=MXNET._asdict)

    def __call__(self):
        """Train the run, or continue it. Raises what `store.train` raises."""
        from gluon_cgd.machine import devices  # it needs MXNet, which a job imports where it runs

        engine, experiment = Engine(**self.engine), Experiment.from_dict(self.experiment)
        ctx = devices.context(self.device) if engine == MXNET else self.device
        store.train(self.runs, experiment, self.seed, self.data, ctx, self.weights, progress=False, engine=engine)

    def checkpoint(self):
        """What submitit puts back into the queue when Slurm warns this job: the same job, which continues the run."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def train(todo, runs, data, weights, options, say, engine=MXNET):
    """Train the runs of `todo` as one job array and wait for them: [(row, experiment, seed, None or what went wrong)].

    todo: [(name of a row, Experiment, seed), ...].  runs, data: folders.  weights: a file, or None.
    say: a function that is called with a sentence whenever something has changed.
    engine: what trains. Every machine of the cluster must see PyTorch's environment, in the project's folder.
    An interruption (Ctrl-C) ends the waiting, not the jobs. Raises ValueError where there is no Slurm or submitit, and
    where Slurm refuses the jobs.
    """
    if not todo:
        return []
    gpu = "gpu0" if engine == MXNET else "cuda0"
    device = gpu if options.gpus_per_job else "cpu"  # Slurm shows a job its own GPU alone
    places = [os.path.abspath(runs), os.path.abspath(data), weights and os.path.abspath(weights)]
    tasks = [Job(experiment.to_dict(), int(seed), *places, device, engine._asdict()) for _, experiment, seed in todo]
    names = [f"{row}, seed {seed}" for row, _, seed in todo]
    sentences = jobs.run(tasks, names, Path(places[0]) / "slurm", options, say)
    return [(*run, sentence) for run, sentence in zip(todo, sentences)]
