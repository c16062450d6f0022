"""The trained model that a command line names: a run or a published file, an exported model, or a symbol."""

import argparse

from . import onnx_model, runtime
from .experiment import Experiment


def add_flags(parser, symbol=False):
    """--checkpoint and --model, and with `symbol` --symbol; and what belongs to them, but --ctx where it is there."""
    named = parser.add_mutually_exclusive_group(required=True)
    help_text = "a run's folder (train --out), or a published .params file"
    named.add_argument("--checkpoint", type=_file, metavar="PATH", help=help_text)
    named.add_argument("--model", type=_file, metavar="FILE", help="a model that export wrote; it needs no MXNet")
    if symbol:
        help_text = "PREFIX-symbol.json and PREFIX-0000.params, as the authors released"
        named.add_argument("--symbol", type=_file, metavar="PREFIX", help=help_text)
    runtimes = tuple(onnx_model.RUNTIMES)
    parser.add_argument("--runtime", choices=runtimes, help=f"what computes a --model (default {runtimes[0]})")
    parser.add_argument("--which", choices=("last", "best"), help="of the run's parameters (default last)")


def _file(text):
    if not text:
        raise argparse.ArgumentTypeError("an empty name")
    return text


def opened(options):
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
    from .evaluate import embed

    net, experiment, ctx = _of_symbol(options) if symbol else of_checkpoint(options)
    # A CPU gains nothing from more at a time, and a few pictures are filled up to as many
    return lambda pictures: embed(net, pictures, ctx, 32), experiment


def of_checkpoint(options):
    """(network, Experiment, devices) of the --checkpoint that `options` name."""
    from .checkpoint import load_trained

    which = chosen(options)
    ctx = runtime.contexts(options.ctx)
    return (*load_trained(options.checkpoint, which, ctx), ctx)


def chosen(options):
    """ "last" or "best", as `options` ask for. Raises ValueError for a checkpoint that has one set of parameters."""
    if options.which and (options.checkpoint or "").endswith(".params"):
        raise ValueError("--which is for a run's folder: a published model has one set of parameters")
    return options.which or "last"


def _of_symbol(options):
    from . import symbol

    if not options.dataset or options.which:
        raise ValueError("a symbol does not say what it was trained on: name a --dataset, and leave out --which")
    ctx = runtime.contexts(options.ctx)
    net = symbol.load(options.symbol, options.epoch, ctx)
    return net, Experiment(dataset=options.dataset, input_size=options.input_size or 224), ctx
