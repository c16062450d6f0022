"""A training run on disk: what makes it go on to the same bits, what it leaves behind, and whose it is."""

import hashlib
import json
import os
import zipfile

import mxnet as mx
import numpy as np

from gluon_cgd.files.whole import replacing
from gluon_cgd.machine import devices


def save(file, net, trainer, meta):
    """Write parameters, Adam's moments and `meta` (JSON-able) to `file`."""
    mx.nd.waitall()  # MXNet crashes where a weight is copied while its update is still to come
    arrays = {"meta": np.array(json.dumps(meta))}
    indices = {parameter: index for index, parameter in enumerate(trainer._params)}
    for name, parameter in net._collect_params_with_prefix().items():  # names by structure: the same in every process
        arrays[f"parameter:{name}"] = parameter.list_data()[0].asnumpy()  # all devices have the same
        moments = trainer._updaters[0].states.get(indices.get(parameter), ())
        for kind, moment in zip(("mean", "variance"), moments):
            arrays[f"adam_{kind}:{name}"] = moment.asnumpy()
    for name, parameter in devices.statistics(net).items():  # but of these, between two evaluations
        first, *others = [one.asnumpy() for one in parameter.list_data()]
        if others:
            arrays[f"devices:{name}"] = np.stack([first, *others])
            arrays[f"parameter:{name}"] = first + sum(other - first for other in others) / (1 + len(others))
    with replacing(file) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, **arrays)
        handle.flush()
        os.fsync(handle.fileno())


def load(file):
    """(arrays, meta) of a file that `save` wrote. Raises ValueError when it is broken; nothing in it is executed."""
    try:
        with open(file, "rb") as handle, np.load(handle, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        meta = json.loads(str(arrays.pop("meta")))
        iteration, history = meta["iteration"], meta["history"]
        if not (isinstance(iteration, int) and iteration > 0 and history and isinstance(meta["experiment"], dict)):
            raise ValueError("not a checkpoint of training")
        return arrays, {**meta, "seconds": float(meta["seconds"]), "history": [{**entry} for entry in history]}
        # AttributeError, TypeError: whole, but not what `save` writes
    except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"checkpoint {file} cannot be read ({type(error).__name__}): delete it to train from the start"
        ) from error


def iteration(file):
    """The iteration at which the checkpoint `file` stands, read alone; 0 where there is none that can be read."""
    try:
        with open(file, "rb") as handle, np.load(handle, allow_pickle=False) as stored:
            return int(json.loads(str(stored["meta"]))["iteration"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return 0


def restore(arrays, net, trainer, updates):
    """Put what `load` returned into `net` and `trainer`, which has then made `updates` updates.

    It may come from another number of devices. Raises ValueError when it is not of this net.
    """
    indices = {parameter: index for index, parameter in enumerate(trainer._params)}
    optimizer = trainer._optimizer
    # Gluon's own load_states unpickles its file, so Adam's state goes in by hand
    for name, parameter in net._collect_params_with_prefix().items():
        found = [arrays.get(f"{kind}:{name}") for kind in ("parameter", "adam_mean", "adam_variance")]
        each = list(arrays.get(f"devices:{name}", ()))
        if found[0] is None or any(one is not None and one.shape != parameter.shape for one in found + each):
            raise ValueError(f"the checkpoint does not fit the model ({name}): delete it to train from the start")
        parameter.set_data(mx.nd.array(found[0], dtype="float32"))
        if len(each) == len(parameter.list_ctx()):  # on another number of devices all take the mean
            for array, value in zip(parameter.list_data(), each):
                array[:] = value
        if parameter in indices and parameter.grad_req != "null":
            if found[1] is None or found[2] is None:
                raise ValueError(f"the checkpoint lacks Adam's state ({name}): delete it to train from the start")
            index = indices[parameter]
            for updater, ctx in zip(trainer._updaters, parameter.list_ctx()):
                updater.states[index] = tuple(mx.nd.array(moment, ctx=ctx) for moment in found[1:])
                updater.states_synced[index] = True
                optimizer._set_current_context(ctx.device_id)  # updates are counted on each device
                optimizer._index_update_count[index] = updates
    optimizer.num_update = updates


def parameters_hash(net):
    """SHA-256 of every parameter's name and bytes: equal for two nets that compute the same."""
    digest = hashlib.sha256()
    for name, parameter in sorted(net._collect_params_with_prefix().items()):
        digest.update(name.encode())
        digest.update(parameter.list_data()[0].asnumpy().tobytes())
    return digest.hexdigest()


def save_parameters(net, file):
    """Gluon's `save_parameters`, under a temporary name until the file is whole.

    Gluon's own takes the mean over devices, which of three equal values can be another one.
    """
    parameters = net._collect_params_with_prefix()
    with replacing(file) as temporary:
        mx.nd.save(temporary, {name: one.list_data()[0].copyto(mx.cpu()) for name, one in parameters.items()})
