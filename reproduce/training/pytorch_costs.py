"""How long the PyTorch engine takes to train on and to embed a picture: measured on this GPU, or estimated for an H200.

The estimate starts from rates that were measured once, of ResNet-50 with SG, 1,536 dimensions, at 224 pixels in batches
of 128, forward, backward and Adam. Other networks are scaled by their multiply-adds, which is only roughly right.
"""

import json
import subprocess
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from gluon_cgd import model
from gluon_cgd.datasets.records import Record, Split
from gluon_cgd.engines import environment
from gluon_cgd.experiment import REVISION, Experiment
from reproduce.training import complexity

GPU = "one H200"
RATES = {"float32": 794, "tf32": 2381, "bf16": 3534}  # pictures a second
OF = Experiment(pretrained=False)  # what RATES are of
FORWARD = 3  # a step takes about so many times as long as a forward pass
SECONDS = 2  # for which each is measured
CLASSES = 98


def device_here():
    """The first GPU that PyTorch finds, "cuda0", and "" where there is none, or no environment of PyTorch's yet."""
    python = environment.found()
    return "cuda0" if python and environment.devices(python)["cuda"] else ""


def measure(experiment, device, precision, folder):
    """What `engines.stopwatch` measures of `experiment`: {"train": seconds a picture, "embed": seconds a picture, ...}.

    folder: where files are written for a moment, on the disk of the runs. Raises ValueError if that fails.
    """
    from gluon_cgd.engines import process  # it needs MXNet

    pictures = RandomPictures(replace(experiment, pretrained=False))
    with tempfile.TemporaryDirectory(dir=folder) as place:
        file = Path(place).resolve() / "training.npz"  # for a process in another folder
        pictures.make(file.parent)
        made = dict(name="pytorch", precision=precision, deterministic=False)
        run = {"experiment": pictures.experiment.to_dict(), "seed": 0, "revision": REVISION, "engine": made}
        process.write(file, pictures, run, None)
        options = dict(file=str(file), device=device, precision=precision, seconds=SECONDS)
        started = environment.module(environment.interpreter(), "gluon_cgd.engines.stopwatch", options)
        done = subprocess.run(**started, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"it ends with status {done.returncode}"])[-1][:300]
        raise ValueError(
            f"{experiment.backbone} could not be measured on {device} by PyTorch ({said}): free its memory"
        )
    return json.loads(done.stdout.strip().splitlines()[-1])


class RandomPictures:
    """A batch to learn from and one to embed, for `engines.process.write`; make: write them into a folder."""

    progress = False

    def __init__(self, experiment):
        self.experiment = experiment
        labels = np.arange(experiment.batch_size) // experiment.batch_images
        records = [Record(f"{number}.png", int(label)) for number, label in enumerate(labels)]
        self.split, self.held = Split(records, records), ()

    def make(self, folder):
        """Write the pictures."""
        rng, count, arrays = np.random.default_rng(0), len(self.split.train), []
        for name, side in (("train", self.experiment.resize), ("query", self.experiment.input_size)):
            (folder / name).write_bytes(rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8).tobytes())
            arrays.append(np.memmap(folder / name, np.uint8, "r", shape=(count, side, side, 3)))
        self.held = (*arrays, None)

    def training(self):
        """What a result says of the training pictures: nothing."""
        return None

    def pictures(self):
        """Those to train on, of the queries and of the gallery."""
        return self.held


def estimate(experiment, precision):
    """{"train": seconds a picture, "embed": ...} of `experiment` on GPU, from RATES and its multiply-adds."""
    step = products(experiment) / products(OF) / RATES[precision]
    return {"train": step, "embed": products(experiment) / products(OF) / RATES["float32"] / FORWARD}  # see TorchEngine


def products(experiment):
    """The multiply-adds of a picture in the network of `experiment`."""
    names = ("backbone", "keep_stride", "input_size", "descriptors", "dim", "architecture", "combine", "attention")
    return _products(Experiment(**{name: getattr(experiment, name) for name in names}, pretrained=False))


@lru_cache(maxsize=None)
def _products(experiment):
    return complexity.counts(model.layers_of(experiment, CLASSES), experiment.input_size)[1]
