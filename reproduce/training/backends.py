"""Where runs are trained: here one after the other, several at once on this machine, or on a Slurm cluster."""

import logging
import sys

from gluon_cgd.machine import devices, facts
from gluon_cgd.machine.sentences import sentence
from reproduce import recorded, store
from reproduce.training import local

BACKENDS = ("here", "local", "slurm")
log = logging.getLogger("reproduce")


def train(todo, backend, small, runs, data, ctx, weights, slurm=(), parts=1):
    """Train `todo`, [(name, experiment, seed), ...], into the store `runs`.

    backend: "here", "local" (a process for each device), "slurm", or None: local for the embedded benchmark on a CPU,
        else here.  ctx: the device or devices as --ctx names them.  slurm: ("key=value", ...) for slurm.Options.
    parts: of each batch, as in `train.fit`; not on a cluster.
    Raises ValueError with a sentence for each run that failed, after all others are done.
    """
    check(backend, slurm, parts)
    contexts = devices.contexts(ctx)
    on_cpu = contexts[0].device_type == "cpu"
    backend = backend or ("local" if small and on_cpu else "here")
    if backend == "slurm":
        from reproduce.training import slurm as cluster

        failed = cluster.train(todo, runs, data, weights, cluster.parse_options(slurm), log.info)
        failed = [(name, seed, sentence) for name, _, seed, sentence in failed if sentence]
    elif backend == "local":
        names, threads = [f"{device.device_type}{device.device_id}" for device in contexts], facts.cores()
        if small and on_cpu:
            names, threads = ["cpu"] * threads, 1
        shown = sys.stderr.isatty()
        todo = sorted(todo, key=lambda run: -(recorded.seconds(run[1]) or 0))  # a long one last would run alone
        failed = local.train(todo, names, threads, runs=runs, data=data, weights=weights, progress=shown, parts=parts)
    else:
        failed = here(todo, contexts, runs, data, weights, parts)
    if failed:
        lines = "".join(f"\n  - {name}, seed {seed}: {sentence}" for name, seed, sentence in failed)
        raise ValueError(f"{len(failed)} of {len(todo)} runs failed (the same command tries them again):{lines}")


def check(backend, slurm=(), parts=1):
    """Raise ValueError for arguments of `train` that cannot be, before anything is prepared."""
    if parts < 1:
        raise ValueError(f"--parts {parts} must be at least 1, the number of parts of a batch: 1 is the default")
    if backend == "slurm" and parts != 1:
        raise ValueError(
            f"--parts {parts} works only on this machine: leave it out, or ask the cluster for larger devices"
        )
    if backend == "slurm":
        from reproduce.training import slurm as cluster

        cluster.parse_options(slurm)


def here(todo, devices, runs, data, weights, parts=1):
    """Train one run after the other in this process; returns [(name, seed, sentence), ...] of those that failed."""
    failed = []
    for number, (name, experiment, seed) in enumerate(todo):
        log.info("run %d of %d: %s, seed %d", number + 1, len(todo), name, seed)
        try:
            store.train(runs, experiment, seed, data, devices, weights, sys.stderr.isatty(), parts)
        except (ValueError, RuntimeError, MemoryError) as error:  # the other runs may be fine
            log.info("failed: %s", sentence(error))
            failed.append((name, seed, sentence(error)))
    return failed
