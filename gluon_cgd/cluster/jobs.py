"""One job array on a Slurm cluster through submitit: submitted, watched to its end, and told about in sentences.

A job that is pre-empted, killed while it works or out of time goes back into the queue; some minutes later it starts
again and continues what it did. A job that is cancelled while it waits stays out of the queue.
submitit keeps its logs and pickles in a folder. One person's jobs write and read those pickles; do not put other
people's there. Every machine of the cluster must see that folder, the data and the environment.
"""

import shutil
import sys

from gluon_cgd.cluster.watch import Watched, wait
from gluon_cgd.machine import facts

PROGRAMS = ("sbatch", "srun", "squeue", "scontrol")


def run(tasks, names, folder, wanted, say, unit="runs", seen=None):
    """Submit `tasks` as one job array and wait for them; returns for each None, or a sentence on what went wrong.

    tasks: callables that can be pickled, with a method `checkpoint` (see submitit).  names: of each, for sentences.
    folder: of submitit's logs and pickles.  wanted: the Options of each job.  unit: the plural for tasks.
    say: a function that is called with a sentence whenever something has changed.  seen: see `wait`.
    An interruption (Ctrl-C) ends the waiting, not the jobs. Raises ValueError where there is no Slurm or submitit, and
    where Slurm refuses the jobs.
    """
    submitit = import_submitit()
    executor = submitit.SlurmExecutor(folder, max_num_timeout=wanted.max_requeues)
    executor.update_parameters(**wanted.parameters())
    try:
        jobs = executor.submit_array(tasks)
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
        raise ValueError(
            f"Slurm refused the jobs ({reason}): check the partition, account, QOS, time and memory asked for, and "
            f"that an array may have {len(tasks):,} jobs (scontrol show config names MaxArraySize)"
        ) from error
    number = jobs[0].job_id.split("_")[0]
    say(f"Slurm job {number}: {len(jobs)} {unit}, logs in {executor.folder}; Ctrl-C, then scancel {number}, ends it")
    watched = [Watched(job, name, wanted.max_requeues, say) for job, name in zip(jobs, names)]
    try:
        wait(watched, number, say, unit, seen)
    except KeyboardInterrupt:
        say(f"Slurm job {number} goes on: scancel {number} ends it; the same command later takes what is finished")
        raise
    return [one.sentence for one in watched]


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
            f"{missing[0]} is not on the PATH: start this on a machine of a Slurm cluster, or leave Slurm out"
        )
    return submitit
