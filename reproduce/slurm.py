"""Training on a Slurm cluster through submitit: one job array, one run a job.

A run that is pre-empted, killed from outside or out of time goes back into the queue and on from its last checkpoint.
What submitit keeps, logs and pickles, is in the folder `runs`/slurm. Those pickles are made and read by the jobs of one
person; nobody else's belong there. Every machine of the cluster must see that folder, the data and the environment.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Optional, Tuple

from gluon_cgd import runtime
from gluon_cgd.experiment import Experiment

from . import runs as store

PROJECT = Path(__file__).resolve().parents[1]
PROGRAMS = ("sbatch", "srun", "squeue", "scontrol")
WARNING = 90  # seconds before the end of its time at which a job is told to go back into the queue
PATIENCE = 15  # seconds that a file written on one machine may take to be seen on another
KILLED = {"CANCELLED", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "TIMEOUT"}  # from outside: nothing is wrong with the run
GONE = "unknown to Slurm"
OVER = KILLED | {"COMPLETED", "FAILED", "OUT_OF_MEMORY", "DEADLINE", "REVOKED", GONE}


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
        path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
        threads = f"export OMP_NUM_THREADS={self.cpus_per_job}"  # MXNet and NumPy read it once, when they are imported
        asked = dict(
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
        return {name: value for name, value in asked.items() if value is not None}


class Job:
    """What one job does: the run of one experiment and seed. It is pickled, so it holds words and numbers only."""

    def __init__(self, experiment, seed, runs, data, weights, device):
        self.experiment, self.seed, self.device = experiment, seed, device
        self.runs, self.data, self.weights = runs, data, weights

    def __call__(self):
        """Train the run, or go on with it. Raises what `store.train` raises."""
        ctx = runtime.context(self.device)
        experiment = Experiment.from_dict(self.experiment)
        store.train(self.runs, experiment, self.seed, self.data, ctx, self.weights, progress=False)

    def checkpoint(self):
        """What submitit puts back into the queue when Slurm warns this job: the same, for the run's folder knows."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def train(todo, runs, data, weights, options, say):
    """Train the runs of `todo` as one job array and wait for them: [(row, experiment, seed, None or what went wrong)].

    todo: [(name of a row, Experiment, seed), ...].  runs, data: folders.  weights: a file, or None.
    say: called with a sentence whenever something has changed.
    An interruption (Ctrl-C) ends the waiting, not the jobs. Raises ValueError where there is no Slurm or submitit, and
    where Slurm refuses the jobs.
    """
    if not todo:
        return []
    submitit = needed()
    device = "gpu0" if options.gpus_per_job else "cpu"  # Slurm shows a job its own GPU alone
    places = [os.path.abspath(runs), os.path.abspath(data), weights and os.path.abspath(weights)]
    tasks = [Job(experiment.to_dict(), int(seed), *places, device) for _, experiment, seed in todo]
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


def needed():
    """The module submitit. Raises ValueError where it, or a program of Slurm, is not there."""
    try:
        import submitit
    except ImportError as error:
        raise ValueError(
            f"{sys.executable} has no submitit ({error}): python -m pip install --no-deps -r requirements-extra.txt"
        ) from error
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        raise ValueError(
            f"{missing[0]} is not on the PATH: start this on a machine of a Slurm cluster, or train without Slurm"
        )
    return submitit


class Watched:
    """A run under way: its job and what has become of it."""

    def __init__(self, job, name, limit, say):
        self.job, self.name, self.limit, self.say = job, name, limit, say
        self.requeues, self.over_since = 0, None
        self.finished, self.sentence = False, None  # what went wrong

    def look(self, state):
        """Take note of what has become of the job, which Slurm says is in `state`; requeue it if it was killed."""
        if self.job.paths.result_pickle.exists():
            self.finish(outcome(self.job))
        elif state not in OVER:
            self.over_since = None
        elif state in KILLED and self.requeues < self.limit:
            self.requeues += 1
            if asked("scontrol", "requeue", self.job.job_id) is not None:
                count = f"{self.requeues} of {self.limit} times"
                self.say(f"{self.name} (Slurm job {self.job.job_id}): {state}, back in the queue, {count}")
        elif self.over_since is None:
            self.over_since = time.time()
        elif time.time() > self.over_since + PATIENCE:
            self.finish(f"it ended as {state}, without a result" + " (cancelled while it waited?)" * (state == GONE))

    def finish(self, problem):
        """The job is over; `problem` is what went wrong, or None."""
        self.finished = True
        if problem:
            log = self.job.paths.stderr
            where = f"see {log}" if log.exists() else f"there is no {log}, so it never started"
            self.sentence = f"{self.name} (Slurm job {self.job.job_id}) failed: {problem.rstrip('.')}; {where}"
            self.say(self.sentence)


def wait(watched, number, say):
    """Return when all that are `watched`, of the job `number`, are finished; say how many are when that changes."""
    told, start = None, time.time()
    while True:
        states = queue()
        for one in watched:
            if not one.finished:
                one.look("UNKNOWN" if states is None else states.get(one.job.job_id, GONE))
        left = [one.job.job_id for one in watched if not one.finished]
        running = sum((states or {}).get(job) == "RUNNING" for job in left)
        failed = sum(one.sentence is not None for one in watched)
        line = f"{len(watched) - len(left) - failed} of {len(watched)} runs done, {failed} failed, {running} running"
        line = "no answer from Slurm, still waiting" if states is None else line
        if line != told:
            say(f"Slurm job {number}: {line}")
        told = line
        if not left:
            return
        time.sleep(min(30, max(1, (time.time() - start) / 20)))  # long runs are not asked after every second


def outcome(job):
    """What went wrong in a job that has left its outcome, None for nothing."""
    from submitit.core.utils import pickle_load

    how, value = pickle_load(job.paths.result_pickle)
    if how == "success":
        return None
    last = value.strip().splitlines()[-1]  # of the traceback
    return re.sub(r"^[\w.]*(Error|Exception|Interrupt): ", "", last)


def queue():
    """{job: state} of all jobs of this user that Slurm knows, {"12_0": "RUNNING"}; None if it does not answer."""
    command = ("squeue", "--noheader", "--array", "--all", "--states=all", f"--user={os.getuid()}", "--format=%i %T")
    found = asked(*command)
    return None if found is None else dict(line.split()[:2] for line in found.splitlines() if line.strip())


def asked(*command):
    """What a program of Slurm prints; None if it fails or takes longer than a minute."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
