"""Checkpoints, from which a training run resumes to the same bits; and the parameters that it leaves behind."""

import hashlib
import json
import os
import zipfile
from typing import Any, Dict, Mapping, Tuple

import mxnet as mx
import numpy as np
from mxnet import gluon

from gluon_cgd.datasets.records import PathLike
from gluon_cgd.files.whole import replacing
from gluon_cgd.machine import devices


def save_checkpoint(file: PathLike, net: gluon.Block, trainer: gluon.Trainer, meta: Mapping[str, Any]) -> None:
    """Write parameters, Adam's moments and `meta`, which JSON can hold, to `file`."""
    mx.nd.waitall()  # MXNet crashes if a weight is copied while its update is still pending
    arrays = {"meta": np.array(json.dumps(meta))}
    indices = {parameter: index for index, parameter in enumerate(trainer._params)}
    for name, parameter in net._collect_params_with_prefix().items():  # names by structure: the same in every process
        arrays[f"parameter:{name}"] = parameter.list_data()[0].asnumpy()  # equal on all devices
        moments = trainer._updaters[0].states.get(indices.get(parameter), ())
        for kind, moment in zip(("mean", "variance"), moments):
            arrays[f"adam_{kind}:{name}"] = moment.asnumpy()
    for name, parameter in devices.statistics(net).items():  # only these differ between the devices
        first, *others = [array.asnumpy() for array in parameter.list_data()]
        if others:
            arrays[f"devices:{name}"] = np.stack([first, *others])
            arrays[f"parameter:{name}"] = first + sum(other - first for other in others) / (1 + len(others))
    with replacing(file) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, **arrays)
        handle.flush()
        os.fsync(handle.fileno())


def load_checkpoint(file: PathLike) -> Tuple[Dict[str, np.ndarray], Dict[str, Any]]:
    """(arrays, meta) that `save_checkpoint` wrote. Raises ValueError for a broken file; nothing in it is executed."""
    try:
        with open(file, "rb") as handle, np.load(handle, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        meta = json.loads(str(arrays.pop("meta")))
        iteration, history = meta["iteration"], meta["history"]
        if not (isinstance(iteration, int) and iteration > 0 and history and isinstance(meta["experiment"], dict)):
            raise ValueError("not a checkpoint of training")
        return arrays, {**meta, "seconds": float(meta["seconds"]), "history": [{**entry} for entry in history]}
    # AttributeError, TypeError: the file is whole, but not what `save_checkpoint` writes
    except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"checkpoint {file} cannot be read ({type(error).__name__}): delete it to train from the start"
        ) from error


def iteration(file: PathLike) -> int:
    """The iteration of the checkpoint `file`, without reading its arrays; 0 if there is no readable checkpoint."""
    try:
        with open(file, "rb") as handle, np.load(handle, allow_pickle=False) as stored:
            return int(json.loads(str(stored["meta"]))["iteration"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return 0


def restore(arrays: Mapping[str, np.ndarray], net: gluon.Block, trainer: gluon.Trainer, updates: int) -> None:
    """Put the arrays that `load_checkpoint` returned into `net` and `trainer`, which then has made `updates` updates.

    They may come from another number of devices. Raises ValueError if they are not of this network.
    """
    indices = {parameter: index for index, parameter in enumerate(trainer._params)}
    optimizer = trainer._optimizer
    # Adam's state is set by hand, because Gluon's load_states would unpickle a file
    for name, parameter in net._collect_params_with_prefix().items():
        value, *moments = (arrays.get(f"{kind}:{name}") for kind in ("parameter", "adam_mean", "adam_variance"))
        of_devices = list(arrays.get(f"devices:{name}", ()))
        shapes = [array.shape for array in (value, *moments, *of_devices) if array is not None]
        if value is None or any(shape != parameter.shape for shape in shapes):
            raise ValueError(f"the checkpoint does not fit the model ({name}): delete it to train from the start")
        parameter.set_data(mx.nd.array(value, dtype="float32"))
        if len(of_devices) == len(parameter.list_ctx()):  # for another number of devices the mean stays
            for array, own_value in zip(parameter.list_data(), of_devices):
                array[:] = own_value
        if parameter in indices and parameter.grad_req != "null":
            if any(moment is None for moment in moments):
                raise ValueError(f"the checkpoint lacks Adam's state ({name}): delete it to train from the start")
            index = indices[parameter]
            for updater, ctx in zip(trainer._updaters, parameter.list_ctx()):
                updater.states[index] = tuple(mx.nd.array(moment, ctx=ctx) for moment in moments)
                updater.states_synced[index] = True
                optimizer._set_current_context(ctx.device_id)  # updates are counted on each device
                optimizer._index_update_count[index] = updates
    optimizer.num_update = updates


def parameters_hash(net: gluon.Block) -> str:
    """SHA-256 of the names and bytes of all parameters: equal for two networks that compute the same."""
    return _hash({name: value.list_data()[0] for name, value in net._collect_params_with_prefix().items()})


def hash_of_file(file: PathLike) -> str:
    """The `parameters_hash` of the network whose parameters are in `file`, "" if the file cannot be read."""
    try:
        values = mx.nd.load(str(file))
        return _hash(values) if isinstance(values, dict) else ""
    except (mx.MXNetError, MemoryError, ValueError):
        return ""


def _hash(values):
    digest = hashlib.sha256()
    for name, value in sorted(values.items(), key=lambda item: item[0]):
        digest.update(name.encode())
        digest.update(value.asnumpy().tobytes())
    return digest.hexdigest()


def save_parameters(net: gluon.Block, file: PathLike) -> None:
    """As Gluon's `save_parameters`, but `file` appears only when it is whole, with the first device's values.

    Gluon's own takes the mean over devices, which for three equal values can differ from them in the last bit.
    """
    values = {name: p.list_data()[0].copyto(mx.cpu()) for name, p in net._collect_params_with_prefix().items()}
    with replacing(file) as temporary:
        mx.nd.save(temporary, values)
