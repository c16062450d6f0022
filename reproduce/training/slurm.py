"""Training on a Slurm cluster through submitit: one job array, one run a job.

A run that is pre-empted, killed while it trains or out of time goes back into the queue; some minutes later it starts
again and continues from its last checkpoint. A run that is cancelled while it waits stays out of the queue.
submitit keeps its logs and pickles in the folder `runs`/slurm. One person's jobs write and read those pickles; do not
put other people's there. Every machine of the cluster must see that folder, the data and the environment.
"""

import contextlib
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Optional, Tuple

from gluon_cgd.engines.choice import MXNET, Engine
from gluon_cgd.experiment import Experiment
from gluon_cgd.machine import facts
from reproduce import store
from reproduce.training.slurm_jobs import Watched, wait

PROGRAMS = ("sbatch", "srun", "squeue", "scontrol")
WARNING = 90  # seconds before the end of its time at which a job is told to go back into the queue


@dataclass(frozen=True)
class Options:
    """What each job asks of Slurm. Raises ValueError for what no job can have."""

    partition: Optional[str] = None
    time_minutes: int = 240  # a run that needs longer goes back into the queue
    gpus_per_job: int = 0
    cpus_per_job: int = 4
    memory_gb: Optional[float] = None  # None: what the cluster gives
    at_once: Optional[int] = None  # jobs; None: as many as the cluster can
    account: Optional[str] = None
    qos: Optional[str] = None
    setup: Tuple[str, ...] = ()  # lines of shell before Python starts, ("module load cuda",)
    max_requeues: int = 10  # of one run

    def __post_init__(self):
        # A job that is warned before it has trained would never get on
        self._whole("time_minutes", 5, f"{WARNING} seconds of them are for going back into the queue")
        self._whole("gpus_per_job", 0, "1 trains on a GPU")
        self._need(self.gpus_per_job <= 1, "gpus_per_job", "must be 0 or 1", "a run trains on one device")
        self._whole("cpus_per_job", 1, "4 is the default")
        self._whole("max_requeues", 0, "10 is the default")
        if self.at_once is not None:
            self._whole("at_once", 1, "leave it out for as many as the cluster can")
        good = self.memory_gb is None or isinstance(self.memory_gb, Real) and 0 < self.memory_gb < 1e6
        self._need(
            good, "memory_gb", "must be a positive number of gigabytes", "leave it out for what the cluster gives"
        )
        for name in ("partition", "account", "qos"):
            value = getattr(self, name)
            good = value is None or isinstance(value, str) and re.fullmatch(r"[^\s-]\S*", value)
            self._need(good, name, "must be a name without blanks", "sinfo and sacctmgr list what there is")
        good = isinstance(self.setup, (tuple, list)) and all(isinstance(line, str) for line in self.setup)
        self._need(good, "setup", "must be a list of lines", "('module load cuda',), say")

    def _whole(self, name, least, remedy):
        value = getattr(self, name)
        good = isinstance(value, int) and not isinstance(value, bool) and value >= least
        self._need(good, name, f"must be a whole number from {least}", remedy)

    def _need(self, holds, name, rule, remedy):
        if not holds:
            raise ValueError(f"{name} {getattr(self, name)!r} {rule}: {remedy}")

    def parameters(self):
        """What submitit writes into the head of the job's script, and before its command: a dict."""
        path = os.pathsep.join(filter(None, [str(facts.PACKAGES), os.environ.get("PYTHONPATH")]))
        threads = f"export OMP_NUM_THREADS={self.cpus_per_job}"  # MXNet and NumPy read it once, when they are imported
        parameters = dict(
            job_name="gluon_cgd",
            partition=self.partition,
            account=self.account,
            qos=self.qos,
            time=self.time_minutes,
            signal_delay_s=WARNING,
            cpus_per_task=self.cpus_per_job,
            srun_args=[f"--cpus-per-task={self.cpus_per_job}"],  # from Slurm 22.05 on it is not handed down
            gres=f"gpu:{self.gpus_per_job}" if self.gpus_per_job else None,
            mem=None if self.memory_gb is None else f"{round(1024 * self.memory_gb)}M",
            array_parallelism=self.at_once or 10**6,
            setup=[*self.setup, threads, f"export PYTHONPATH={shlex.quote(path)}"],
            additional_parameters={"requeue": True},
        )
        return {name: value for name, value in parameters.items() if value is not None}


def parse_options(words):
    """The Options that ("partition=gpu", "cpus_per_job=8", ...) ask for; "setup" may come several times.

    Raises ValueError for a word that is not KEY=VALUE, an unknown key, and values that Options refuses.
    """
    values = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in Options.__dataclass_fields__:
            names = ", ".join(Options.__dataclass_fields__)
            raise ValueError(f"--slurm {word} is not KEY=VALUE with one of the keys {names}")
        if key == "setup":
            values[key] = (*values.get(key, ()), value)
            continue
        for number in (int, float):
            with contextlib.suppress(ValueError):
                values.setdefault(key, number(value))
        values.setdefault(key, value)
    return Options(**values)


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
    submitit = import_submitit()
    gpu = "gpu0" if engine == MXNET else "cuda0"
    device = gpu if options.gpus_per_job else "cpu"  # Slurm shows a job its own GPU alone
    places = [os.path.abspath(runs), os.path.abspath(data), weights and os.path.abspath(weights)]
    tasks = [Job(experiment.to_dict(), int(seed), *places, device, engine._asdict()) for _, experiment, seed in todo]
    executor = submitit.SlurmExecutor(Path(places[0]) / "slurm", max_num_timeout=options.max_requeues)
    executor.update_parameters(**options.parameters())
    try:
        jobs = executor.submit_array(tasks)
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
        raise ValueError(
            f"Slurm refused the jobs ({reason}): check the partition, account, QOS, time and memory asked for"
        ) from error
    number = jobs[0].job_id.split("_")[0]
    say(f"Slurm job {number}: {len(jobs)} runs, logs in {executor.folder}; Ctrl-C, then scancel {number}, ends it")
    watched = [
        Watched(job, f"{row}, seed {seed}", options.max_requeues, say) for job, (row, _, seed) in zip(jobs, todo)
    ]
    try:
        wait(watched, number, say)
    except KeyboardInterrupt:
        say(f"Slurm job {number} goes on: scancel {number} ends it; the same command later takes what is finished")
        raise
    return [(*run, one.sentence) for run, one in zip(todo, watched)]


def import_submitit():
    """The module submitit. Raises ValueError where it, or a program of Slurm, is not there."""
    try:
        import submitit
    except ImportError as error:
        raise ValueError(
            f"{sys.executable} has no submitit ({error}): {facts.install('requirements-extra.txt')}"
        ) from error
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        raise ValueError(
            f"{missing[0]} is not on the PATH: start this on a machine of a Slurm cluster, or train without Slurm"
        )
    return submitit
