"""What turns people's pictures into embeddings, and how an index knows it again."""

import os
from typing import Callable, NamedTuple

import numpy as np

from . import runtime
from .checksum import digest
from .experiment import Experiment


class Model(NamedTuple):
    """What turns pictures into embeddings: `embed`, a list of uint8 (side, side, 3) -> (N, D).

    about: what an index remembers of it.  features: such a list -> the last feature maps (N, C, h, w), and weights: ()
    -> those of the FC layers, for heatmaps; both raise ValueError for a file that was exported without them.
    """

    embed: Callable
    side: int
    about: dict
    experiment: Experiment
    features: Callable
    weights: Callable


def load(checkpoint, onnx, which, ctx, remembered, folder, computed_by=None):
    """The Model that is named, or else the one that the index `folder` remembers.

    checkpoint: a run's folder or a .params; onnx: an ONNX file; which: of the run's parameters; ctx: devices, as text;
    computed_by: the runtime of an ONNX file, one of onnx_model.RUNTIMES. Raises ValueError for a model that is not the
    index's, where there is none, and for options of the other kind of model.
    """
    if not (checkpoint or onnx):
        checkpoint, onnx = known(remembered, folder)
        which = which or remembered["which"]
    if onnx:
        if ctx or which:
            raise ValueError(f"--ctx and --which are for a --checkpoint: leave them out with {onnx}")
        model = from_onnx(onnx, computed_by or "onnxruntime")
    elif computed_by:
        raise ValueError(f"--runtime is for an exported model: leave it out with {checkpoint}, or name a --model")
    else:
        model = from_checkpoint(checkpoint, which, ctx)
    if remembered:
        check_same(folder, remembered, model.about)
    return model


def known(remembered, folder):
    """(checkpoint, ONNX file), one of them None, that an index remembers. Raises ValueError where it is gone."""
    if not remembered:
        raise ValueError(
            f"{folder} is new: name the model with --checkpoint, a run's folder or a .params file, or with --model, an "
            "exported one"
        )
    source, flag = remembered["source"], "--model" if remembered["onnx"] else "--checkpoint"
    if not os.path.exists(source):
        raise ValueError(f"{folder} was made with {source}, which is gone: say where it is, with {flag}")
    return (None, source) if remembered["onnx"] else (source, None)


def from_checkpoint(source, which, ctx):
    """The Model of a run's folder or of a published .params file."""
    runtime.need_mxnet()
    from .checkpoint import load_trained, parameters_hash
    from .evaluate import embed, features_of
    from .model_zoo import name_of
    from .similarity import weights_of

    if which and source.endswith(".params"):
        raise ValueError("--which is for a run's folder: a published model has one set of parameters")
    devices = runtime.contexts(ctx)
    net, experiment = load_trained(source, which or "last", devices)
    about = dict(onnx=False, source=os.path.abspath(source), which=which, name=name_of(experiment))
    about.update(experiment=experiment.to_dict(), parameters_sha256=parameters_hash(net))

    def embedded(found):
        size = max(1 << (len(found) - 1).bit_length(), len(devices))  # few shapes, and no 64 pictures for one
        return embed(net, np.stack(found), devices, size)

    def features(found):
        return features_of(net, np.stack(found), devices[0])

    return Model(embedded, experiment.input_size, about, experiment, features, lambda: weights_of(net))


def from_onnx(source, computed_by="onnxruntime"):
    """The Model of an ONNX file that `export` wrote, computed by one of onnx_model.RUNTIMES."""
    from . import onnx_model

    found = onnx_model.load(source, computed_by)
    experiment = Experiment.from_dict(found.experiment)
    # A file that does not say which parameters it was written from is a model of its own
    parameters = found.about.get("parameters_sha256") or digest(source)
    about = dict(onnx=True, source=os.path.abspath(source), which=None, name=found.about["name"])
    about.update(experiment=experiment.to_dict(), parameters_sha256=parameters)

    def embedded(pictures):
        return found.embed(np.stack(pictures))

    def features(pictures):
        return found.features(np.stack(pictures))

    return Model(embedded, found.input_size, about, experiment, features, lambda: found.projections())


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
