"""How long a machine takes for the parts of a run, measured, and how long runs will therefore take.

The parts are a training step, the embedding of a picture, the comparison of a query with the items, and the files that
are written. What is not counted: the start of the process, decoding pictures for the first time, learning a whitening.
On a GPU that PyTorch uses, the memory is measured too.
"""

import logging
import statistics
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from gluon_cgd import datasets, model
from gluon_cgd.datasets import glyphs, images
from gluon_cgd.engines.choice import MXNET
from gluon_cgd.experiment import WITHOUT_FILES, Experiment
from gluon_cgd.files import regular
from gluon_cgd.files.whole import write_json
from gluon_cgd.machine import facts, load
from gluon_cgd.machine.progress import duration, each
from gluon_cgd.runs import schema, stopwatch
from gluon_cgd.sampler import draw_changes
from reproduce import efficiency, recorded, store
from reproduce.report import formats
from reproduce.training import complexity, pytorch_costs

log = logging.getLogger("reproduce")
BUSY = 5  # on two idle cores Table 1's mini form took a minute, and three to five with eight other programs at work
MEASURED = recorded.FOLDER / "steps.json"  # measured on other machines
SECONDS, BYTES = schema.number(0, 10**6), schema.number(0, 10**15)
NEEDED = ("train", "embed")
PARTS = ("query", "pair", "best", "checkpoint")  # as `stopwatch.of_an_evaluation` names them
MEMORY = "memory"  # of a GPU
# machine -> network -> seconds, and bytes of MEMORY
TIMES = schema.each(
    schema.each(schema.fields(dict.fromkeys(NEEDED, SECONDS), {**dict.fromkeys(PARTS, SECONDS), MEMORY: BYTES}))
)


def network(experiment):
    """The name of what decides how long a step takes, and nearly the rest: "resnet50 at 224, stride kept", ..."""
    kept = "" if experiment.keep_stride is None else f", stride {'kept' if experiment.keep_stride else 'removed'}"
    return f"{experiment.backbone} at {experiment.input_size}{kept}"


def measure(experiments, device, runs, engine=MXNET):
    """Measure every network of `experiments` on `device` ("cpu", "gpu0") and store the times with the reports.

    engine: what trains; PyTorch's devices are "cpu", "cuda0", ..., "mps".
    Returns {network: {"train": seconds per picture, "embed": seconds per picture, PARTS, "memory": bytes}}, the last
    only for PyTorch on a GPU: 0 if unknown. Networks that were measured before are skipped.
    """
    file = formats.reports(runs) / "steps.json"
    known = _read(file)
    own, before = known.setdefault(machine(device, engine), {}), load.now()
    for experiment in each(sorted(experiments, key=Experiment.key), "measuring networks", unit="networks"):
        parts = (*NEEDED, *PARTS, *[MEMORY] * device.startswith("cuda"))
        if set(parts) - set(own.get(network(experiment), ())):
            # 128 pictures of 224 x 224 do not fit every machine's memory
            batch = min(experiment.batch_size, 32) if device.startswith("cpu") else experiment.batch_size
            if engine == MXNET:
                cost = efficiency.one_model(replace(experiment, pretrained=False), batch, device)
                cutting = cut(experiment, batch) if device.startswith("cpu") else 0  # beside a GPU nothing waits for it
                values = {"all": np.ones(parameters(experiment), np.float32)}
                cost = {"train": cost["step"] / batch + cutting, "embed": cost["picture"]}
                cost.update(stopwatch.of_an_evaluation(experiment, values, file.parent))
            else:
                smaller = efficiency.with_batch(experiment, batch)
                cost = pytorch_costs.measure(smaller, device, engine.precision, file.parent)
            own[network(experiment)] = {part: cost[part] for part in parts}
            write_json(file, known)
    if load.warning(load.others(before, load.now())):
        log.warning("%s", load.warning(load.others(before, load.now())))
    return own


def cut(experiment, batch):
    """Seconds a picture to cut a batch out of larger pictures, which takes a core from training on a CPU."""
    side, rng = experiment.resize, np.random.default_rng(0)
    pictures = rng.integers(0, 256, (batch, side, side, 3), dtype=np.uint8)

    def once():
        images.cropped(pictures, np.arange(batch), draw_changes(rng, batch, experiment), experiment.input_size)

    return statistics.median(stopwatch.timed(once) for _ in range(10)) / batch


def measure_here(experiments, runs, engine):
    """As `measure`, on the GPU that PyTorch finds; where it finds none or fails, nothing, and the reason is logged."""
    try:
        device = pytorch_costs.device_here()
        if device:
            measure(experiments, device, runs, engine)
    except (ValueError, OSError) as error:
        log.warning("not measured: %s", error)


def machine(device, engine):
    """The name of what measures: the machine, and PyTorch with its precision if that is the `engine`."""
    if engine == MXNET:
        return facts.machine(device)
    name = facts.machine(device.replace("cuda", "gpu")) if device != "mps" else "the GPU of this Mac"
    return f"{name} by {engine}"


def _read(file):
    """What `measure` wrote to `file`, {} if it is not there. Raises ValueError for anything else."""
    if not file.exists():
        return {}
    times = regular.read_json(file)
    wrong = TIMES(times, "contents")
    if wrong:
        raise ValueError(f"{file} {wrong}: delete it to measure again")
    return times


def known(runs):
    """{machine: {network: {"train", "embed"}}} as measured on other machines and here."""
    machines = {}
    for file in (MEASURED, Path(runs) / "reports" / "steps.json"):
        for machine, measured in _read(file).items():
            machines.setdefault(machine, {}).update(measured)
    return machines


@lru_cache(maxsize=None)
def pictures(dataset, *rule):
    """(training, test) pictures of a dataset: the official numbers, or of a user's own pictures, split by `rule`."""
    if datasets.is_own(dataset):
        split = datasets.load(dataset, None, False, *rule)
        return len(split.train), sum(len(part) for part in split[1:] if part)
    if dataset in WITHOUT_FILES:
        images = glyphs.MINI_IMAGES if dataset == "glyphs_mini" else glyphs.TRAIN_IMAGES
        return len(glyphs.TRAIN) * images, len(glyphs.TEST) * glyphs.TEST_IMAGES
    if dataset == "sop_mini":  # 100 products of each of 12 super-classes, each with the average number of pictures
        train, (test, products) = datasets.OFFICIAL["sop"]
        return train[0], round(1200 * test / products)
    train, *test = datasets.COUNTS[dataset]
    return train[0], sum(part[0] for part in test)


@lru_cache(maxsize=None)
def compared(dataset, *rule):
    """How many pairs of a query and an item an evaluation on a dataset compares; arguments as of `pictures`."""
    if datasets.is_own(dataset):
        _, query, gallery = datasets.load(dataset, None, False, *rule)
        return len(query) * len(gallery or query)
    if dataset in datasets.COUNTS:
        query, *gallery = (part[0] for part in datasets.COUNTS[dataset][1:])
        return query * (gallery or [query])[0]
    return pictures(dataset)[1] ** 2


def seconds(run, costs):
    """Seconds that the rest of a `plan.Wanted` takes. costs: of its network, from `measure`; PARTS may be missing."""
    experiment, data = run.experiment, store.data_of(run.experiment)
    train, test = pictures(*data)
    iterations, evaluations = experiment.iterations(train), experiment.evaluations
    query, pair, best, checkpoint = (costs.get(part, 0) for part in PARTS)
    has_parts = experiment.has_branches and len(experiment.descriptors) > 1
    ranked = 2 if has_parts else 1  # to rank all branches takes about as long as to rank the whole
    steps = iterations * experiment.batch_size * costs["train"]
    each = test * (costs["embed"] + ranked * query) + compared(*data) * ranked * pair + best
    checkpoints = evaluations * checkpoint + stopwatch.of_checkpoints(steps, checkpoint, iterations)
    return (1 - run.iteration / iterations) * (steps + (evaluations + 1) * each + checkpoints)


def gpu_memory(experiment, costs):
    """Bytes of a GPU that are used in training, if it holds the pictures (see `TorchEngine.hold`); None if unknown.

    costs: of its network, from `measure`.
    """
    if not costs.get(MEMORY):
        return None
    return costs[MEMORY] + 3 * experiment.resize**2 * pictures(*store.data_of(experiment))[0]


def total(runs, measured):
    """Seconds that the rest of `runs` takes, one after the other; None if a network is not in `measured`."""
    if {network(run.experiment) for run in runs} - set(measured):
        return None
    return sum(seconds(run, measured[network(run.experiment)]) for run in runs)


def costs(missing, runs, engine=MXNET):
    """Sentences: the time, GPU memory and disk that the runs `missing`, [plan.Wanted, ...], take on measured machines.

    engine: what trains; of PyTorch also what is estimated for another GPU, if nothing is measured.
    """
    if not missing:
        return ["nothing is missing"]
    lines, end = [], "" if engine == MXNET else f" by {engine}"
    for machine, measured in known(runs).items():
        if (" by PyTorch in " in machine) != bool(end) or not machine.endswith(end):
            continue  # of another engine
        lacking = sorted({network(run.experiment) for run in missing} - set(measured))
        if not lacking:
            needed = total(missing, measured)
            lines.append(f"time on {machine}: {in_words(needed)}, one run after the other")
            lines.append(f"  up to {in_words(needed * BUSY)} while other programs use that machine too")
            memory = [gpu_memory(run.experiment, measured[network(run.experiment)]) for run in missing]
            if all(memory):
                lines.append(
                    f"  up to {max(memory) / 1e9:,.1f} GB of its memory are used, if it holds the training pictures"
                )
        elif len(lacking) < len({network(run.experiment) for run in missing}):
            lines.append(f"time on {machine}: not known, {', '.join(lacking)} not measured")
    if engine != MXNET and not any("one run after the other" in line for line in lines):
        lines += estimated(missing, engine.precision)
    lines = lines or ["time: not measured for these networks"]
    lines.append("(--plan --measure, with --ctx, measures this machine in some minutes)")
    return [*lines, disk(missing)]


def estimated(missing, precision):
    """Sentences: how long the runs `missing` take on the GPU that PyTorch was once measured on."""
    rates = {network(run.experiment): pytorch_costs.estimate(run.experiment, precision) for run in missing}
    needed, rate = in_words(total(missing, rates)), pytorch_costs.RATES[precision]
    how = f"it learned {rate:,} pictures a second with ResNet-50, and other networks are scaled by their multiply-adds"
    return [f"time on {pytorch_costs.GPU} by PyTorch in {precision}: {needed}, an estimate ({how})"]


def in_words(seconds):
    """ "48 s", from two minutes on "12 min", from two hours on "2.5 hours"."""
    return duration(seconds) if seconds < 7200 else f"{seconds / 3600:,.1f} hours"


def disk(missing):
    """A sentence: the disk that the cached pictures and the parameters of `missing` runs take."""
    sides = {(store.data_of(run.experiment), run.experiment.resize, run.experiment.input_size) for run in missing}
    # A training or test set that two experiments share is cached once; sop_mini learns from the pictures of sop
    cached = {((data[0].replace("sop_mini", "sop"), *data[1:]), 0, large) for data, large, _ in sides}
    cached |= {(data, 1, small) for data, _, small in sides}
    cache = sum(3 * side**2 * pictures(*data)[part] for data, part, side in cached)
    counted = each(missing, "counting parameters", unit="runs")
    files = [2 * 4 * parameters(run.experiment) for run in counted]  # last and best, float32
    return (
        f"disk: {cache / 1e9:.1f} GB of pictures in {facts.cache_folder()}, {sum(files) / 1e9:.1f} GB of parameters "
        f"(up to {max(files) / 1e9:.2f} GB a run, three times as much while it trains)"
    )


def parameters(experiment):
    """How many parameters the network of `experiment` has."""
    classes = datasets.COUNTS.get(experiment.dataset.replace("sop_mini", "sop"), ((0, 100),))[0][1]
    of_the_network = ["backbone", "descriptors", "dim", "architecture", "combine", "attention", "whiten"]
    of_the_network += ["loss", "classification_loss"]  # one may have proxies, the other another classifier
    own = {name: getattr(experiment, name) for name in of_the_network}
    return count_parameters(Experiment(**own, pretrained=False), classes)


@lru_cache(maxsize=None)
def count_parameters(experiment, classes):
    """As `parameters`, computed once for all experiments with equal networks."""
    return complexity.counts(model.layers_of(experiment, classes))[0]
