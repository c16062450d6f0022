"""A training run on disk: what makes it go on to the same bits, what it leaves behind, and whose it is."""

import contextlib
import hashlib
import json
import os
import zipfile
from pathlib import Path

import mxnet as mx
import numpy as np

from . import devices, model_zoo
from .atomic import replacing
from .checksum import digest
from .experiment import Experiment


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


def finished(folder, run):
    """The result in `folder`, or None when there is none. Raises ValueError if it is broken or of another run."""
    file = Path(folder) / "result.json"
    if not file.is_file():
        return None
    result = read_result(file)
    same_run(file, result, run)
    return result


def read_result(file):
    """A result.json as a dict. Raises ValueError for one that is cut off or something else."""
    try:
        result = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: delete it to train again") from error
    needed = {"experiment", "seed", "untrained", "last", "best", "classes"}
    if not isinstance(result, dict) or not needed <= set(result) or not isinstance(result["experiment"], dict):
        raise ValueError(f"{file} is not the result of a run: delete it to train again")
    for which in ("untrained", "last", "best"):
        values = result[which].values() if isinstance(result[which], dict) else [None]
        if not all(isinstance(value, (int, float)) and 0 <= value <= 1 for value in values):
            raise ValueError(
                f"{file} has a recall under {which!r} that is not between 0 and 1: delete it to train again"
            )
    if not _has_good_branches(result.get("branches", {})) or not isinstance(result.get("files", {}), dict):
        raise ValueError(f"{file} is not the result of a run: delete it to train again")
    if not isinstance(result["classes"], int) or result["classes"] < 1:
        raise ValueError(f"{file} has {result['classes']!r} classes: delete it to train again")
    return result


def _has_good_branches(branches):
    """Whether `branches` is {"last": {"SPoC": {"R@1": fraction, ...}, ...}, ...}."""
    try:
        values = [value for names in branches.values() for recall in names.values() for value in recall.values()]
        return all(isinstance(value, (int, float)) and 0 <= value <= 1 for value in values)
    except AttributeError:
        return False


def same_run(file, stored, asked):
    """Raise ValueError, naming the difference, unless `stored` (read from `file`) is of the run that is `asked` for."""
    flat = [
        # A field that is newer than the stored run had its default there
        {**Experiment().to_dict(), **run["experiment"], **{k: v for k, v in run.items() if k != "experiment"}}
        for run in (stored, asked)
    ]
    for name in (*Experiment().to_dict(), *asked):
        found, wanted = flat[0].get(name), flat[1].get(name)
        if found != wanted:
            raise ValueError(
                f"{file} is of another run ({name} {found!r} there, {wanted!r} asked for): "
                "choose another folder, or delete it"
            )


def find_best(runs, which="last"):
    """The folder of the best finished run in the folder `runs`.

    Models of real pictures come before those of glyphs; among them the highest Recall@1 of the `which` ("last" or
    "best") parameters counts. Raises FileNotFoundError when there is no run.
    """
    found = []
    for file in sorted(Path(runs).glob("**/result.json")):
        with contextlib.suppress(ValueError, KeyError):
            result = read_result(file)
            if (file.parent / f"{which}.params").is_file():
                found.append((result["experiment"]["dataset"] != "glyphs", result[which]["R@1"], str(file.parent)))
    if not found:
        raise FileNotFoundError(
            f"{runs} holds no trained model: bash reproduce/table4.sh --mini trains two in a minute"
        )
    return max(found)[2]


def load_trained(folder, which="last", ctx=None):
    """(net, experiment) of a finished run: the CGD with its `which` ("last" or "best") parameters on device `ctx`.

    Instead of a run's folder it can be a file that `model_zoo.save` wrote, which has but one set of parameters.
    Raises FileNotFoundError for a folder without a finished run and ValueError for files that cannot be read.
    """
    folder = Path(folder)
    if folder.suffix == ".params":
        return model_zoo.load(folder, ctx)
    result, parameters = folder / "result.json", folder / f"{which}.params"
    if not result.is_file() or not parameters.is_file():
        raise FileNotFoundError(
            f"{folder} holds no finished run (result.json and {parameters.name}): name the folder given to train --out"
        )
    values = read_result(result)
    experiment = Experiment.from_dict(values["experiment"])
    left = values.get("files", {}).get(parameters.name)
    if left and left != digest(parameters):
        raise ValueError(f"{parameters} is not the file that the run left (its sha256 is another): train it again")
    return model_zoo.trained(experiment, values["classes"], parameters, ctx), experiment


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
