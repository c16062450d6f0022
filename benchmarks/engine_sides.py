"""The two sides that benchmarks/engine.py compares, each in a process of its own that has PyTorch and no MXNet."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from benchmarks.peer_network import CGD, loss
from benchmarks.turns import serve
from gluon_cgd.engines.torch_engine import TorchEngine
from gluon_cgd.engines.training_file import Training
from gluon_cgd.experiment import Experiment
from gluon_cgd.sampler import ClassBalancedSampler, draw_crops

PICTURES = 20  # of each class of the made data set


def ours():
    """Set up: steps of the engine, from uint8 pictures in memory."""
    stored, device = json.loads(Path(os.environ["BENCHMARK_GRAPH"]).read_text()), of_environment()
    experiment, draw = Experiment.from_dict(stored["experiment"]), np.random.default_rng(0)
    values = {name: value_of(name, shape, draw) for name, shape in stored["shapes"].items()}
    parts = dict(graph=stored["text"], heads=tuple(stored["heads"]), learned=tuple(stored["learned"]), values=values)
    training = Training(experiment=experiment, split=None, run={}, pictures={}, training=None, **parts)
    engine = TorchEngine(training, [torch.device(device)], os.environ["BENCHMARK_PRECISION"], False)
    labels = np.repeat(np.arange(stored["classes"]), PICTURES)
    sampler = ClassBalancedSampler(labels, experiment.batch_classes, experiment.batch_images)
    side = experiment.resize
    engine.hold(draw.integers(0, 256, (len(labels), side, side, 3), dtype=np.uint8))
    steps = int(os.environ["BENCHMARK_STEPS"])

    def batch(iteration):
        indices, rng = sampler.batch(iteration)
        return indices, engine.batch(indices, draw_crops(rng, len(indices), side - experiment.input_size), iteration)

    def call():
        reset(device)
        with ThreadPoolExecutor(1) as ahead:
            following = ahead.submit(batch, 0)
            for iteration in range(steps):
                (indices, current), following = following.result(), ahead.submit(batch, iteration + 1)
                means = engine.step(current, labels[indices], 1e-4, iteration)
        return [float(means.sum()), *peak(device)]

    return call, steps * experiment.batch_size


def by_hand():
    """Set up: steps of the network in peer_network.py, with one batch that is on the device already."""
    stored = json.loads(Path(os.environ["BENCHMARK_GRAPH"]).read_text())
    experiment = Experiment.from_dict(stored["experiment"])
    device, precision = of_environment(), os.environ["BENCHMARK_PRECISION"]
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    layout = torch.contiguous_format if precision == "float32" else torch.channels_last
    network = CGD(stored["classes"]).train().to(device, memory_format=layout)
    adam = torch.optim.Adam(network.parameters(), 1e-4, fused=device.startswith("cuda"))
    shape = (experiment.batch_size, 3, experiment.input_size, experiment.input_size)
    batch = torch.randn(shape, device=device).contiguous(memory_format=layout)
    labels = torch.arange(experiment.batch_size, device=device) // experiment.batch_images
    steps = int(os.environ["BENCHMARK_STEPS"])

    def call():
        reset(device)
        for _ in range(steps):
            adam.zero_grad()
            with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=precision == "bf16"):
                outputs = network(batch)
            whole = loss(*outputs, labels)
            whole.backward()
            adam.step()
        return [whole.item(), *peak(device)]

    return call, steps * experiment.batch_size


def value_of(name, shape, draw):
    """A first value of a parameter: its speed does not depend on it."""
    if len(shape) == 1:
        return np.full(shape, name.endswith(("gamma", "running_var")), np.float32)
    return (draw.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)


def of_environment():
    """The device to measure, as PyTorch names it."""
    return os.environ["BENCHMARK_DEVICE"]


def reset(device):
    """Forget the peak memory so far, and wait until all is done. What is free now is given back first."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak(device):
    """[the most memory that PyTorch held on a GPU, in bytes, that of recorded steps too], when all is done; or []."""
    if not device.startswith("cuda"):
        return []
    torch.cuda.synchronize()
    return [torch.cuda.max_memory_reserved()]


if __name__ == "__main__":
    serve({"ours": ours, "by hand": by_hand})
