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
from gluon_cgd.machine import devices
from gluon_cgd.machine.progress import each
from gluon_cgd.machine.sentences import sentence
from reproduce.report import formats
from reproduce.tables import mini

CONFIGURATIONS = ("SM", "SMG")
CLASSES = 98  # of CARS196
WHAT = {
    "parameters": ("parameters", 1e-6, "M"),
    "step": ("training step", 1, "s"),
    "training_memory": ("memory to train", 1e-9, "GB"),
    "picture": ("embedding a picture", 1e3, "ms"),
    "embedding_memory": ("memory to embed", 1e-9, "GB"),
}


def measure(small, device, configurations=CONFIGURATIONS):
    """[{"configuration", "cgd", "members"}, ...], each model {"model", "parameters", "step", ...} as in WHAT, SI units.

    Every model trains and embeds in a process of its own, with random parameters and pictures; real ones cost the same.
    device: "cpu", "gpu0", ...  Memory is the highest of the process on a CPU, and what MXNet took on a GPU.
    """
    experiment = Experiment(pretrained=False)
    experiment = mini(experiment) if small else experiment
    # 128 pictures of 224 x 224 do not fit every machine's memory
    batch_size = experiment.batch_size if small or device != "cpu" else 32
    measured = []
    for letters in each(configurations, "measuring", unit="configurations"):
        alone = [replace(experiment, descriptors=letter, dim=experiment.dim // len(letters)) for letter in letters]
        together = replace(experiment, descriptors=letters)
        cgd, *members = (one_model(each, batch_size, device) for each in (together, *alone))
        measured.append({"configuration": letters, "batch_size": batch_size, "cgd": cgd, "members": members})
    return measured


def one_model(experiment, batch_size, device):
    """The costs of one model, measured in two processes: one trains, one embeds. Raises ValueError when one fails."""
    costs = {"model": f"{experiment.descriptors} {experiment.dim}"}
    for task in ("train", "embed"):
        try:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                costs.update(pool.submit(costs_of, task, experiment, batch_size, device).result())
        except (ValueError, OSError, ImportError, RuntimeError, MemoryError) as error:
            killed = isinstance(error, BrokenProcessPool)
            reason = "its process was killed, perhaps because memory ran out" if killed else sentence(error)
            attempt = f"{costs['model']} could not {task} on {device} with batches of {batch_size}"
            raise ValueError(f"{attempt}: {reason}") from error
    return costs


def costs_of(task, experiment, batch_size, device, rounds=8):
    """The costs of a `task`, "train" or "embed", on random pictures: the median of `rounds` batches, and memory."""
    ctx = devices.context(device)
    before = memory_of(ctx)
    call, learned = prepared(task, experiment, batch_size, ctx)
    seconds = []
    for _ in range(2 + rounds):
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

    experiment = replace(experiment, batch_classes=batch_size // experiment.batch_images)
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


def memory_of(ctx):
    """Bytes: on a CPU the most that this process ever had, on a GPU what is in use (MXNet gives nothing back)."""
    import mxnet as mx

    if ctx.device_type == "gpu":
        free, total = mx.context.gpu_memory_info(ctx.device_id)
        return total - free
    status = Path("/proc/self/status").read_text()  # getrusage would also count the process that started this one
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def rows(measured):
    """The table's lines, head first: for each CGD its costs, those of its ensemble together, and their ratio."""
    head = ["", *(f"{name} ({unit})" for name, _, unit in WHAT.values())]
    lines = [head]
    for compared in measured:
        ensemble = {key: sum(member[key] for member in compared["members"]) for key in WHAT}
        names = " + ".join(member["model"] for member in compared["members"])
        for name, costs in ((f"CGD {compared['cgd']['model']}", compared["cgd"]), (f"ensemble of {names}", ensemble)):
            lines.append([name, *(f"{costs[key] * scale:.3g}" for key, (_, scale, _) in WHAT.items())])
        lines.append(["ensemble / CGD", *(f"{ensemble[key] / compared['cgd'][key]:.2f}" for key in WHAT)])
    return lines


def report(small, device, runs):
    """Measure, write `runs`/reports/efficiency.md and .json, and return the text."""
    measured = measure(small, device)
    lines = rows(measured)
    title = f"Section 3.5: one CGD against the ensemble of its single descriptors, on {device}, batches of "
    title += f"{measured[0]['batch_size']}; an ensemble's models run one after the other (times add up) or at once "
    title += "(memory adds up)."
    if small:
        title += "\nMINI: a small network and small pictures; most of the cost is what every process needs."
    text = [title, "", *grid.as_text(lines)]
    stem = formats.reports(runs) / ("efficiency-mini" if small else "efficiency")
    write_text(f"{stem}.md", "\n".join(["# Efficiency", "", title, "", grid.as_markdown(lines)]) + "\n")
    write_json(f"{stem}.json", measured)
    return "\n".join(text) + f"\n\nWritten: {stem}.md, .json"
