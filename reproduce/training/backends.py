"""Where runs are trained: here one after the other, several at once on this machine, or on a Slurm cluster."""

import logging
import sys

from gluon_cgd.cluster.options import parse_options
from gluon_cgd.engines import environment
from gluon_cgd.engines.choice import MXNET
from gluon_cgd.machine import devices, facts
from gluon_cgd.machine.sentences import sentence
from reproduce import recorded, store
from reproduce.training import local

BACKENDS = ("here", "local", "slurm")
log = logging.getLogger("reproduce")


def train(todo, backend, small, runs, data, ctx, weights, slurm=(), parts=1, engine=MXNET):
    """Train `todo`, [(name, experiment, seed), ...], into the store `runs`.

    backend: "here", "local" (a process for each device), "slurm", or None: local for the embedded benchmark on a CPU,
        else here.  ctx: the device or devices as --ctx names them.  slurm: ("key=value", ...) for slurm.Options.
    parts: of each batch, as in `train.fit`; not on a cluster.  engine: what trains.
    Raises ValueError with a sentence for each run that failed, after all others are done.
    """
    check(backend, slurm, parts, engine)
    names = devices_of(ctx, engine) if backend != "slurm" else ["cpu"]
    on_cpu = names[0].startswith("cpu")
    backend = backend or ("local" if small and on_cpu else "here")
    if backend == "slurm":
        from reproduce.training import slurm as cluster

        failed = cluster.train(todo, runs, data, weights, parse_options(slurm), log.info, engine)
        failed = [(name, seed, sentence) for name, _, seed, sentence in failed if sentence]
    elif backend == "local":
        workers, threads = (["cpu"] * facts.cores(), 1) if small and on_cpu else (names, facts.cores())
        shown = sys.stderr.isatty()
        todo = sorted(todo, key=lambda run: -(recorded.seconds(run[1]) or 0))  # a long one last would run alone
        where = dict(runs=runs, data=data, weights=weights, parts=parts, engine=engine)
        failed = local.train(todo, workers, threads, progress=shown, **where)
    else:
        contexts = devices.contexts(ctx) if engine == MXNET else ",".join(names)
        failed = here(todo, contexts, runs, data, weights, parts, engine)
    if failed:
        lines = "".join(f"\n  - {name}, seed {seed}: {sentence}" for name, seed, sentence in failed)
        raise ValueError(f"{len(failed)} of {len(todo)} runs failed (the same command tries them again):{lines}")


def devices_of(ctx, engine):
    """The names of the devices that --ctx names, or of those that `engine` takes where it names none.

    Raises ValueError for devices that are not there, and if PyTorch's environment cannot be made.
    """
    if engine == MXNET:
        return [f"{device.device_type}{device.device_id}" for device in devices.contexts(ctx)]
    from gluon_cgd.engines import process  # it needs MXNet

    return process.devices_of(ctx, engine.precision)


def check(backend, slurm=(), parts=1, engine=MXNET):
    """Raise ValueError for arguments of `train` that cannot be, before anything is prepared."""
    if parts < 1:
        raise ValueError(f"--parts {parts} must be at least 1, the number of parts of a batch: 1 is the default")
    if backend == "slurm" and parts != 1:
        raise ValueError(
            f"--parts {parts} works only on this machine: leave it out, or ask the cluster for larger devices"
        )
    if parts != 1 and engine != MXNET:
        raise ValueError(f"--parts {parts} is MXNet's: leave it out, or take a smaller precision (--precision bf16)")
    if engine != MXNET:
        environment.interpreter()  # makes it now, so that no run fails for lack of it
    if backend == "slurm":
        parse_options(slurm)


def here(todo, devices, runs, data, weights, parts=1, engine=MXNET):
    """Train one run after the other in this process; returns [(name, seed, sentence), ...] of those that failed."""
    failed = []
    for number, (name, experiment, seed) in enumerate(todo):
        log.info("run %d of %d: %s, seed %d", number + 1, len(todo), name, seed)
        try:
            store.train(runs, experiment, seed, data, devices, weights, sys.stderr.isatty(), parts, engine)
        except (ValueError, RuntimeError, MemoryError) as error:  # the other runs may be fine
            log.info("failed: %s", sentence(error))
            failed.append((name, seed, sentence(error)))
    return failed
