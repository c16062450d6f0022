"""What turns people's pictures into embeddings, and how an index knows it again."""

import os
from typing import Any, Callable, NamedTuple

import numpy as np

from . import runtime
from .experiment import Experiment


class Model(NamedTuple):
    """What turns pictures into embeddings: `embed`, a list of uint8 (side, side, 3) -> (N, D).

    about: what an index remembers of it.  net, ctx: of MXNet, for heatmaps; None for an ONNX file.
    """

    embed: Callable
    side: int
    about: dict
    experiment: Experiment
    net: Any = None
    ctx: Any = None


def load(checkpoint, onnx, which, ctx, remembered, folder):
    """The Model that is named, or else the one that the index `folder` remembers.

    checkpoint: a run's folder or a .params; onnx: an ONNX file; which: of the run's parameters; ctx: devices, as text.
    Raises ValueError for a model that is not the index's, and where there is none.
    """
    if checkpoint or onnx:
        model = from_onnx(onnx) if onnx else from_checkpoint(checkpoint, which, ctx)
    elif not remembered:
        raise ValueError(f"{folder} is new: name the model with --checkpoint, a run's folder or a .params file")
    elif not os.path.exists(remembered["source"]):
        raise ValueError(
            f"{folder} was made with {remembered['source']}, which is gone: say where it is, with --checkpoint"
        )
    elif remembered["onnx"]:
        model = from_onnx(remembered["source"])
    else:
        model = from_checkpoint(remembered["source"], which or remembered["which"], ctx)
    if remembered:
        check_same(folder, remembered, model.about)
    return model


def from_checkpoint(source, which, ctx):
    """The Model of a run's folder or of a published .params file."""
    from .checkpoint import load_trained, parameters_hash
    from .evaluate import embed
    from .model_zoo import name_of

    if which and source.endswith(".params"):
        raise ValueError("--which is for a run's folder: a published model has one set of parameters")
    devices = runtime.contexts(ctx)
    net, experiment = load_trained(source, which or "last", devices)
    about = dict(onnx=False, source=os.path.abspath(source), which=which, name=name_of(experiment))
    about.update(experiment=experiment.to_dict(), parameters_sha256=parameters_hash(net))

    def embedded(found):
        size = max(1 << (len(found) - 1).bit_length(), len(devices))  # few shapes, and no 64 pictures for one
        return embed(net, np.stack(found), devices, size)

    return Model(embedded, experiment.input_size, about, experiment, net, devices[0])


def from_onnx(source):
    """The Model of an ONNX file that `export` wrote."""
    from . import onnx_model
    from .download import digest

    found = onnx_model.load(source)
    experiment = Experiment.from_dict(found.experiment)
    # A file that does not say which parameters it was written from is a model of its own
    parameters = found.about.get("parameters_sha256") or digest(source, "sha256")
    about = dict(onnx=True, source=os.path.abspath(source), which=None, name=found.about["name"])
    about.update(experiment=experiment.to_dict(), parameters_sha256=parameters)
    return Model(lambda pictures: found.embed(np.stack(pictures)), found.input_size, about, experiment)


def check_same(folder, stored, about):
    """Raise ValueError unless `about` describes the model that the index `folder` remembers as `stored`."""
    same = stored["parameters_sha256"] == about["parameters_sha256"]
    if not same or Experiment.from_dict(stored["experiment"]) != Experiment.from_dict(about["experiment"]):
        raise ValueError(
            f"{folder} was made with {stored['name']} (parameters {stored['parameters_sha256'][:8]}, "
            f"{stored['source']}), and {about['source']} is {about['name']} (parameters "
            f"{about['parameters_sha256'][:8]}): embeddings of two models cannot be compared; take the index's model, "
            "or another folder"
        )
