"""A training run on disk: what makes it go on to the same bits, what it leaves behind, and whose it is."""

import hashlib
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import mxnet as mx
import numpy as np

from . import model
from .experiment import Experiment


def save(file, net, trainer, meta):
    """Write parameters, Adam's moments and `meta` (JSON-able) to `file`."""
    arrays = {f"parameter:{name}": p.data().asnumpy() for name, p in net._collect_params_with_prefix().items()}
    for index, moments in trainer._updaters[0].states.items():
        for kind, moment in zip(("mean", "variance"), moments):
            arrays[f"adam_{kind}:{index}"] = moment.asnumpy()
    with replacing(file) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, meta=np.array(json.dumps(meta)), **arrays)
        handle.flush()
        os.fsync(handle.fileno())


def load(file):
    """(arrays, meta) of a file that `save` wrote. Raises ValueError when it is broken; nothing in it is executed."""
    try:
        with open(file, "rb") as handle, np.load(handle, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return arrays, json.loads(str(arrays.pop("meta")))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"checkpoint {file} cannot be read ({type(error).__name__}): delete it to train from the start"
        ) from error


def restore(arrays, net, trainer, updates):
    """Put what `load` returned into `net` and `trainer`, which has then made `updates` updates."""
    for name, parameter in net._collect_params_with_prefix().items():
        parameter.set_data(mx.nd.array(arrays[f"parameter:{name}"], dtype="float32"))
    # Gluon's own load_states unpickles its file, so Adam's state goes in by hand
    updater, optimizer = trainer._updaters[0], trainer._optimizer
    for index, parameter in enumerate(trainer._params):
        if f"adam_mean:{index}" in arrays:
            moments = [arrays[f"adam_{kind}:{index}"] for kind in ("mean", "variance")]
            updater.states[index] = tuple(mx.nd.array(moment, ctx=parameter.list_ctx()[0]) for moment in moments)
            updater.states_synced[index] = True
            optimizer._index_update_count[index] = updates
    optimizer.num_update = updates


def finished(folder, run):
    """The result in `folder`, or None when there is none. Raises ValueError if it is broken or of another run."""
    file = Path(folder) / "result.json"
    if not file.is_file():
        return None
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: delete it to train again") from error
    same_run(file, result, run)
    return result


def same_run(file, stored, asked):
    """Raise ValueError, naming the difference, unless `stored` (read from `file`) is of the run that is `asked` for."""
    flat = [
        {**run.get("experiment", {}), **{k: v for k, v in run.items() if k != "experiment"}} for run in (stored, asked)
    ]
    for name, wanted in flat[1].items():
        found = flat[0].get(name)
        if found != wanted:
            raise ValueError(
                f"{file} is of another run ({name} {found!r} there, {wanted!r} asked for): "
                "choose another folder, or delete it"
            )


def load_trained(folder, which="last", ctx=None):
    """(net, experiment) of a finished run: the CGD with its `which` ("last" or "best") parameters on device `ctx`.

    Raises FileNotFoundError for a folder without a finished run and ValueError for files that cannot be read.
    """
    folder = Path(folder)
    result, parameters = folder / "result.json", folder / f"{which}.params"
    if not result.is_file() or not parameters.is_file():
        raise FileNotFoundError(
            f"{folder} holds no finished run (result.json and {parameters.name}): name the folder given to train --out"
        )
    try:
        values = json.loads(result.read_text(encoding="utf-8"))
        experiment = Experiment.from_dict(values["experiment"])
        net = model.from_experiment(replace(experiment, pretrained=False), values["classes"])
        net.load_parameters(str(parameters), ctx=ctx or mx.cpu())
    except (ValueError, TypeError, KeyError, AssertionError, RuntimeError) as error:  # MXNet's own is a RuntimeError
        raise ValueError(
            f"the run in {folder} cannot be read ({type(error).__name__} in result.json or {parameters.name}): "
            "train it again"
        ) from error
    net.hybridize(static_alloc=True, static_shape=True)
    return net, experiment


def parameters_hash(net):
    """SHA-256 of every parameter's name and bytes: equal for two nets that compute the same."""
    digest = hashlib.sha256()
    for name, parameter in sorted(net._collect_params_with_prefix().items()):
        digest.update(name.encode())
        digest.update(parameter.data().asnumpy().tobytes())
    return digest.hexdigest()


def save_parameters(net, file):
    """Gluon's `save_parameters`, under a temporary name until the file is whole."""
    with replacing(file) as temporary:
        net.save_parameters(temporary)


def write_json(file, values):
    """Write `values` as JSON, under a temporary name until the file is whole."""
    with replacing(file) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        json.dump(values, handle, indent=1)


class replacing:
    """`with replacing(file) as temporary`: what was written to `temporary` becomes `file` if nothing was raised."""

    def __init__(self, file):
        self.file, self.temporary = str(file), f"{file}.part"

    def __enter__(self):
        return self.temporary

    def __exit__(self, kind, value, trace):
        if kind is None:
            os.replace(self.temporary, self.file)
        elif os.path.exists(self.temporary):
            os.unlink(self.temporary)
