"""The process in which PyTorch trains: `python -m gluon_cgd.engines.trainer OPTIONS`, started by `engines.process`.

It tells its parent in lines of JSON what it logs, how far it is and why it ends. It imports no MXNet.
"""

import json
import logging
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

import numpy as np
import torch

from gluon_cgd.engines import training_file
from gluon_cgd.engines.replay import NotRecorded
from gluon_cgd.engines.torch_engine import TorchEngine, device_of
from gluon_cgd.engines.training_file import Training
from gluon_cgd.machine import device_names, progress
from gluon_cgd.machine.sentences import sentence
from gluon_cgd.runs.log import logged_to
from gluon_cgd.train import Run

OFTEN = 0.2  # seconds between two words on how far it is


class Handed:
    """The pictures of a run, as its training file names them."""

    def __init__(self, training: Training):
        self.of_file = training

    def training(self) -> Optional[Dict[str, Any]]:
        """What the result says of the training pictures."""
        return self.of_file.training

    def pictures(self) -> Tuple[np.ndarray, np.ndarray, Optional[np.ndarray]]:
        """Those to train on, of the queries and of the gallery, uint8."""
        train, query, gallery = (training_file.opened(self.of_file, part) for part in training_file.PARTS)
        assert train is not None
        assert query is not None
        return train, query, gallery


class ToldRun(Run):
    """A run that tells how far it is. tell: a function of named values."""

    tell: Callable[..., None]
    told = 0.0

    def step(self, batch: Any, labels: np.ndarray) -> Any:
        """As of `Run`."""
        if time.monotonic() - self.told > OFTEN:
            self.told = time.monotonic()
            note = " ".join(f"{name}={mean:.4f}" for name, mean in self.losses.items())
            self.tell(at=self.iteration, note=note)
        return super().step(batch, labels)


class Telling(logging.Handler):
    """Tells the parent each line of the log; not those that end a silence, for the parent has its own."""

    def __init__(self, tell):
        super().__init__(logging.INFO)
        self.tell = tell

    def emit(self, record):
        if record.name != progress.log.name:
            self.tell(name=record.name, level=record.levelno, line=record.getMessage())


def train(asked: Dict[str, Any], tell: Callable[..., None]) -> None:
    """Train the run that `process.train` asked for."""
    training = training_file.read(asked["file"])
    devices = device_names.parse(",".join(asked["devices"]), "PyTorch")
    precision, out = training.run["engine"]["precision"], Path(asked["out"])

    def start(experiment, classes, seed):
        places = [device_of(device) for device in devices]
        return TorchEngine(training, places, precision, asked["deterministic"], asked["records"])

    with logged_to(out / "train.log"):
        run = ToldRun(training.experiment, training.split, out, training.run, start, Handed(training))
        run.tell = tell
        run.go(asked["checkpoint_every"])


def explained(error: Exception, devices: Sequence[str]) -> Optional[str]:
    """What a person can do about what PyTorch raised, in a sentence; None if nobody knows."""
    first = str(error).partition("\n")[0]
    if isinstance(error, MemoryError) or re.search("out of memory|can't allocate memory|ALLOC_FAILED", str(error)):
        return (
            f"{', '.join(devices)} has too little free memory for this run ({first or 'MemoryError'}): free some, or "
            "share the batch among more GPUs (--ctx cuda0,cuda1), and the same command goes on; --precision bf16 and "
            "fewer --batch-classes need less too, in another folder, for they are other runs"
        )
    if "deterministic" in first:
        return f"PyTorch cannot repeat this run to the bit here ({first.partition('.')[0]}): leave out --deterministic"
    return None


def end_with_parent() -> None:
    """End this process at once when the parent has ended: then the pipe from it does too."""
    os.read(0, 1)  # unbuffered: at the end of Python nothing waits for it
    os._exit(1)


def main() -> int:
    """Train, and return the exit status."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no word to the parent
    speaking = threading.Lock()

    def tell(**values):
        with speaking:
            channel.write(json.dumps(values) + "\n")
            channel.flush()

    threading.Thread(target=end_with_parent, daemon=True).start()
    logging.getLogger("gluon_cgd").addHandler(Telling(tell))
    asked = json.loads(sys.argv[1])
    try:
        torch.set_num_threads(max(1, int(os.environ["OMP_NUM_THREADS"].partition(",")[0])))
        train(asked, tell)
    except NotRecorded as error:
        tell(unrecorded=str(error))
    except (RuntimeError, MemoryError) as error:
        reason = explained(error, asked["devices"])
        if reason is None:
            raise
        tell(error=reason)
    except (ValueError, OSError) as error:
        tell(error=sentence(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
