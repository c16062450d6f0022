"""`python -m gluon_cgd index --shards N`: an index that several processes or machines embed, and that is joined."""

import logging
import os
from pathlib import Path

from gluon_cgd.cluster import jobs
from gluon_cgd.cluster.options import parse_options
from gluon_cgd.commands.options import choose_model, model_of
from gluon_cgd.commands.output import say
from gluon_cgd.datasets.tree import LeftOut
from gluon_cgd.files.lock import locked
from gluon_cgd.files.printable import printable
from gluon_cgd.machine.progress import task
from gluon_cgd.retrieval import collection
from gluon_cgd.shards import drift, filling, joining, local, slurm
from gluon_cgd.shards import plan as plans

log = logging.getLogger(__name__)
DOING = "indexing in shards, or joining them, in"
FILES = ("checkpoint", "exported", "weights")  # arguments of a model that are paths
BACKENDS = ("local", "slurm")


def add_flags(p):
    """The flags of an index in shards."""
    how = p.add_mutually_exclusive_group()
    help_text = "embed a new index in N parts, each of which goes on by itself, and join them"
    how.add_argument("--shards", type=int, metavar="N", help=help_text)
    help_text = "embed only part K of what --shards has begun, on this machine"
    how.add_argument("--shard", type=int, metavar="K", help=help_text)
    how.add_argument("--join", action="store_true", help="join the parts, when all of them are embedded")
    help_text = "where: a process for each device of --ctx, or a Slurm job for each part (default local)"
    p.add_argument("--backend", choices=BACKENDS, default=BACKENDS[0], help=help_text)
    help_text = "options of the jobs of --backend slurm: partition=gpu gpus_per_job=1 ..."
    p.add_argument("--slurm", nargs="*", default=(), metavar="KEY=VALUE", help=help_text)


def command(options):
    """Do what --shards, --shard or --join says; returns whether the index is there now."""
    if options.shard is not None:
        fill_one(options)
        return False
    folder = plans.place(options.out)
    if options.join:
        plans.read(options.out)  # refuses where there is none
        with locked(folder, DOING):
            join(plans.read(options.out), options)
    else:
        check(options)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, DOING):
            plan = begun(options) if os.path.lexists(folder / plans.NAME) else begin(options)
            if not joining.is_joined(plan, options.out):
                joining.refuse_index(options.out)
                fill(plan, options)
            join(plan, options)
    joining.delete_empty(folder)
    return True


def check(options):
    """Raise ValueError for what cannot be, before anything is made."""
    if options.shards < 1:
        raise ValueError(f"--shards {options.shards} must be at least 1, the number of parts")
    if options.backend == "slurm":
        parse_options(options.slurm)
        jobs.import_submitit()
    folder = plans.place(options.out)
    if not os.path.lexists(folder / plans.NAME):
        joining.refuse_index(options.out)
    if not folder.is_dir() and os.path.lexists(folder):
        raise ValueError(f"{folder} is no folder, and the parts are made there: move it away")
    if folder.is_dir() and not os.path.lexists(folder / plans.NAME):
        ours = ("lock", plans.PICTURES)
        others = [entry.name for entry in folder.iterdir() if entry.name not in ours and entry.suffix != ".part"]
        if others:
            raise ValueError(f"{folder} holds other files ({others[0]!r} among them): move it away")


def named_model(options):
    """The model that `options` name as the arguments of `opened.open_model`, with absolute paths and no device."""
    model = {name: value for name, value in model_of(options).items() if value is not None and name != "ctx"}
    return {name: os.path.abspath(value) if name in FILES else value for name, value in model.items()}


def begin(options):
    """List the pictures and write the plan; returns it."""
    choose_model(options)
    left_out = LeftOut()
    plan = plans.make(options.out, options.images, options.shards, named_model(options), options.skip_bad, left_out)
    if left_out.line():
        log.warning("%s: %s", options.images, left_out.line())
    return plan


def begun(options):
    """The plan that is there. Raises ValueError if the command line says something else."""
    plan = plans.read(options.out)
    remedy = f"say the same as before, or delete {plan.folder} to start again"
    if os.path.abspath(options.images) != plan.source:
        raise ValueError(f"{options.out} was begun with --images {plan.source}: {remedy}")
    if options.shards != len(plan.parts):
        raise ValueError(f"{options.out} was begun with --shards {len(plan.parts)}: {remedy}")
    model = named_model(options)
    if model and model != plan.model:
        words = ", ".join(f"{name} {value}" for name, value in plan.model.items())
        raise ValueError(f"{options.out} was begun with another model ({words}): {remedy}")
    return plan


def fill(plan, options):
    """Embed all shards that are not done. Raises ValueError that names those that failed, when the others are done."""
    waiting = plan.waiting()
    if not waiting:
        return
    done = sum(plan.done(number) for number in plan.filled)
    with task("indexing", plan.pictures, "img", done=done) as doing:
        look = local.Progress(plan, doing).look
        if options.backend == "slurm":
            failed = slurm.run(plan, waiting, parse_options(options.slurm), options.skip_bad, look, log.info)
        else:
            devices = options.ctx.split(",") if options.ctx else [None]
            failed = local.run(plan, waiting, devices, options.skip_bad, look)
    failed = {number: problem for number, problem in failed.items() if not plan.summary(number)}
    if failed:
        lines = "".join(f"\n  - shard {number}: {problem}" for number, problem in sorted(failed.items()))
        first = min(failed)
        raise ValueError(
            f"{len(failed)} of {len(plan.filled)} shards failed; the same command tries them again, and index --out "
            f"{options.out} --shard {first} tries one here:{lines}"
        )


def fill_one(options):
    """Embed one shard in this process, and say what was done."""
    plan = plans.read(options.out)
    plans.check_number(plan, options.shard)
    if options.shard not in plan.filled:
        say(f"shard {options.shard} has no pictures")
        return
    summary = filling.fill(plan, options.shard, options.ctx, options.skip_bad)
    waiting = plan.waiting()
    rest = f"{len(waiting):,} shards are not done" if waiting else "all shards are done: --join joins them"
    say(f"shard {options.shard}: {summary['rows']:,} of {summary['pictures']:,} pictures are embedded; {rest}")


def join(plan, options):
    """Join the shards, compare the index with the files, delete the shards, and say what was done."""
    rows = joining.join(plan, options.out)
    summaries = [plan.summary(number) or {} for number in plan.filled]
    bad, gone = sum(len(summary.get("bad", ())) for summary in summaries), sum(s.get("gone", 0) for s in summaries)
    left_out = [path for summary in summaries for path in summary.get("left_out", ())]
    words = [f"{rows:,} pictures of {printable(plan.source)} from {len(plan.filled):,} shards"]
    words += [f"{bad:,} left out that cannot be read"] * bool(bad)
    words += [f"{gone:,} gone before they were embedded"] * bool(gone)
    say(", ".join(words))
    tell_changes(plan, options.out, left_out)
    joining.clear(plan)


def tell_changes(plan, out, left_out):
    """Say what has changed in the folder or the list since it was listed, if something has."""
    try:
        changes = drift.compare(collection.read(out), plan.source, left_out, skip_bad=True)
    except (ValueError, OSError) as error:  # the index is whole, and the folder may not be mounted any more
        log.warning("%s cannot be compared with the index now (%s)", plan.source, error)
        return
    kinds = zip(("added", "replaced", "gone"), changes)
    words = [f"{count:,} {kind}" for kind, count in kinds if count]
    if words:
        say(
            f"since they were listed, pictures have changed: {', '.join(words)} (the first is "
            f"{printable(changes.first)}): index --images {printable(plan.source)} --out {Path(out)} --prune brings "
            "the index up to date"
        )
