"""`get_model(name)` in GluonCV's convention, and trained models as files for other people."""

import re
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Dict, Tuple

import mxnet as mx
import numpy as np

from gluon_cgd import backbones, model
from gluon_cgd.experiment import ARCHITECTURES, ATTENTIONS, CONFIGURATIONS, Experiment, is_configuration
from gluon_cgd.files.parameters import check_parameters
from gluon_cgd.files.regular import read_json
from gluon_cgd.files.whole import digest, sync_folder, write_json
from gluon_cgd.machine.devices import listed
from gluon_cgd.runs import schema
from gluon_cgd.runs.fields import LIBRARIES
from gluon_cgd.runs.parameters import save_parameters

DIMS = (64, 128, 512, 1536)  # of Table 7
# word behind "cgd" in the name of another model than the paper's -> the field of Experiment that it sets, and its value
WORDS: Dict[str, Tuple[str, Any]] = {name.lower(): ("architecture", name) for name in ARCHITECTURES[1:]}
WORDS["sum"] = ("combine", "sum")
WORDS.update({name: ("attention", name) for name in ATTENTIONS[1:]}, whitened=("whiten", True))


def get_model_list():
    """The names that `get_model` knows: cgd_CONFIGURATION_BACKBONE_DIM. Other dimensions work too."""
    return [
        f"cgd_{descriptors.lower()}_{backbone}_{dim}"
        for backbone in backbones.BACKBONES
        for descriptors in CONFIGURATIONS
        for dim in DIMS
        if dim % len(descriptors) == 0
    ]


def get_model(name, classes=None, pretrained=False, pretrained_base=False, ctx=None, root=None, **choices):
    """The CGD called `name`, for example "cgd_sg_resnet50_1536", initialised on device `ctx`; see `model.CGD`.

    name: as `name_of` makes it, also with WORDS: "cgd-sum_sg_resnet50_1536".
    classes: of the auxiliary classifier; by default 98, or those of the file.
    pretrained: the file of a trained model that `save` wrote; nobody has published one yet.
    pretrained_base: True starts the backbone from ImageNet parameters, a path from those in that file.
    root: the folder of the published ones, by default ~/.mxnet/models.
    choices: other fields of Experiment, for example keep_stride.
    Draws from MXNet's generator: seed it before. Raises ValueError for an unknown name, and as `backbones.build` does.
    """
    parts = re.fullmatch(r"cgd((?:-[a-z]+)*)_([a-z]+)_(.+)_([0-9]+)", str(name), re.IGNORECASE)
    words = parts[1].lower().split("-")[1:] if parts else []
    chosen = dict(WORDS[word] for word in words if word in WORDS)
    backbone = named_backbone(parts[3]) if parts else ""
    if not parts or not backbone or not is_configuration(parts[2].upper()) or len(chosen) < len(words):
        raise ValueError(
            f"model {name!r} is unknown: names are cgd_CONFIGURATION_BACKBONE_DIM, like cgd_sg_resnet50_1536, with one "
            f"of {', '.join(CONFIGURATIONS).lower()} and one of {', '.join(backbones.BACKBONES)}; behind cgd may stand "
            f"-{', -'.join(WORDS)}, as in cgd-sum_sg_resnet50_1536"
        )
    chosen.update(descriptors=parts[2].upper(), backbone=backbone, dim=int(parts[4]))
    twice = sorted(set(choices) & set(chosen))
    if twice:
        raise ValueError(f"{twice[0]} is said by the name {name}: leave that argument out, or change the name")
    unknown = sorted(set(choices) - {f.name for f in fields(Experiment)})
    if unknown:
        raise ValueError(f"{unknown[0]} is not an argument of get_model: take another field of Experiment")
    if classes is not None and (not isinstance(classes, int) or classes < 1):
        raise ValueError(f"classes {classes!r} must be a whole number of at least 1")
    if not isinstance(pretrained_base, (bool, str, Path, type(None))):
        raise ValueError(f"pretrained_base {pretrained_base!r} must be True, False or the path of a file")
    experiment = Experiment(**chosen, pretrained=bool(pretrained_base), **choices)
    if pretrained is True:
        raise ValueError(f"no trained {name} has been published: train one, or give pretrained= the file of one")
    if pretrained not in (False, None):
        net, stored = load_published(pretrained, ctx)
        if name_of(stored) != name_of(experiment):
            raise ValueError(f"{pretrained} holds a {name_of(stored)} and not a {name_of(experiment)}")
        stored_classes = net.classifier[-1].weight.shape[0]
        differ = [field for field, value in choices.items() if getattr(stored, field) != value]
        if differ or classes not in (None, stored_classes):
            what = f"{differ[0]} {getattr(stored, differ[0])!r}" if differ else f"{stored_classes} classes"
            raise ValueError(f"{pretrained} holds a model with {what}: leave that argument out to have it as it is")
        return net
    weights = backbones.imagenet_file(experiment.backbone, root) if pretrained_base is True else pretrained_base or None
    net = model.from_experiment(experiment, classes or 98, weights)
    net.collect_params().reset_ctx(listed(ctx or mx.cpu()))
    return net


def named_backbone(word):
    """The backbone that a part of a model's name means, "" for none: gluoncv2:NAME is also written gluoncv2-NAME."""
    if ":" not in word:
        word = re.sub(r"^(gluoncv2?)-", r"\1:", word.lower())
    library, colon, _ = word.partition(":")
    return word if word in backbones.BACKBONES or colon and library in LIBRARIES else ""


def name_of(experiment):
    """The name of an experiment's model, "cgd_sg_resnet50_1536"; the WORDS of what differs from that follow "cgd"."""
    kind = "".join(f"-{word}" for word, (field, value) in WORDS.items() if getattr(experiment, field) == value)
    return f"cgd{kind}_{experiment.descriptors.lower()}_{experiment.backbone_word}_{experiment.dim}"


def save(net, experiment, folder, **about):
    """Write NAME-HASH.params and a .json beside it into `folder`; returns the path of the former.

    HASH is the beginning of the file's SHA-1, as in GluonCV's names.  about: more entries of the .json.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as inside:
        whole = Path(inside) / "parameters"
        save_parameters(net, whole)
        sha1 = digest(whole, "sha1")
        file = folder / f"{name_of(experiment)}-{sha1[:8]}.params"
        classes = net.classifier[-1].weight.shape[0]
        described = {"name": name_of(experiment), "sha1": sha1, "classes": classes, "experiment": experiment.to_dict()}
        write_json(file.with_suffix(".json"), {**described, **about})
        whole.replace(file)  # last: a .params is never without its description
        sync_folder(folder)
    return file


def load_published(file, ctx=None):
    """(net, experiment) of a file that `save` wrote. Raises ValueError or FileNotFoundError for another file."""
    file = Path(file)
    beside = file.with_suffix(".json")
    if (file.parent / "result.json").is_file() and not beside.exists():
        raise ValueError(
            f"{file} belongs to the run {file.parent}: name that folder (--which {file.stem} for this file)"
        )
    for needed in (file, beside):
        if not needed.is_file():
            raise FileNotFoundError(f"{needed} does not exist: a trained model is a .params with its .json beside it")
    described = read_description(file)
    experiment = Experiment.from_dict(described["experiment"])
    if digest(file, "sha1") != described["sha1"]:
        raise ValueError(f"{file} is not the file that {beside.name} describes (its SHA-1 is another): get it again")
    return trained(experiment, described["classes"], file, ctx), experiment


def read_description(file):
    """The dict in the .json beside a .params file that `save` wrote. Raises ValueError for another file."""
    beside = Path(file).with_suffix(".json")
    try:
        described = read_json(beside)
        wrong = schema.PUBLISHED(described, "")
    except ValueError as error:
        raise ValueError(f"{beside} does not describe a trained model ({error}): get it again") from error
    if wrong:
        raise ValueError(f"{beside} does not describe a trained model (it {wrong}): get it again")
    return described


def trained(experiment, classes, parameters, ctx=None):
    """The CGD of `experiment` with the values in the file `parameters`, on `ctx`; for use, not for training.

    On a CPU its layers are fused, which is faster and changes only the rounding.
    Raises ValueError for parameters of another network, and for NaN.
    """
    # Before memory is taken for them; even a small backbone has eight channels, with a weight each for every class
    if 8 * 4 * classes > Path(parameters).stat().st_size:
        reason = f"it is too small for {classes:,} classes"
        raise ValueError(f"{parameters} cannot be read as a {name_of(experiment)} ({reason}): get it again")
    try:
        net = model.from_experiment(replace(experiment, pretrained=False), classes)
    except ValueError as error:  # of an unknown backbone, for example
        raise ValueError(f"the network of {parameters} cannot be made: {error}") from error
    try:
        check_parameters(parameters)
        net.load_parameters(str(parameters), ctx=mx.cpu())  # the net was made there: Gluon refuses another device
    except Exception as error:  # MXNet raises many kinds for a broken file
        raise ValueError(f"{parameters} cannot be read as a {name_of(experiment)}: get it again") from error
    for name, parameter in net._collect_params_with_prefix().items():
        if not np.isfinite(parameter.data().asnumpy()).all():
            raise ValueError(
                f"{parameters} holds NaN or infinite numbers ({name}): the training diverged; take another checkpoint, "
                "or train again with a lower learning rate"
            )
    return for_use(net, experiment, ctx or mx.cpu())


def for_use(net, experiment, ctx):
    """`net`, a network of `experiment`, on `ctx` and compiled for use, not for training; see `trained`."""
    devices = listed(ctx)
    net.collect_params().reset_ctx(devices)
    fuses = devices[0].device_type == "cpu" and backbones.recipe_of(experiment.backbone).fuses
    net.hybridize(static_alloc=True, static_shape=True, backend="MKLDNN" if fuses else None)
    return net
