"""How long PyTorch takes for the parts of a run: `python -m gluon_cgd.engines.stopwatch ASKED`.

It runs in PyTorch's environment, on a training file of random pictures, and tells seconds and memory in JSON.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import torch

from gluon_cgd.engines import training_file
from gluon_cgd.engines.replay import NotRecorded
from gluon_cgd.engines.torch_engine import TorchEngine, device_of
from gluon_cgd.machine import device_names
from gluon_cgd.runs.stopwatch import of_an_evaluation
from gluon_cgd.sampler import draw_changes

FIRST = 4  # calls that are not counted: PyTorch chooses its algorithms in them


def measure(asked: Dict[str, Any]) -> Dict[str, Any]:
    """{"train": seconds a picture, "embed": ..., "device": its name, "memory": bytes}, with all of `of_an_evaluation`.

    The memory is the most that is used of a GPU, without the pictures; 0 for a CPU, and where no step can be recorded.
    asked: {"file": a training file, "device": "cuda0", "precision": ..., "seconds": how long each is measured}.
    """
    try:
        return measured(asked, records=True)
    except NotRecorded:
        pass  # outside of this block the first engine can go
    return {**measured(asked, records=False), "memory": 0}  # unknown: what could not be recorded left memory behind


def measured(asked: Dict[str, Any], records: bool) -> Dict[str, Any]:
    """As `measure`. records: of `TorchEngine`."""
    training = training_file.read(asked["file"])
    (device,) = [device_of(one) for one in device_names.parse(asked["device"], "PyTorch")]
    engine = TorchEngine(training, [device], asked["precision"], False, records)
    train, query = (training_file.opened(training, part) for part in ("train", "query"))
    assert train is not None
    assert query is not None
    engine.hold(train)
    size = training.experiment.batch_size
    labels, rng = np.array([record.label for record in training.split.train]), np.random.default_rng(0)

    def step():
        indices = np.arange(size)
        batch = engine.batch(indices, draw_changes(rng, size, training.experiment), 0)
        engine.step(batch, labels[indices], 1e-4, 0)

    found: Dict[str, Any] = {"train": timed(step, device, asked["seconds"]) / size}
    found["embed"] = timed(lambda: engine.embed(query), device, asked["seconds"]) / len(query)
    found.update(of_an_evaluation(training.experiment, engine.parameters(), Path(asked["file"]).parent, engine.ranks))
    is_cuda = device.type == "cuda"
    found["device"] = torch.cuda.get_device_name(device) if is_cuda else device.type
    found["memory"] = max(0, used(device) - train.nbytes) if is_cuda else 0
    return found


def used(device: torch.device) -> int:
    """The most bytes that were in use on a GPU: what PyTorch held, CUDA's own, and what other programs have now."""
    free, total = torch.cuda.mem_get_info(device)
    return total - free + torch.cuda.max_memory_reserved(device) - torch.cuda.memory_reserved(device)


def timed(call: Callable[[], Any], device: torch.device, seconds: float) -> float:
    """The median of how long `call()` takes, measured for `seconds`, five times at least."""
    taken: List[float] = []
    while len(taken) < FIRST + 5 or sum(taken[FIRST:]) < seconds:
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[FIRST:])


if __name__ == "__main__":
    told = measure(json.loads(sys.argv[1]))
    sys.stdout.write(json.dumps(told) + "\n")
