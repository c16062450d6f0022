"""Checks of the PyTorch engine that run in its own environment: `python torch_checks.py NAME ARGUMENT ...`."""

import json
import sys

import numpy as np
import torch


def crops():
    """Crops and flips on a tensor are those of plain slices, to the byte."""
    from gluon_cgd.engines.pictures import cropped
    from gluon_cgd.sampler import draw_crops

    rng = np.random.default_rng(0)
    pictures = rng.integers(256, size=(20, 18, 18, 3), dtype=np.uint8)
    indices = rng.integers(20, size=50)
    drawn = draw_crops(rng, 50, 2)
    found = cropped(torch.from_numpy(pictures), torch.from_numpy(indices), drawn, 16).numpy()
    for picture, i, y, x, flip in zip(found, indices, *drawn[:3]):
        expected = pictures[i, y : y + 16, x : x + 16]
        np.testing.assert_array_equal(picture, expected[:, ::-1] if flip else expected)
    places = dict(tops=drawn.tops, lefts=drawn.lefts, flips=drawn.flips)
    np.savez(sys.argv[2], pictures=pictures, indices=indices, found=found, **places)


def changes():
    """Colour jitter and random erasing of a batch, as they are drawn here."""
    from gluon_cgd.engines.pictures import cropped
    from gluon_cgd.experiment import Experiment
    from gluon_cgd.sampler import draw_changes

    rng, found = np.random.default_rng(0), {}
    found["pictures"] = rng.integers(256, size=(20, 36, 36, 3), dtype=np.uint8)
    for name, options in json.loads(sys.argv[3]).items():
        experiment = Experiment(input_size=32, **options)
        drawn = draw_changes(np.random.default_rng(1), 50, experiment)
        found[name] = cropped(torch.from_numpy(found["pictures"]), torch.arange(50) % 20, drawn, 32).numpy()
    np.savez(sys.argv[2], **found)


def engine_of(file, devices=1, precision="float32", device="cpu"):
    """The engine of a training file on so many CPUs, or on another device."""
    from gluon_cgd.engines import training_file
    from gluon_cgd.engines.torch_engine import TorchEngine

    training = training_file.read(file)
    engine = TorchEngine(training, [torch.device(device)] * devices, precision, True)
    engine.hold(training_file.opened(training, "train"))
    return training, engine


def steps(training, engine, first, count):
    """The losses of steps as `train.Run` takes them."""
    from gluon_cgd.sampler import ClassBalancedSampler, draw_crops

    _, labels = np.unique([record.label for record in training.split.train], return_inverse=True)
    experiment, losses = training.experiment, []
    sampler = ClassBalancedSampler(labels, experiment.batch_classes, experiment.batch_images, training.run["seed"])
    for iteration in range(first, first + count):
        indices, rng = sampler.batch(iteration)
        drawn = draw_crops(rng, len(indices), experiment.resize - experiment.input_size)
        batch = engine.batch(indices, drawn, iteration)
        means = engine.step(
            batch, labels[indices], experiment.learning_rate, 1_000_003 * training.run["seed"] + iteration
        )
        losses.append(engine.numbers(means))
    return losses


def several():
    """The losses of four steps on two replicas, and what they hold then; a restored engine goes on to the same bits."""
    training, engine = engine_of(sys.argv[2], devices=2)
    losses = steps(training, engine, 0, 4)
    state = engine.state()
    own = engine.statistics()
    assert any((first != second).any() for first, second in own.values()), "each replica has its own statistics"
    _, other = engine_of(sys.argv[2], devices=2)
    other.restore(state, 4)
    assert steps(training, engine, 4, 3) == steps(training, other, 4, 3)
    for name, value in engine.state().items():
        np.testing.assert_array_equal(value, other.state()[name], err_msg=name)
    _, alone = engine_of(sys.argv[2], devices=1)
    alone.restore(state, 4)  # of another number of devices: the mean of the statistics
    for name, (value,) in alone.statistics().items():
        np.testing.assert_array_equal(value.numpy(), state[f"devices:{name}"].mean(axis=0))
    engine.settle()
    assert all((first == second).all() for first, second in engine.statistics().values())
    np.savez(sys.argv[3], losses=np.array(losses), **state)


def streamed():
    """Pictures that are handed over batch by batch give the same bits as those on the device."""
    training, held = engine_of(sys.argv[2])
    _, streaming = engine_of(sys.argv[2])
    streaming.held = None
    assert steps(training, held, 0, 3) == steps(training, streaming, 0, 3)


def precision():
    """TF32 is off in float32, in convolutions too; bfloat16 gives losses in float32 that are near."""
    training, engine = engine_of(sys.argv[2])
    exact = steps(training, engine, 0, 1)
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    _, half = engine_of(sys.argv[2], precision="bf16")
    seen = {}
    network = half.networks[0]
    forward = type(network).forward

    def spied(self, inputs, heads=None, uniform=None):
        seen.update({name: value.dtype for name, value in inputs.items()})
        return forward(self, inputs, heads, uniform)

    type(network).forward = spied
    near = steps(training, half, 0, 1)
    assert seen["embedding"] == torch.float32
    assert near != exact
    np.testing.assert_allclose(near, exact, rtol=0.05)


def adam():
    """Ten steps of Adam as MXNet's formula in float64; the betas are rounded to float32, as MXNet rounds them."""
    from gluon_cgd.engines.adam import Adam

    rng = np.random.default_rng(0)
    weight, beta1, beta2 = rng.normal(size=5), float(np.float32(0.9)), float(np.float32(0.999))
    tensor = torch.tensor(weight, dtype=torch.float32)
    ours, mean, variance = Adam([tensor], 0.1), np.zeros(5), np.zeros(5)
    for step in range(1, 11):
        gradient = rng.normal(size=5) * 10.0 ** rng.integers(-9, 1, 5)
        ours.step([tensor], [torch.tensor(gradient, dtype=torch.float32)], 0.01)
        gradient = gradient + 0.1 * weight
        mean, variance = beta1 * mean + (1 - beta1) * gradient, beta2 * variance + (1 - beta2) * gradient**2
        rate = 0.01 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        weight = weight - rate * mean / (np.sqrt(variance) + 1e-8)
        np.testing.assert_allclose(tensor.numpy(), weight, rtol=1e-6, atol=1e-6)


def fused():
    """Adam in one kernel, as GPUs take it, is Adam in several."""
    from gluon_cgd.engines.adam import Adam

    rng = np.random.default_rng(0)
    first = [torch.tensor(rng.normal(size=shape), dtype=torch.float32) for shape in ((3, 4), (5,))]
    for decay in (0.0, 0.1):
        plain, fused = ([weight.clone() for weight in first] for _ in range(2))
        several, one = Adam(plain, decay), Adam(fused, decay)
        for _ in range(10):
            gradients = [torch.tensor(rng.normal(size=weight.shape) * 1e-3, dtype=torch.float32) for weight in first]
            several.step(plain, gradients, 0.01)
            one.update(fused, gradients, torch.tensor(one.rate(0.01)))
        for weight, other in zip(plain, fused):
            np.testing.assert_allclose(weight.numpy(), other.numpy(), rtol=2e-6, atol=1e-7)


def recorded():
    """On a GPU, steps that are recorded give the same bits as those that are started kernel by kernel."""
    file, precision = sys.argv[2:]
    training, replayed = engine_of(file, precision=precision, device="cuda:0")
    _, started = engine_of(file, precision=precision, device="cuda:0")
    started.replay.left = -1  # it never records
    losses = steps(training, started, 0, 12)
    assert losses == steps(training, replayed, 0, 12), (losses, steps(training, replayed, 0, 12))
    assert replayed.replay.graph is not None, "the step was not recorded"
    assert started.replay.graph is None
    found = replayed.state()
    for name, value in started.state().items():
        np.testing.assert_array_equal(value, found[name], err_msg=name)
    assert losses[-1] != losses[0]


def ranks():
    """Ranks that are counted on a device are those of NumPy: with ties, galleries, classes of one, long vectors."""
    from gluon_cgd import recall
    from gluon_cgd.engines import search

    device, rng = torch.device(sys.argv[2]), np.random.default_rng(0)
    search.TILE, recall.TILE = 32, 16
    points = rng.normal(size=(70, 6)).astype(np.float32)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    narrow = np.float32(1) + np.float32(1e-6) * points  # as of a model that has nearly collapsed
    grid = rng.integers(0, 3, (70, 3)).astype(np.float32)
    labels = rng.integers(0, 40, 70)
    decided = []
    exactly = search.DeviceSearch._exactly_paired
    search.DeviceSearch._exactly_paired = lambda self, i, j: decided.append(len(i)) or exactly(self, i, j)
    for vectors in (unit, points, narrow, grid, np.ones((70, 4), np.float32), points * np.float32(1e30)):
        for given in (
            (vectors, labels),
            (vectors[:25], labels[:25], vectors[20:], labels[20:]),
            (vectors[:25], labels[:25], vectors, labels, True),
            (vectors, labels, vectors[:20], labels[:20]),
            recall.Embeddings(vectors, labels),
        ):
            np.testing.assert_array_equal(search.ranks(device, *given), recall.ranks(*given))
    assert sum(decided) > 1000, decided

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    search.DeviceSearch.ahead = full
    np.testing.assert_array_equal(search.ranks(device, unit, labels), recall.ranks(unit, labels))


def repeats():
    """A run repeats its bits if each of its processes was asked to; a checkpoint remembers it."""
    _, engine = engine_of(sys.argv[2])
    asked, old = engine.state(), {name: value for name, value in engine.state().items() if name != "deterministic"}
    engine.restore(asked, 0)
    assert engine.origin()["engine"]["deterministic"] is True
    engine.restore({**asked, "deterministic": np.array(False)}, 0)
    assert engine.origin()["engine"]["deterministic"] is False
    engine.restore(asked, 0)
    assert engine.origin()["engine"]["deterministic"] is False
    _, other = engine_of(sys.argv[2])
    other.restore(old, 0)  # of an earlier version, which did not say
    assert not other.state()["deterministic"]


def remedies():
    """What PyTorch raises becomes a sentence with a remedy, where there is one."""
    from gluon_cgd.engines.trainer import explained

    messages = [
        "CUDA out of memory. Tried to allocate",
        "CUDA error: out of memory\nCUDA kernel errors",
        "MPS backend out of memory (MPS allocated: 9 GB)",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when",
        "DefaultCPUAllocator: can't allocate memory: you tried",
    ]
    for error in [*map(RuntimeError, messages), torch.cuda.OutOfMemoryError("CUDA out of memory."), MemoryError()]:
        said = explained(error, ["cuda0"])
        assert said.startswith("cuda0 has too little free memory for this run ("), said
        assert "\n" not in said
    said = explained(RuntimeError("f does not have a deterministic implementation. You can"), ["cuda0"])
    assert said.endswith("(f does not have a deterministic implementation): leave out --deterministic"), said
    assert explained(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ["cpu"]) is None


def told():
    """What the parent hears of a step that cannot be recorded."""
    from gluon_cgd.engines import trainer
    from gluon_cgd.engines.replay import NotRecorded

    def train(asked, tell):
        raise NotRecorded("operation not permitted when stream is capturing")

    trainer.end_with_parent = lambda: None  # nothing holds the pipe here
    trainer.train, sys.argv = train, ["trainer", json.dumps({"devices": ["cuda0"]})]
    sys.exit(trainer.main())


def unrecorded():
    """Where a step cannot be recorded, the time without is measured, and the memory is unknown."""
    from gluon_cgd.engines import stopwatch
    from gluon_cgd.engines.replay import NotRecorded

    def measured(asked, records):
        if records:
            raise NotRecorded("operation not permitted when stream is capturing")
        return {"train": 1, "memory": 10**10}

    stopwatch.measured = measured
    assert stopwatch.measure({}) == {"train": 1, "memory": 0}


def imports():
    """What trains needs neither MXNet nor what decodes pictures."""
    import gluon_cgd.engines.trainer  # noqa: F401

    foreign = {"mxnet", "gluoncv", "gluoncv2", "cv2", "PIL", "scipy", "matplotlib"} & set(sys.modules)
    assert not foreign, foreign


if __name__ == "__main__":
    globals()[sys.argv[1]]()
