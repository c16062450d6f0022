"""The model of an index: named by the caller or opened again from what the index remembers, and compared with it."""

import os

from gluon_cgd.experiment import Experiment
from gluon_cgd.models import opened

# What an index remembers of its model: `about` of opened.Model. key -> whether a value can be one, and what it is
REMEMBERED = {
    "name": (lambda value: isinstance(value, str), "a text"),
    "source": (lambda value: isinstance(value, str) and value != "", "a path"),
    "parameters_sha256": (lambda value: isinstance(value, str) and value != "", "a hash"),
    "onnx": (lambda value: isinstance(value, bool), "true or false"),
    "which": (lambda value: value in (None, "last", "best"), "last, best or null"),
    "experiment": (lambda value: isinstance(value, dict), "an object"),
}


def remembered_by(folder, manifest):
    """The `about` of the model that the index in `folder` was made with. Raises ValueError if `manifest` lacks it."""
    about = manifest["model"]
    for key, (holds, kind) in REMEMBERED.items():
        if key not in about or not holds(about[key]):
            raise ValueError(
                f"{folder} does not say which model it was made with ({key} must be {kind}): delete it and index again"
            )
    try:
        Experiment.from_dict(about["experiment"])
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{folder} was made with a model that this version of gluon_cgd does not know ({error}): delete it and "
            "index again"
        ) from error
    return about


def open_model(folder, remembered, checkpoint=None, exported=None, which=None, **more):
    """The Model that is named, or else the one that the index in `folder` remembers.

    remembered: the `about` of the index's Model, None for a new index.  The others: see `opened.open_model`.
    Raises ValueError if no model is named and none is remembered, and if the named one is not the index's.
    """
    if not (checkpoint or exported):
        checkpoint, exported = find_remembered(folder, remembered)
        which = which or remembered["which"]
    # The number of queries, or of new pictures, is small and varies: a few sizes of batch are enough
    model = opened.open_model(checkpoint, exported, which=which, batch_size=None, **more)
    if remembered:
        check_same(folder, remembered, model.about)
    return model


def find_remembered(folder, remembered):
    """(checkpoint, exported), one of them None: where the index's model is. Raises ValueError if it is gone."""
    if not remembered:
        raise ValueError(
            f"{folder} is new: name the model with --checkpoint, a run's folder or a .params file, or with --model, an "
            "exported one"
        )
    source, flag = remembered["source"], "--model" if remembered["onnx"] else "--checkpoint"
    if not os.path.exists(source):
        raise ValueError(f"{folder} was made with {source}, which is gone: say where it is, with {flag}")
    return (None, source) if remembered["onnx"] else (source, None)


def check_same(folder, remembered, about):
    """Raise ValueError unless `about` describes the model that the index in `folder` remembers."""
    same = remembered["parameters_sha256"] == about["parameters_sha256"]
    short = [digest[:8] + digest[64:] for digest in (remembered["parameters_sha256"], about["parameters_sha256"])]
    if not same or Experiment.from_dict(remembered["experiment"]) != Experiment.from_dict(about["experiment"]):
        raise ValueError(
            f"{folder} was made with {remembered['name']} (parameters {short[0]}, "
            f"{remembered['source']}), and {about['source']} is {about['name']} (parameters "
            f"{short[1]}): embeddings of two models cannot be compared; take the index's model, "
            "or another folder"
        )
