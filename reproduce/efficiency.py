"""Section 3.5 measured: one CGD against the ensemble of as many single-descriptor models, on this machine."""

import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np

from gluon_cgd.experiment import Experiment
from gluon_cgd.files import grid
from gluon_cgd.files.whole import write_json, write_text
from gluon_cgd.machine import devices, load
from gluon_cgd.machine.progress import each
from gluon_cgd.machine.sentences import sentence
from reproduce.report import formats
from reproduce.tables import mini

CONFIGURATIONS = ("SM", "SMG")
CLASSES = 98  # of CARS196
SWEEPS, ROUNDS = 3, 4  # how often each model is measured, and with how many batches each time
APART = 1.3  # the longest time of a model over its shortest, in another sweep
WHAT = {
    "parameters": ("parameters", 1e-6, "M"),
    "step": ("training step", 1, "s"),
    "training_memory": ("memory to train", 1e-9, "GB"),
    "picture": ("embedding a picture", 1e3, "ms"),
    "embedding_memory": ("memory to embed", 1e-9, "GB"),
}
TIMES = ("step", "picture")


def measure(small, device, configurations=CONFIGURATIONS, sweeps=SWEEPS):
    """[{"configuration", "cgd", "members", "others"}, ...]; a model is {"model", "parameters", "step", ...}, see WHAT.

    Every model trains and embeds in a process of its own, with random parameters and pictures; real ones cost the same.
    All models are measured once, then all again, `sweeps` times, so that what disturbs the machine disturbs all alike.
    Units are SI's. "sweeps" of a model has the times of each sweep, of which "step" and "picture" are the medians.
    Memory is the highest of the process on a CPU, and what MXNet took on a GPU. others: the cores that other programs
    used meanwhile, None if that is not known.
    device: "cpu", "gpu0", ...
    """
    experiment = Experiment(pretrained=False)
    experiment = mini(experiment) if small else experiment
    # 128 pictures of 224 x 224 do not fit every machine's memory
    batch_size = experiment.batch_size if small or device != "cpu" else 32
    models = {}  # {letters: [the CGD, its members]}
    for letters in configurations:
        alone = [replace(experiment, descriptors=letter, dim=experiment.dim // len(letters)) for letter in letters]
        models[letters] = [replace(experiment, descriptors=letters), *alone]
    turns = [one for _ in range(sweeps) for one in dict.fromkeys(one for group in models.values() for one in group)]
    taken, before = {}, load.now()
    for one in each(turns, f"measuring, {sweeps} times each", unit="models"):
        taken.setdefault(one, []).append(one_model(one, batch_size, device, ROUNDS))
    used = load.others(before, load.now())
    measured = []
    for letters, group in models.items():
        cgd, *members = (summary(taken[one]) for one in group)
        measured.append(dict(configuration=letters, batch_size=batch_size, cgd=cgd, members=members, others=used))
    return measured


def summary(costs):
    """The costs of one model, from those of each sweep: medians of its times, its highest memory, and "sweeps"."""
    sweeps = {key: [cost[key] for cost in costs] for key in TIMES}
    middle = {key: statistics.median(values) for key, values in sweeps.items()}
    memory = {key: max(cost[key] for cost in costs) for key in WHAT if key.endswith("memory")}
    return {**costs[0], **middle, **memory, "sweeps": sweeps}


def one_model(experiment, batch_size, device, rounds=8):
    """The costs of one model, measured in two processes: one trains, one embeds. Raises ValueError when one fails."""
    costs = {"model": f"{experiment.descriptors} {experiment.dim}"}
    for task in ("train", "embed"):
        try:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                costs.update(pool.submit(costs_of, task, experiment, batch_size, device, rounds).result())
        except (ValueError, OSError, ImportError, RuntimeError, MemoryError) as error:
            killed = isinstance(error, BrokenProcessPool)
            reason = "its process was killed, perhaps because memory ran out" if killed else sentence(error)
            attempt = f"{costs['model']} could not {task} on {device} with batches of {batch_size}"
            raise ValueError(f"{attempt}: {reason}") from error
    return costs


def costs_of(task, experiment, batch_size, device, rounds):
    """The costs of a `task`, "train" or "embed", on random pictures: the median of the batches, and memory.

    At least `rounds` batches, and more of short ones, so that they last a second together.
    """
    ctx = devices.context(device)
    before = memory_of(ctx)
    call, learned = prepared(task, experiment, batch_size, ctx)
    seconds = []
    while len(seconds) < 2 + rounds or sum(seconds[2:]) < 1 and len(seconds) < 100:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    memory = memory_of(ctx) - (before if ctx.device_type == "gpu" else 0)  # a GPU has other users
    middle = statistics.median(seconds[2:])
    if task == "train":
        return {"parameters": learned, "step": middle, "training_memory": memory}
    return {"picture": middle / batch_size, "embedding_memory": memory}


def prepared(task, experiment, batch_size, ctx, parts=1):
    """(a function that does `task` with a batch of random pictures, how many parameters training changes)."""
    import mxnet as mx

    from gluon_cgd import model
    from gluon_cgd.datasets.images import normalise
    from gluon_cgd.learner import Learner

    experiment = with_batch(experiment, batch_size)
    net = model.from_experiment(experiment, CLASSES)
    net.collect_params().reset_ctx(ctx)
    side = experiment.input_size
    pictures = np.random.default_rng(0).integers(0, 256, (batch_size, side, side, 3), dtype=np.uint8)
    if task == "embed":
        net.hybridize(static_alloc=True, static_shape=True)
        return lambda: net(normalise(pictures, ctx))[0].asnumpy(), None
    labels = mx.nd.array(np.arange(batch_size) // experiment.batch_images % CLASSES, ctx=ctx)
    learner = Learner(experiment, net, ctx, parts)

    def step():
        learner.step(pictures, labels, seed=0)
        mx.nd.waitall()

    return step, sum(parameter.data(ctx).size for parameter in learner.learned)


def with_batch(experiment, size):
    """`experiment` with batches of `size` pictures, of two classes at least."""
    images = min(experiment.batch_images, size // 2)
    return replace(experiment, batch_classes=size // images, batch_images=images)


def memory_of(ctx):
    """Bytes: on a CPU the most that this process ever had, on a GPU what is in use (MXNet gives nothing back)."""
    import mxnet as mx

    if ctx.device_type == "gpu":
        free, total = mx.context.gpu_memory_info(ctx.device_id)
        return total - free
    status = Path("/proc/self/status").read_text()  # getrusage would also count the process that started this one
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def series(models, key):
    """What `models` together cost in each sweep; only one number where the sweeps are not known."""
    every = [model.get("sweeps", {}).get(key) or [model[key]] for model in models]
    return [sum(values) for values in zip(*every)]


def shown(values, form=".3g"):
    """The median of `values`, and their range in brackets if they differ: "0.5 (0.48-0.61)"."""
    low, middle, high = (format(value, form) for value in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low}-{high})"


def rows(measured):
    """The table's lines, head first: for each CGD its costs, those of its ensemble together, and their ratio.

    Each is the median over the sweeps, with the lowest and highest in brackets; a ratio is one of the same sweep.
    """
    lines = [["", *(f"{name} ({unit})" for name, _, unit in WHAT.values())]]
    for compared in measured:
        names = " + ".join(member["model"] for member in compared["members"])
        sides = {f"CGD {compared['cgd']['model']}": [compared["cgd"]], f"ensemble of {names}": compared["members"]}
        for name, models in sides.items():
            scaled = ([value * scale for value in series(models, key)] for key, (_, scale, _) in WHAT.items())
            lines.append([name, *map(shown, scaled)])
        cgd, members = sides.values()
        ratios = ([a / b for a, b in zip(series(members, key), series(cgd, key))] for key in WHAT)
        lines.append(["ensemble / CGD", *(shown(values, ".2f") for values in ratios)])
    return lines


def warnings(measured):
    """Sentences: whether other programs disturbed the measurement; [] if nothing tells so."""
    lines = [load.warning(max((compared.get("others") or 0 for compared in measured), default=0))]
    models = [model for compared in measured for model in (compared["cgd"], *compared["members"])]
    apart, name, key = max((max(v) / min(v), model["model"], k) for model in models for k, v in times(model).items())
    if apart > APART:
        lines.append(
            f"{WHAT[key][0]} of {name} took up to {apart:.1f} times as long in one sweep as in another, and more than "
            f"{APART:g} is no noise of an idle machine: compare only ratios whose ranges are apart, or measure again"
        )
    return [f"WARNING: {line}" for line in lines if line]


def times(model):
    """{"step": [seconds of each sweep], "picture": ...} of a model."""
    return {key: series([model], key) for key in TIMES}


def report(small, device, runs):
    """Measure, write `runs`/reports/efficiency.md and .json, and return the text."""
    measured = measure(small, device)
    lines = rows(measured)
    title = f"Section 3.5: one CGD against the ensemble of its single descriptors, on {device}, batches of "
    title += f"{measured[0]['batch_size']}; an ensemble's models run one after the other (times add up) or at once "
    title += "(memory adds up)."
    if small:
        title += "\nMINI: a small network and small pictures; most of the cost is what every process needs."
    title += f"\nEach is the median of {SWEEPS} sweeps over all models, with the lowest and the highest in brackets."
    warned = warnings(measured)
    text = [title, "", *grid.as_text(lines), *([""] * bool(warned)), *warned]
    stem = formats.reports(runs) / ("efficiency-mini" if small else "efficiency")
    document = ["# Efficiency", title, grid.as_markdown(lines), *warned]
    write_text(f"{stem}.md", "\n\n".join(document) + "\n")
    write_json(f"{stem}.json", measured)
    return "\n".join(text) + f"\n\nWritten: {stem}.md, .json"
