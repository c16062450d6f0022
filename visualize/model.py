"""The trained model and the test set that ranking.py and embedding.py draw."""

from dataclasses import replace
from pathlib import Path

from gluon_cgd.commands.options import add_best_model, add_ctx, add_data
from gluon_cgd.files import figures
from gluon_cgd.machine import devices


def add_flags(p, out):
    """Add the flags of both scripts to the parser `p`; out: the default name of the picture."""
    add_best_model(p)
    p.add_argument("--dataset", help="draw the test part of this dataset (default: the one the model was trained on)")
    add_data(p)
    p.add_argument("--out", default=out, help=f"the picture: .png, .pdf or .svg (default {out})")
    add_ctx(p, several=False)


def open_test_set(options):
    """(net, experiment, split, ctx, title) of the model and the dataset in `options`; the title names both.

    Raises ValueError for an --out that cannot be drawn, and whatever `load_trained` and `datasets.load` raise.
    """
    from gluon_cgd import datasets
    from gluon_cgd.models.opened import find_best, load_trained
    from gluon_cgd.models.zoo import name_of

    figures.check("--out", options.out)
    ctx = devices.context(options.ctx)
    checkpoint = options.checkpoint or find_best(options.runs, options.which or "last")
    net, experiment = load_trained(checkpoint, options.which, ctx)
    experiment = replace(experiment, dataset=options.dataset or experiment.dataset)
    split = datasets.split_of(experiment, options.data, options.allow_partial)
    return net, experiment, split, ctx, f"{name_of(experiment)} on {Path(experiment.dataset).name}"
