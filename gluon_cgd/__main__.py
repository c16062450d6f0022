"""`python -m gluon_cgd train` and `evaluate`. Exit status: 0 done, 2 refused, with one sentence on stderr."""

import argparse
import json
import logging
import sys
from dataclasses import fields

from . import datasets, images, runtime
from .experiment import Experiment


def parser():
    """The command line; `train` has a flag for every field of Experiment."""
    p = argparse.ArgumentParser(prog="python -m gluon_cgd", description=__doc__.splitlines()[0])
    commands = p.add_subparsers(dest="command", required=True)
    t = commands.add_parser("train", help="train one experiment", description="Every default is the paper's.")
    t.add_argument("--out", required=True, metavar="DIR", help="the run's folder: log, checkpoint, parameters, result")
    t.add_argument("--weights", metavar="FILE", help="the backbone's ImageNet parameters, if not from GluonCV")
    t.add_argument("--seed", type=int, default=0, help="of initialisation, batches and augmentation (default 0)")
    t.add_argument("--checkpoint-every", type=int, default=100, metavar="N", help="iterations (default 100)")
    add_experiment(t.add_argument_group("the experiment (each switch has its --no-)"))
    e = commands.add_parser("evaluate", help="recall of a trained model")
    e.add_argument("--checkpoint", required=True, metavar="DIR", help="a run's folder, as given to train --out")
    e.add_argument("--which", choices=("last", "best"), default="last", help="of the run's parameters (default last)")
    e.add_argument("--dataset", help="evaluate on another dataset than it was trained on")
    e.add_argument("--json", action="store_true", help="print JSON")
    for command in (t, e):
        command.add_argument("--data", metavar="DIR", help="folder of the dataset (glyphs needs none)")
        command.add_argument(
            "--allow-partial", action="store_true", help="go on with an incomplete copy of the dataset"
        )
        command.add_argument("--ctx", help="cpu or gpu0, gpu1, ... (default: gpu0 where there is one)")
    return p


def add_experiment(group):
    """Flags that mirror Experiment's fields."""
    for field in fields(Experiment):
        flag, default, meaning = "--" + field.name.replace("_", "-"), field.default, field.metadata["meaning"]
        if isinstance(default, bool) or default is None:
            group.add_argument(
                flag, dest=field.name, action="store_true", default=default, help=f"{meaning} ({default})"
            )
            group.add_argument(f"--no-{flag[2:]}", dest=field.name, action="store_false", help=argparse.SUPPRESS)
        elif isinstance(default, tuple):
            shown = " ".join(f"{value:.3g}" for value in default)
            group.add_argument(flag, type=float, nargs="*", default=default, metavar="F", help=f"{meaning} ({shown})")
        else:
            shown = f"{default:.6g}" if isinstance(default, float) else default
            group.add_argument(flag, type=type(default), default=default, metavar="X", help=f"{meaning} ({shown})")


def train(options):
    """Train, and print the untrained, the last and the best recall."""
    from .train import fit

    experiment = Experiment(**{field.name: getattr(options, field.name) for field in fields(Experiment)})
    if options.weights and not experiment.pretrained:
        raise ValueError("--weights and --no-pretrained contradict each other: leave one out")
    if options.checkpoint_every < 1:
        raise ValueError(f"--checkpoint-every {options.checkpoint_every} must be at least 1")
    ctx = runtime.context(options.ctx)
    split = datasets.load(experiment.dataset, options.data, options.allow_partial)
    where = dict(seed=options.seed, ctx=ctx, weights=options.weights, checkpoint_every=options.checkpoint_every)
    result = fit(experiment, split, options.out, **where, progress=sys.stderr.isatty())
    for which in ("untrained", "last", "best"):
        print(f"{which:9}  {percent(result[which])}")
    print(f"parameters {result['parameters_sha256']}")


def evaluate(options):
    """Print the recall of a trained model on a dataset's test set."""
    from .checkpoint import load_trained
    from .evaluate import recall_of

    ctx = runtime.context(options.ctx)
    net, experiment = load_trained(options.checkpoint, options.which, ctx)
    dataset = options.dataset or experiment.dataset
    split = datasets.load(dataset, options.data, options.allow_partial)
    query, gallery = (
        records and images.cached(records, experiment.input_size, progress=sys.stderr.isatty()) for records in split[1:]
    )
    recall = recall_of(net, split, query, gallery, datasets.recall_ks(dataset), ctx)
    if options.json:
        told = {"dataset": dataset, "checkpoint": options.checkpoint, "which": options.which, "recall": recall}
        print(json.dumps(told))
    else:
        print(percent(recall))


def percent(recall):
    """ "R@1 45.83  R@2 57.91" for {"R@1": 0.4583, "R@2": 0.5791}."""
    return "  ".join(f"{name} {100 * value:.2f}" for name, value in recall.items())


def main(arguments=None):
    """Run the command line; returns the exit status."""
    options = parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("gluon_cgd").setLevel(logging.INFO)
    try:
        {"train": train, "evaluate": evaluate}[options.command](options)
        return 0
    except (ValueError, OSError, ImportError) as error:
        print(f"{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
