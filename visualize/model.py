"""A trained model and the test set to show it on: what ranking.py and embedding.py have in common."""

from dataclasses import replace
from pathlib import Path

from gluon_cgd.files import figures
from gluon_cgd.machine import devices
from gluon_cgd.machine.facts import PROJECT
from visualize.similarity import CHECKPOINT


def add_options(p, out):
    """The options of both, on the parser `p`; `out` is the default name of the picture."""
    p.add_argument("--checkpoint", metavar="PATH", help=CHECKPOINT)
    p.add_argument("--which", choices=("last", "best"), help="of the run's parameters (default last)")
    p.add_argument("--runs", default=PROJECT / "runs", metavar="DIR", help="where to look for the best model")
    p.add_argument("--dataset", help="whose test part to show (default: the one that the model was trained on)")
    p.add_argument("--data", metavar="DIR", help="the dataset's folder, or one that holds it under its name")
    p.add_argument("--allow-partial", action="store_true", help="go on with an incomplete copy of the dataset")
    p.add_argument("--out", default=out, help=f"the picture: .png, .pdf or .svg (default {out})")
    p.add_argument("--ctx", help="cpu or gpu0, gpu1, ... (default: gpu0 where there is one)")


def load(options):
    """(net, experiment, split, ctx, name) that the options ask for; name says of what model and dataset.

    Raises ValueError for an --out that cannot be drawn, and as `load_trained` and `datasets.load` do.
    """
    from gluon_cgd import datasets
    from gluon_cgd.models.opened import find_best, load_trained, parameters_of
    from gluon_cgd.models.zoo import name_of

    figures.check("--out", options.out)
    which = parameters_of(options.checkpoint, options.which)
    ctx = devices.context(options.ctx)
    net, experiment = load_trained(options.checkpoint or find_best(options.runs, which), which, ctx)
    experiment = replace(experiment, dataset=options.dataset or experiment.dataset)
    split = datasets.split_of(experiment, options.data, options.allow_partial)
    return net, experiment, split, ctx, f"{name_of(experiment)} on {Path(experiment.dataset).name}"
