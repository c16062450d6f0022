"""Training by the PyTorch engine: this process writes the training file, and one that has PyTorch trains from it.

The two never share a process, for MXNet needs another NumPy than PyTorch. The child writes the run's folder. Its log
lines and its progress come here through a pipe; another pipe, which nothing is written to, tells it that this process
has ended, however that was: then it ends too.
"""

import functools
import json
import logging
import os
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Optional

import mxnet as mx
import numpy as np

from gluon_cgd import model
from gluon_cgd.datasets.records import PathLike
from gluon_cgd.engines import choice, environment, training_file, training_graph
from gluon_cgd.engines.material import Material
from gluon_cgd.learner import say_batch_norms
from gluon_cgd.machine import device_names, gpus
from gluon_cgd.machine.progress import task
from gluon_cgd.runs import checkpoint, results
from gluon_cgd.runs.log import WRITTEN
from gluon_cgd.runs.parameters import values_of

log = logging.getLogger(__name__)
PATIENCE = 20  # seconds for the child to end when it is told to


def identity(engine: str, precision: str, deterministic: bool, parts: int) -> Dict[str, Any]:
    """What the engine adds to the identity of a run: nothing for MXNet, whose runs are as they always were.

    precision: float32, or of PyTorch's convolutions tf32 or bf16.
    deterministic: PyTorch resumes to the same bits on a GPU too, which takes longer; no part of the identity.
    Raises ValueError for an unknown engine or precision, and for what the engine does not have.
    """
    chosen = choice.chosen(engine, precision, deterministic, by_gpu=False)
    if chosen.name == "mxnet":
        return {}
    if parts != 1:
        raise ValueError(f"--parts {parts} is for --engine mxnet: with pytorch take several GPUs, or --precision bf16")
    return {"engine": {"name": chosen.name, "precision": chosen.precision}}


def devices_of(ctx: Any, precision: str, batch_size: int = 1 << 14) -> List[str]:
    """The names of PyTorch's devices that `ctx` names, as --ctx takes them; None is a GPU where there is one.

    Raises ValueError for others, for devices that are not there, for a precision that they do not have, and, if `ctx`
    is None, where PyTorch cannot use the GPU that is there.
    """
    if ctx is not None and not isinstance(ctx, str):
        raise ValueError(f"ctx {ctx} is MXNet's: the PyTorch engine takes names, as cpu, cuda0 or cuda0,cuda1")
    wanted = None if ctx is None else device_names.parse(ctx, "PyTorch")
    if wanted is None or wanted[0].kind != "cpu":
        there = usable(environment.interpreter())
        if wanted is None:
            name = "cuda0" if there["cuda"] else "mps" if there["mps"] else "cpu"
            idle = gpus.listed() if name == "cpu" else None
            if idle:
                why, remedy = environment.why_idle(there)
                raise ValueError(
                    f"{idle[0]['name']} would stay idle, for PyTorch {why}: {remedy}, or add --ctx cpu "
                    "to train on the CPU"
                )
            wanted = device_names.parse(name, "PyTorch")
        for device in wanted:
            if device.kind == "cuda" and device.number >= len(there["cuda"]):
                raise ValueError(
                    f"device {device.name} is not there: PyTorch can use {len(there['cuda'])} GPUs of NVIDIA on this "
                    "machine; take another one, or cpu"
                )
            if device.kind == "mps" and not there["mps"]:
                raise ValueError("device mps is not there: PyTorch finds no GPU of a Mac; take cpu")
    if precision == "tf32" and wanted[0].kind != "cuda":
        raise ValueError(f"precision tf32 is of NVIDIA's GPUs, not of {wanted[0].name}: take float32 or bf16")
    if batch_size < 2 * len(wanted):
        raise ValueError(
            f"a batch of {batch_size} pictures is too small for {len(wanted)} devices, of which each needs two: take "
            f"{max(1, batch_size // 2)} of them, or a larger batch"
        )
    return [device.name for device in wanted]


@functools.lru_cache(maxsize=None)  # `choose` trains several runs, and to ask takes seconds
def usable(python: Path) -> Dict[str, Any]:
    """As `environment.devices`."""
    return environment.devices(python)


def train(
    material: Material,
    out: Path,
    run: Dict[str, Any],
    weights: Optional[PathLike],
    ctx: Any,
    deterministic: bool,
    checkpoint_every: Optional[int],
    lock: int,
) -> Dict[str, Any]:
    """The result of the run in `out`, trained by PyTorch.

    run: its identity, with the engine and its precision.  lock: the descriptor of the folder's lock, which the child
    inherits. The other arguments are those of `train.fit`. Raises ValueError with what the child says.
    """
    file = Path(out).resolve() / training_file.NAME
    checkpoint.check(out, run)
    devices = devices_of(ctx, run["engine"]["precision"], material.experiment.batch_size)
    try:
        write(file, material, run, weights)
        asked = dict(file=str(file), out=str(file.parent), devices=devices, deterministic=deterministic)
        asked.update(checkpoint_every=checkpoint_every, records=True)
        follow(asked, material, lock)
    finally:
        file.unlink(missing_ok=True)
    return results.read_result(Path(out) / "result.json")


def write(file: Path, material: Material, run: Dict[str, Any], weights: Optional[PathLike]) -> None:
    """Write the training file of a run: MXNet draws the first parameters, and the pictures are resized if need be."""
    experiment, split = material.experiment, material.split
    training = material.training()
    classes = len({record.label for record in split.train})
    mx.random.seed(run["seed"])  # as engines.gluon.started: both engines begin with the same parameters
    net = model.from_experiment(experiment, classes, weights)
    say_batch_norms(experiment)
    graph = training_graph.build(experiment, net)
    values = values_of(net)
    pictures = {part: held for part, held in zip(training_file.PARTS, material.pictures()) if held is not None}
    places = {}
    for part, held in pictures.items():
        assert isinstance(held, np.memmap)
        places[part] = (os.path.abspath(str(held.filename)), held.shape)
    training_file.write(
        file,
        training_file.Training(
            experiment, split, run, graph.text, graph.heads, graph.learned, values, places, training
        ),
    )


def follow(asked: Dict[str, Any], material: Material, lock: int) -> None:
    """Start the child, show what it tells, and wait for its end. Raises ValueError if it fails.

    asked: what it is to do, as `trainer.train` takes it.
    """
    python = environment.interpreter()
    started = environment.module(python, "gluon_cgd.engines.trainer", asked)
    if asked["deterministic"]:
        started["env"]["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # without it cuBLAS adds up in any order
    pipe, iterations = subprocess.PIPE, material.experiment.iterations(len(material.split.train))
    before = checkpoint.iteration(Path(asked["out"]) / "checkpoint.npz")
    error: Optional[str] = None
    unrecorded: Optional[str] = None
    # In a session of its own: Ctrl-C is for this process alone, which then ends the child
    with subprocess.Popen(
        **started,
        stdin=pipe,
        stdout=pipe,
        text=True,
        encoding="utf-8",
        pass_fds=(lock,),
        start_new_session=True,
    ) as child:
        try:
            with task("training", iterations, "it", material.progress, before) as bar:
                assert child.stdout
                for line in child.stdout:
                    told = json.loads(line)
                    if "at" in told:
                        bar.at(told["at"])
                        bar.note(told["note"])
                    elif "error" in told:
                        error = told["error"]
                    elif "unrecorded" in told:
                        unrecorded = told["unrecorded"]
                    else:
                        logging.getLogger(told["name"]).log(told["level"], "%s", told["line"], extra={WRITTEN: True})
        finally:
            assert child.stdin
            child.stdin.close()  # the child ends, if it has not yet
            try:
                child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
    if error or child.returncode:
        raise ValueError(error or ended(child.returncode))
    if unrecorded:  # in a new process, for the failure has left memory behind
        log.info("each kernel is started by itself, from now on: the step cannot be recorded (%s)", unrecorded)
        follow({**asked, "records": False}, material, lock)


def ended(status: int) -> str:
    """A sentence on a child that ended with `status` and said nothing."""
    if status == -9:
        return "the PyTorch process was killed, maybe for lack of memory: the same command goes on from the checkpoint"
    how = f"by signal {-status}" if status < 0 else f"with status {status}"
    return f"the PyTorch process ended {how}; what it said is above: the same command goes on from the last checkpoint"
