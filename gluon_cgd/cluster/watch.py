"""Watches Slurm jobs: puts killed ones back into the queue and says in one sentence why a job failed.

The state comes from squeue, which every cluster has, and not from sacct, which needs a database.
"""

import os
import re
import subprocess
import time

PATIENCE = 60  # seconds that NFS may take to show a file to another machine than the one that wrote it
KILLED = {"CANCELLED", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "TIMEOUT"}  # from outside: nothing is wrong with the run
GONE = "unknown to Slurm"
CUT_SHORT = re.compile(r"'scontrol', 'requeue', .* died with")  # the signal ended what puts a job back, too
OVER = KILLED | {"COMPLETED", "FAILED", "OUT_OF_MEMORY", "DEADLINE", "REVOKED", GONE}


class Watched:
    """A run, its job, and what has become of it."""

    def __init__(self, job, name, limit, say):
        self.job, self.name, self.limit, self.say = job, name, limit, say
        self.requeues, self.over_since = 0, None
        self.finished, self.sentence = False, None  # sentence: what went wrong

    def look(self, state):
        """Note what has become of the job, which Slurm says is in `state`; requeue it if it was killed while it ran."""
        if self.job.paths.result_pickle.exists():
            problem = outcome(self.job)
            if not (problem and CUT_SHORT.search(problem)):
                return self.finish(problem)
            self.job.paths.result_pickle.unlink()
            state = "PREEMPTED"
        if state not in OVER:
            self.over_since = None
        elif state in KILLED and self.job.paths.stderr.exists() and self.requeues < self.limit:
            self.requeues += 1
            if output_of("scontrol", "requeue", self.job.job_id) is not None:
                count = f"{self.requeues} of {self.limit} times"
                hint = "; Ctrl-C before scancel ends it" * (state == "CANCELLED")
                self.say(f"{self.name} (Slurm job {self.job.job_id}): {state}, back in the queue, {count}{hint}")
        elif self.over_since is None:
            self.over_since = time.time()
        elif time.time() > self.over_since + PATIENCE:
            self.finish(f"it ended as {state}, without a result" + " (cancelled in the queue?)" * (state == GONE))

    def finish(self, problem):
        """The job is over; `problem` is what went wrong, or None."""
        self.finished = True
        if problem:
            log = self.job.paths.stderr
            where = f"see {log}" if log.exists() else f"there is no {log}, so it never started"
            self.sentence = f"{self.name} (Slurm job {self.job.job_id}) failed: {problem.rstrip('.')}; {where}"
            self.say(self.sentence)


def wait(watched, number, say, unit="runs", seen=None):
    """Return when all `watched` runs of the job `number` are finished; say how many are whenever that changes.

    unit: what a run is called, in the plural.  seen: a function that is called after every look, if there is one.
    """
    last_line, start = None, time.time()
    while True:
        states = queue()
        for one in watched:
            if not one.finished:
                one.look("UNKNOWN" if states is None else states.get(one.job.job_id, (GONE, ""))[0])
        left = [one.job.job_id for one in watched if not one.finished]
        line = "no answer from Slurm, still waiting" if states is None else summary(watched, left, states, unit)
        if line != last_line:
            say(f"Slurm job {number}: {line}")
        last_line = line
        if seen:
            seen()
        if not left:
            return
        time.sleep(min(30, max(1, (time.time() - start) / 20)))  # the longer it takes, the more seldom


def summary(watched, left, states, unit="runs"):
    """How many runs are done, failed, running and waiting, and why they wait. left: the jobs that are not finished."""
    failed = sum(one.sentence is not None for one in watched)
    now = [states[job] for job in left if job in states]
    running = sum(state == "RUNNING" for state, _ in now)
    waiting = [reason for state, reason in now if state == "PENDING"]
    reasons = ", ".join(sorted(set(waiting) - {"None"}))
    line = f"{len(watched) - len(left) - failed} of {len(watched)} {unit} done, {failed} failed, {running} running"
    return f"{line}, {len(waiting)} waiting" + f" ({reasons})" * bool(reasons)


def outcome(job):
    """What went wrong in a job that left its result; None when nothing did."""
    from submitit.core.utils import pickle_load

    how, value = pickle_load(job.paths.result_pickle)
    if how == "success":
        return None
    last = value.strip().splitlines()[-1]  # of the traceback
    return re.sub(r"^[\w.]*(Error|Exception|Interrupt): ", "", last)


def queue():
    """{job: (state, why it waits)} of this user's jobs, {"12_0": ("RUNNING", "None")}; None without an answer."""
    mine = ("--array", "--all", "--states=all", f"--user={os.getuid()}")
    output = output_of("squeue", "--noheader", *mine, "--format=%i|%T|%r")
    if output is None:
        return None
    rows = [line.strip().split("|", 2) for line in output.splitlines() if line.count("|") >= 2]
    return {job: (state, reason) for job, state, reason in rows}


def output_of(*command):
    """What a program of Slurm prints; None if it fails or takes longer than a minute."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
