"""The model of an index: named by the caller or opened again from what the index remembers, and compared with it."""

import os

from gluon_cgd.experiment import Experiment
from gluon_cgd.models import opened
from gluon_cgd.retrieval import reduction, whitening

# What an index remembers of its model: `about` of opened.Model. key -> whether a value can be one, and what it is
REMEMBERED = {
    "name": (lambda value: isinstance(value, str), "a text"),
    "source": (lambda value: isinstance(value, str) and value != "", "a path"),
    "parameters_sha256": (lambda value: isinstance(value, str) and value != "", "a hash"),
    "onnx": (lambda value: isinstance(value, bool), "true or false"),
    "which": (lambda value: value in (None, "last", "best"), "last, best or null"),
    "experiment": (lambda value: isinstance(value, dict), "an object"),
}
OPTIONAL = {  # what some models have besides
    "pretrained": (lambda value: value is None or isinstance(value, str) and value != "", "the name of a backbone"),
    "whitening": (lambda value: value is None or isinstance(value, dict), "an object"),
    "reduction": (lambda value: value is None or isinstance(value, dict), "an object"),
}
CHANGES = {"whitening": whitening.read, "reduction": reduction.read}  # of embeddings, that an index has learned; one


def remembered_by(folder, manifest):
    """The `about` of the model that the index in `folder` was made with. Raises ValueError if `manifest` lacks it."""
    about = manifest["model"]
    for key, (holds, kind) in {**REMEMBERED, **OPTIONAL}.items():
        if (key in about and not holds(about[key])) or (key in REMEMBERED and key not in about):
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


def open_model(folder, remembered, checkpoint=None, exported=None, pretrained=None, **more):
    """The Model that is named, or else the one that the index in `folder` remembers, with what the index has learned.

    remembered: the `about` of the index's Model, None for a new index.  The others: see `opened.open_model`.
    Raises ValueError if no model is named and none is remembered, and if the named one is not the index's.
    """
    how = dict(more, checkpoint=checkpoint, exported=exported, pretrained=pretrained)
    if not (checkpoint or exported or pretrained):
        how.update(find_remembered(folder, remembered, more.get("weights")))
        how["which"] = more.get("which") or remembered["which"]
    if remembered and remembered.get("pretrained") and how["pretrained"] and how.get("input_size") is None:
        how["input_size"] = Experiment.from_dict(remembered["experiment"]).input_size
    # The number of queries, or of new pictures, is small and varies: a few sizes of batch are enough
    model = opened.open_model(batch_size=None, **how)
    if not remembered:
        return model
    check_same(folder, remembered, model.about)
    kind = next((kind for kind in CHANGES if remembered.get(kind)), None)
    return changed(model, folder, kind, remembered[kind]) if kind else model


def find_remembered(folder, remembered, weights=None):
    """{argument of `opened.open_model`: value} that opens the index's model. Raises ValueError if it is gone.

    weights: the file that is named for the parameters of a pretrained backbone.
    """
    if not remembered:
        raise ValueError(
            f"{folder} is new: name the model with --checkpoint, a run's folder or a .params file, with --model, an "
            "exported one, or with --pretrained, a backbone"
        )
    if remembered.get("pretrained") and not remembered["onnx"]:  # on another machine the file is elsewhere
        here = remembered["source"] if os.path.isfile(remembered["source"]) else None
        return dict(pretrained=remembered["pretrained"], weights=weights or here)
    source, flag = remembered["source"], "--model" if remembered["onnx"] else "--checkpoint"
    if not os.path.exists(source):
        raise ValueError(f"{folder} was made with {source}, which is gone: say where it is, with {flag}")
    return {"exported" if remembered["onnx"] else "checkpoint": source}


def check_same(folder, remembered, about):
    """Raise ValueError unless `about` describes the model that the index in `folder` remembers."""
    same = remembered["parameters_sha256"] == about["parameters_sha256"]
    mine, other = (Experiment.from_dict(model["experiment"]) for model in (remembered, about))
    short = [digest[:8] + digest[64:] for digest in (remembered["parameters_sha256"], about["parameters_sha256"])]
    if not same or mine != other:
        raise ValueError(
            f"{folder} was made with {remembered['name']} at {mine.input_size} pixels (parameters {short[0]}, "
            f"{remembered['source']}), and {about['source']} is {about['name']} at {other.input_size} pixels "
            f"(parameters {short[1]}): embeddings of two models cannot be compared; take the index's model, "
            "or another folder"
        )


def changed(model, folder, kind, said):
    """`model` with the whitening or reduction of the index in `folder` behind it, described as `said`.

    Raises ValueError if that is gone or damaged.
    """
    learned = CHANGES[kind](folder, said, model.experiment.dim)

    def embed(pictures):
        return learned.applied(model.embed(pictures))

    return model._replace(embed=embed, whitening=learned, about={**model.about, kind: said})
