"""One opener of trained models: a run's folder, a published file, an exported ONNX file or a released symbol."""

import contextlib
import os
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import numpy as np

from gluon_cgd.datasets.training_part import Trained, trained_of
from gluon_cgd.evaluate import directed, finite_weights
from gluon_cgd.experiment import WITHOUT_FILES, Experiment
from gluon_cgd.extensions import whitening
from gluon_cgd.files.regular import read_json
from gluon_cgd.files.whole import digest
from gluon_cgd.machine import prepare
from gluon_cgd.models import onnx_model
from gluon_cgd.runs.results import damaged, read_result
from gluon_cgd.similarity import arguments

PRETRAINED = "efficientnet_lite0"  # the backbone that is taken where no model is named and none is trained


class Model(NamedTuple):
    """A trained model, ready for pictures: uint8 (N, input_size, input_size, 3), as an array or a list.

    embed: pictures -> embeddings (N, D).  features: pictures -> the last feature maps (N, C, h, w), and projections:
    () -> the FC layers' weights, n x (k, C), for heatmaps; both raise ValueError for a file that does not hold them.
    about: a dict with its name, its source and the hash of its parameters, by which an index knows it again.
    trained: which pictures it was trained on; None for a symbol.
    learned: what each descriptor has learned, as `similarity.learned_of` returns it.
    whitening: what `embed` applies last, a Whitening or a Reduction of `retrieval`; None for none.
    """

    embed: Callable
    features: Callable
    projections: Callable
    experiment: Experiment
    input_size: int
    about: dict
    trained: Optional[Trained] = None
    whitening: Any = None
    learned: Any = None

    def decomposing(self):
        """The arguments of `similarity.decompose` after the features. Raises ValueError as `projections` does."""
        return dict(arguments(self.projections(), self.experiment, self.learned), whitening=self.whitening)


def open_model(
    checkpoint=None,
    exported=None,
    symbol=None,
    pretrained=None,
    weights=None,
    which=None,
    ctx=None,
    runtime=None,
    epoch=None,
    dataset=None,
    input_size=None,
    batch_size=32,
):
    """The Model in the one place that is named.

    checkpoint: a run's folder or a published .params file; which: the run's "last" or "best" parameters.
    exported: an ONNX file that `export` wrote; runtime: what computes it, one of onnx_model.RUNTIMES.
    symbol: the prefix of a symbol and its parameters; epoch, dataset, input_size: what its files do not say.
    pretrained: the name of a backbone that was not trained further; weights, input_size: see `load_pretrained`.
    ctx: the devices, as text (see `machine.device_names`): MXNet's, or for an exported file one of its runtime's.
    batch_size: pictures that MXNet embeds at once, fewer are filled up to it; a CPU gains nothing from more than 32.
    None: the number of pictures, rounded up to a power of two.
    Raises ValueError for arguments that do not go with the model, and as the readers of these files do.
    """
    if not symbol and not (epoch is None and (input_size is None or pretrained)):
        raise ValueError(
            "--epoch and --input-size are for a --symbol: leave them out (--pretrained takes --input-size too)"
        )
    if not symbol:
        check_flags(which, weights, input_size, pretrained)
    if runtime and not exported:
        named = checkpoint or symbol or pretrained
        raise ValueError(f"--runtime is for an exported model: leave it out with {named}, or name a --model")
    if exported and which:
        raise ValueError(f"--which is for a --checkpoint: leave it out with {exported}")
    if symbol and (which or not dataset):
        raise ValueError("a symbol does not say what it was trained on: name a --dataset, and leave out --which")
    if exported:
        return _open_exported(exported, runtime or next(iter(onnx_model.RUNTIMES)), ctx)
    prepare.check_mxnet()
    from gluon_cgd.machine import devices

    on = devices.contexts(ctx)
    if symbol:
        return _open_symbol(symbol, epoch, dataset, input_size, on, batch_size)
    if pretrained:
        return _open_pretrained(pretrained, weights, input_size, on, batch_size)
    return _open_checkpoint(checkpoint, which, on, batch_size)


def check_flags(which=None, weights=None, input_size=None, pretrained=None):
    """Raise ValueError for arguments that go with a `pretrained` backbone without one, and for `which` with one."""
    if which and pretrained:
        raise ValueError(f"--which is for a --checkpoint: leave it out with --pretrained {pretrained}")
    for flag, value in (("--weights", weights), ("--input-size", input_size)):
        if value is not None and not pretrained:
            raise ValueError(f"{flag} is for a --pretrained backbone: name one, or leave it out")


def _open_checkpoint(checkpoint, which, on, batch_size):
    from gluon_cgd.models.zoo import name_of

    net, experiment = load_trained(checkpoint, which, on)
    about = dict(source=os.path.abspath(checkpoint), which=which, name=name_of(experiment))
    return _opened(net, experiment, about, on, batch_size)._replace(trained=trained_on(checkpoint))


def _open_pretrained(backbone, weights, input_size, on, batch_size):
    from gluon_cgd.models.pretrained import load_pretrained, name_of

    net, experiment, file = load_pretrained(backbone, weights, input_size, on)
    about = dict(source=os.path.abspath(file), which=None, name=name_of(experiment), pretrained=backbone)
    return _opened(net, experiment, about, on, batch_size)


def _opened(net, experiment, about, on, batch_size):
    """The Model of `net`, a network of MXNet on the devices `on`."""
    from gluon_cgd.evaluate import features_of
    from gluon_cgd.runs.parameters import parameters_hash
    from gluon_cgd.similarity import learned_of, weights_of

    about = dict(about, onnx=False, experiment=experiment.to_dict(), parameters_sha256=parameters_hash(net))

    def features(pictures):
        return features_of(net, np.asarray(pictures), on[0])

    def projections():
        return [finite_weights(weights) for weights in weights_of(net)]

    embed = _embedding(net, on, batch_size)
    learned = learned_of(net)
    last = whitening.of_layer(getattr(net, "whitening", None))
    return Model(embed, features, projections, experiment, experiment.input_size, about, None, last, learned)


def trained_on(checkpoint):
    """The Trained of a run's folder or of a published .params file: which pictures that model was trained on."""
    file = Path(checkpoint)
    file = file.with_suffix(".json") if file.suffix == ".params" else file / "result.json"
    values = read_json(file)
    return trained_of(values["experiment"]["dataset"], values, file)


def _open_symbol(prefix, epoch, dataset, input_size, on, batch_size):
    from gluon_cgd.models.symbol import load_symbol

    def refuse(*_):
        raise ValueError(f"{prefix} gives embeddings alone: heatmaps need a --checkpoint or a --model")

    experiment = Experiment(dataset=dataset, input_size=224 if input_size is None else input_size)
    embed = _embedding(load_symbol(prefix, epoch, on, experiment.input_size), on, batch_size)
    about = dict(onnx=False, source=os.path.abspath(prefix), which=None, name=Path(prefix).name)
    return Model(embed, refuse, refuse, experiment, experiment.input_size, about)


def _embedding(net, on, batch_size):
    """The function pictures -> embeddings of `net` on the devices `on`."""
    from gluon_cgd.evaluate import embed

    def embedding(pictures):
        size = batch_size or max(1 << (len(pictures) - 1).bit_length(), len(on))
        return directed(embed(net, np.asarray(pictures), on, size))

    return embedding


def _open_exported(file, runtime, ctx):
    model = onnx_model.load_exported(file, runtime, ctx)
    experiment = Experiment.from_dict(model.experiment)
    # A file that does not say which parameters it was written from is a model of its own
    parameters = model.about.get("parameters_sha256") or digest(file)
    about = dict(onnx=True, source=os.path.abspath(file), which=None, name=model.about["name"])
    about.update(experiment=experiment.to_dict(), parameters_sha256=parameters)
    trained = trained_of(experiment.dataset, model.about, file)
    if model.about.get("pretrained"):
        about, trained = dict(about, pretrained=model.about["pretrained"]), None

    def embed(pictures):
        return directed(model.embed(pictures))

    learned = model.about.get("learned")
    last = model.whitening() if experiment.whiten else None
    return Model(embed, model.features, model.projections, experiment, model.input_size, about, trained, last, learned)


def find_best(runs, which="last"):
    """The folder of the best finished run in the folder `runs`, see `best_run`. Raises FileNotFoundError for none."""
    folder = best_run(runs, which)
    if folder is None:
        raise FileNotFoundError(
            f"{runs} holds no trained model: bash reproduce/table4.sh --mini trains two in one to five minutes"
        )
    return folder


def best_run(runs, which="last", letters=True):
    """The folder of the best finished run in the folder `runs`, None if there is none.

    That is the run with the highest Recall@1 of its `which` ("last" or "best") parameters. One on letters (glyphs) is
    taken only if there is no other, and without `letters` not at all.
    """
    candidates = []
    for file in sorted(Path(runs).glob("**/result.json")):
        with contextlib.suppress(ValueError, KeyError, OSError):  # another user's run, which we may not read
            result = read_result(file)
            if (file.parent / f"{which}.params").is_file():
                own = result["experiment"]["dataset"] not in WITHOUT_FILES
                if own or letters:
                    candidates.append((own, result[which]["R@1"], str(file.parent)))
    return max(candidates)[2] if candidates else None


def load_trained(folder, which=None, ctx=None):
    """(net, experiment) of a finished run: the CGD with its `which` parameters, "last" (default) or "best", on `ctx`.

    `folder` may also be a .params file that `zoo.save` wrote, which has one set of parameters and so takes no `which`.
    Raises FileNotFoundError for a folder without a finished run and ValueError for files that cannot be read.
    """
    from gluon_cgd.models import zoo  # it needs MXNet

    folder = Path(folder)
    if folder.suffix == ".params":
        if which:
            raise ValueError("--which is for a run's folder: a published model has one set of parameters")
        return zoo.load_published(folder, ctx)
    result, parameters = folder / "result.json", folder / f"{which or 'last'}.params"
    if not result.is_file() or not parameters.is_file():
        raise FileNotFoundError(
            f"{folder} holds no finished run (result.json and {parameters.name}): name the folder given to train --out"
        )
    values = read_result(result)
    experiment = Experiment.from_dict(values["experiment"])
    for damage in damaged(folder, values, names=(parameters.name,)):
        raise ValueError(damage)
    return zoo.trained(experiment, values["classes"], parameters, ctx), experiment
