"""Flags that several commands and scripts share: the model, the data, a part of a picture; the main() of a script."""

import logging

from gluon_cgd.commands import effects
from gluon_cgd.commands.parser import Parser, name
from gluon_cgd.machine import process
from gluon_cgd.machine.facts import PROJECT
from gluon_cgd.models import onnx_model
from gluon_cgd.models.opened import PRETRAINED, best_run, find_best

log = logging.getLogger(__name__)
CHECKPOINT = "a run's folder (train --out), or a published .params file"
BEST_RUN = (
    "of the runs in --runs, one on real pictures is preferred to one on letters (glyphs); among them the one with the "
    f"highest R@1; without any run, --pretrained {PRETRAINED}"
)
OWN_RUN = f"the run on real pictures in the project's runs with the highest R@1; without one, --pretrained {PRETRAINED}"


def add_model(parser, exported=True, symbol=False, default="", checkpoint=CHECKPOINT, pretrained=True):
    """Add --checkpoint and --which, with `exported` --model and --runtime, with `symbol` --symbol and its two flags.

    pretrained: add --pretrained and its two flags.
    default: which model is taken if none is named, in words; without it one must be named.
    checkpoint: the help text of --checkpoint.
    """
    models = parser.add_mutually_exclusive_group(required=not default)
    if default:
        checkpoint = f"{checkpoint} (default: {default})"
    models.add_argument("--checkpoint", type=name, metavar="PATH", help=checkpoint)
    if exported:
        help_text = "an ONNX file that `export` wrote; MXNet is not needed"
        models.add_argument("--model", type=name, metavar="FILE", help=help_text)
        runtimes = tuple(onnx_model.RUNTIMES)
        help_text = f"the library that computes a --model (default {runtimes[0]})"
        parser.add_argument("--runtime", choices=runtimes, help=help_text)
    if symbol:
        help_text = "a model in the authors' format, the files PREFIX-symbol.json and PREFIX-NNNN.params"
        models.add_argument("--symbol", type=name, metavar="PREFIX", help=help_text)
        help_text = "the number NNNN of the --symbol's parameters, if there are several files"
        parser.add_argument("--epoch", type=int, metavar="N", help=help_text)
    if pretrained:
        help_text = (
            "a backbone as it was pretrained, without any training of yours: efficientnet_lite0 or gluoncv2:NAME, say"
        )
        models.add_argument("--pretrained", type=name, metavar="BACKBONE", help=help_text)
        help_text = "the file of its parameters (default: one that is here, or is downloaded)"
        parser.add_argument("--weights", type=name, metavar="FILE", help=help_text)
    if symbol or pretrained:
        kinds = " or ".join(["--symbol"] * symbol + ["--pretrained backbone"] * pretrained)
        help_text = f"the side in pixels of the pictures that the {kinds} takes (default 224)"
        parser.add_argument("--input-size", type=int, metavar="N", help=help_text)
    help_text = "which parameters of the run: those at its end, or those with the highest Recall@1 (default last)"
    parser.add_argument("--which", choices=("last", "best"), help=help_text)


def add_best_model(parser, exported=False):
    """Add the flags of a model and --runs, a folder whose best run is the default; with `exported` --model too."""
    add_model(parser, exported, default=BEST_RUN)
    help_text = "the folder in which to look for the best run (default: runs, of the project)"
    parser.add_argument("--runs", type=name, default=PROJECT / "runs", metavar="DIR", help=help_text)


def model_of(options):
    """The model that `options` name, as the arguments of `models.opened.open_model`."""
    flags = ("checkpoint", "symbol", "pretrained", "weights", "which", "ctx", "runtime", "epoch", "input_size")
    arguments = {flag: getattr(options, flag) for flag in flags if hasattr(options, flag)}
    return dict(arguments, exported=getattr(options, "model", None))


def best_model_of(options):
    """As `model_of`, on one device, with the best run in --runs, or else PRETRAINED, if no model is named."""
    if not getattr(options, "model", None):
        from gluon_cgd.machine import devices  # it needs MXNet

        devices.context(options.ctx)  # refuses several
    if not is_named(options):
        find = find_best if "runs" in options.given else best_run  # who names a folder believes that it holds one
        options.checkpoint = find(options.runs, options.which or "last")
        take_pretrained(options)
    return model_of(options)


def is_named(options):
    """Whether `options` name a model."""
    return any(getattr(options, kind, None) for kind in ("checkpoint", "model", "symbol", "pretrained"))


def choose_model(options):
    """Name the best run on real pictures in `options`, or else PRETRAINED, if they name no model, and log which."""
    if is_named(options):
        return
    options.checkpoint = best_run(PROJECT / "runs", options.which or "last", letters=False)
    if options.checkpoint:
        log.info(
            "no model is named: taking the best run, %s; --checkpoint, --pretrained, --model take another",
            options.checkpoint,
        )
    take_pretrained(options)


def take_pretrained(options):
    """Name PRETRAINED in `options`, and log that, if they name no model."""
    if not is_named(options):
        options.pretrained = PRETRAINED
        log.info(
            "no model is named and none is trained: taking %s, pretrained on ImageNet; --pretrained, --checkpoint or "
            "--model take another",
            PRETRAINED,
        )


def tested_on(options, model):
    """The dataset to test `model` on: --dataset, or the one it was trained on.

    Raises ValueError if a pretrained backbone has no --dataset: it was trained on none of those here.
    """
    if not options.dataset and model.about.get("pretrained"):
        raise ValueError(f"{model.about['name']} was trained on no dataset of this project: name one with --dataset")
    return options.dataset or model.experiment.dataset


def add_data(parser):
    """Add --data and --allow-partial."""
    help_text = "the dataset's folder, or the folder that holds it under its name"
    parser.add_argument("--data", type=name, metavar="DIR", help=help_text)
    add_allow_partial(parser)


def add_allow_partial(parser):
    """Add --allow-partial."""
    help_text = "accept an incomplete copy of the dataset, with a warning"
    parser.add_argument("--allow-partial", action="store_true", help=help_text)


def add_ctx(parser, several=True, exported=False):
    """Add --ctx, for one device or for `several`; with `exported` it takes those of an exported --model too."""
    more = ", or several that share each batch: gpu0,gpu1" if several else ""
    of_model = "; for a --model cpu or cuda0, cuda1, ... (default cpu)" if exported else ""
    help_text = f"the device: cpu, gpu0, gpu1, ...{more} (default: gpu0 if there is one, else cpu){of_model}"
    parser.add_argument("--ctx", type=name, help=help_text)


def parse_pixels(flag, text, form):
    """(10, 20) for "10,20", the value of `flag`. Raises ValueError unless it has the `form`, here "X,Y"."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != len(form.split(",")):
        raise ValueError(f"{flag} {text!r} must be {form}: whole numbers, in pixels of the query")
    return numbers


def main_of(description, add_flags, run, program=None, rules=()):
    """The function main(arguments=None) of a script, which calls `run` with the options and returns the exit status.

    description: the first line of it is shown by --help.  add_flags: a function that adds the flags to a parser.
    program: how the script is started (default: by its file).  rules: of `effects`, for its flags.
    """

    def main(arguments=None):
        parser = Parser(program, description=description.splitlines()[0])
        add_flags(parser)
        options = parser.parse_args(arguments)

        def command():
            effects.check(options, rules)
            return run(options)

        with process.shown(parser.prog, "gluon_cgd"):
            return process.exit_status(command) or 0

    return main
