"""What a job asks of Slurm."""

import contextlib
import os
import re
import shlex
from dataclasses import dataclass
from numbers import Real
from typing import Optional, Tuple

from gluon_cgd.machine import facts

WARNING = 90  # seconds before the end of its time at which a job is told to go back into the queue
NAMES = ("partition", "account", "qos")  # of the cluster; an account may be called 12345


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
        for name in NAMES:
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
            mem=None if self.memory_gb is None else f"{max(1, round(1024 * self.memory_gb))}M",  # 0M: all of a node
            array_parallelism=self.at_once or 10**6,
            setup=[*self.setup, threads, f"export PYTHONPATH={shlex.quote(path)}"],
            additional_parameters={"requeue": True},
        )
        return {name: value for name, value in parameters.items() if value is not None}


def parse_options(words):
    """The Options that ("partition=gpu", "cpus_per_job=8", ...) ask for; "setup" may come several times.

    Raises ValueError for a word that is not KEY=VALUE, an unknown key, another one that comes twice, and values that
    Options refuses.
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
        if key in values:
            raise ValueError(f"--slurm {word} gives {key} again, after {values[key]}: say it once")
        for number in () if key in NAMES else (int, float):
            with contextlib.suppress(ValueError):
                values.setdefault(key, number(value))
        values.setdefault(key, value)
    return Options(**values)
