"""Flags that several commands share: the model, the data, the devices."""

import argparse

from gluon_cgd.experiment import Experiment
from gluon_cgd.models import onnx_model, opened

CTX = "cpu, gpu0, ..., or several that share each batch: gpu0,gpu1 (default: gpu0 where there is one)"


def name(text):
    """A name given on the command line, which must not be empty."""
    if not text:
        raise argparse.ArgumentTypeError("an empty name")
    return text


def add_model(parser, symbol=False, required=True):
    """--checkpoint and --model, with `symbol` --symbol too; --runtime and --which, which belong to them."""
    models = parser.add_mutually_exclusive_group(required=required)
    default = "" if required else " (default: the index's)"
    help_text = f"a run's folder (train --out), or a published .params file{default}"
    models.add_argument("--checkpoint", type=name, metavar="PATH", help=help_text)
    models.add_argument("--model", type=name, metavar="FILE", help="a model that export wrote; it needs no MXNet")
    if symbol:
        help_text = "PREFIX-symbol.json and PREFIX-0000.params, as the authors released"
        models.add_argument("--symbol", type=name, metavar="PREFIX", help=help_text)
    runtimes = tuple(onnx_model.RUNTIMES)
    parser.add_argument("--runtime", choices=runtimes, help=f"what computes a --model (default {runtimes[0]})")
    parser.add_argument("--which", choices=("last", "best"), help="of the run's parameters (default last)")


def add_data(parser):
    """--data and --allow-partial."""
    help_text = "the dataset's folder, or one that holds it under its name"
    parser.add_argument("--data", type=name, metavar="DIR", help=help_text)
    help_text = "go on with an incomplete copy of the dataset"
    parser.add_argument("--allow-partial", action="store_true", help=help_text)


def add_ctx(parser):
    """--ctx."""
    parser.add_argument("--ctx", help=CTX)


def open_model(options):
    """(function of pictures, Experiment) of the model that `options` name.

    The function takes uint8 (N, input_size, input_size, 3) and returns embeddings (N, D). Raises ValueError for options
    that do not go with the model, and as the three loaders do.
    """
    symbol = getattr(options, "symbol", None)
    if symbol is None and (getattr(options, "epoch", None) is not None or getattr(options, "input_size", None)):
        raise ValueError("--epoch and --input-size are for a --symbol: leave them out")
    if options.runtime and not options.model:
        raise ValueError("--runtime is for a --model: leave it out")
    if options.model:
        if options.ctx or options.which:
            raise ValueError("--ctx and --which are for a --checkpoint: leave them out with --model")
        model = onnx_model.load(options.model, options.runtime or "onnxruntime")
        return model.embed, Experiment.from_dict(model.experiment)
    from gluon_cgd.evaluate import embed
    from gluon_cgd.machine import devices  # it needs MXNet

    if symbol:
        if not options.dataset or options.which:
            raise ValueError("a symbol does not say what it was trained on: name a --dataset, and leave out --which")
        from gluon_cgd.models.symbol import load

        ctx = devices.contexts(options.ctx)
        net = load(symbol, options.epoch, ctx)
        experiment = Experiment(dataset=options.dataset, input_size=options.input_size or 224)
    else:
        which, ctx = opened.parameters_of(options.checkpoint, options.which), devices.contexts(options.ctx)
        net, experiment = opened.load_trained(options.checkpoint, which, ctx)
    # A CPU gains nothing from more at a time, and a few pictures are filled up to as many
    return lambda pictures: embed(net, pictures, ctx, 32), experiment
