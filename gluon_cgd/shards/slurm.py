"""Shards on a Slurm cluster: one job array, one shard a job."""

import time
from dataclasses import dataclass

from gluon_cgd.cluster import jobs, watch
from gluon_cgd.shards import plan as plans


@dataclass
class Shard:
    """What one job does. It is pickled, so it holds words and numbers only; the list of pictures is in the plan.

    out: of the plan, which the machine of the job must see by this path too.
    """

    out: str
    number: int
    device: str
    skip_bad: bool

    def __call__(self):
        """Fill the shard, or go on. Raises what `filling.fill` raises."""
        from gluon_cgd.machine import process
        from gluon_cgd.shards.filling import fill

        with process.shown(f"shard {self.number}", "gluon_cgd"):
            fill(plans.read(self.out), self.number, self.device, self.skip_bad)

    def checkpoint(self):
        """What submitit puts back into the queue when Slurm warns this job: the same job, which goes on."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def run(plan, numbers, wanted, skip_bad, look, say):
    """Fill the shards `numbers` as one job array and wait for them: {number: sentence} of those that failed.

    wanted: the Options of a job.  look: is called at every look at the jobs.  say: see `jobs.run`, whose errors it has.
    """
    gpu = "cuda0" if plan.model.get("exported") else "gpu0"
    device = gpu if wanted.gpus_per_job else "cpu"  # Slurm shows a job its own GPU alone
    out = str(plan.folder.with_name(plan.folder.name[: -len(".shards")]))
    tasks = [Shard(out, number, device, skip_bad) for number in numbers]
    names = [f"shard {number}" for number in numbers]
    sentences = jobs.run(tasks, names, plan.folder / "slurm", wanted, say, "shards", look)
    failed = {number: sentence for number, sentence in zip(numbers, sentences) if sentence}
    _await(plan, {*numbers} - {*failed})
    return failed


def _await(plan, numbers):
    """Return when the summaries of the shards `numbers`, which are done, are seen here; NFS may show them later."""
    end = time.monotonic() + watch.PATIENCE
    while not numbers.isdisjoint(plan.waiting()) and time.monotonic() < end:
        time.sleep(1)
