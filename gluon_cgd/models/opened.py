"""What turns people's pictures into embeddings, and how an index knows it again."""

import contextlib
import os
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np

from gluon_cgd.experiment import Experiment
from gluon_cgd.files.whole import digest
from gluon_cgd.machine import prepare
from gluon_cgd.runs.results import read_result


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
    prepare.check_mxnet()
    from gluon_cgd.evaluate import embed, features_of
    from gluon_cgd.machine import devices
    from gluon_cgd.models.opened import load_trained
    from gluon_cgd.models.zoo import name_of
    from gluon_cgd.runs.checkpoint import parameters_hash
    from gluon_cgd.similarity import weights_of

    parameters = parameters_of(source, which)
    on = devices.contexts(ctx)
    net, experiment = load_trained(source, parameters, on)
    about = dict(onnx=False, source=os.path.abspath(source), which=which, name=name_of(experiment))
    about.update(experiment=experiment.to_dict(), parameters_sha256=parameters_hash(net))

    def embedded(found):
        size = max(1 << (len(found) - 1).bit_length(), len(on))  # few shapes, and no 64 pictures for one
        return embed(net, np.stack(found), on, size)

    def features(found):
        return features_of(net, np.stack(found), on[0])

    return Model(embedded, experiment.input_size, about, experiment, features, lambda: weights_of(net))


def from_onnx(source, computed_by="onnxruntime"):
    """The Model of an ONNX file that `export` wrote, computed by one of onnx_model.RUNTIMES."""
    from gluon_cgd.models import onnx_model

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
    from gluon_cgd.models import zoo  # it needs MXNet

    folder = Path(folder)
    if folder.suffix == ".params":
        return zoo.load(folder, ctx)
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
    return zoo.trained(experiment, values["classes"], parameters, ctx), experiment


def parameters_of(checkpoint, which):
    """`which`, by default "last". Raises ValueError where a `which` is given for a file with one set of parameters."""
    if which and str(checkpoint or "").endswith(".params"):
        raise ValueError("--which is for a run's folder: a published model has one set of parameters")
    return which or "last"
