"""The trained model and the test set that ranking.py and embedding.py draw."""

from dataclasses import replace
from pathlib import Path

from gluon_cgd.commands import effects
from gluon_cgd.commands.options import add_best_model, add_ctx, add_data, best_model_of, name, tested_on
from gluon_cgd.files import figures


def add_flags(p, out):
    """Add the flags of both scripts to the parser `p`; out: the default name of the picture."""
    add_best_model(p)
    help_text = "draw the test part of this dataset (default: the one the model was trained on)"
    p.add_argument("--dataset", type=name, help=help_text)
    add_data(p)
    p.add_argument("--out", type=name, default=out, help=f"the picture: .png, .pdf or .svg (default {out})")
    add_ctx(p, several=False)


def open_test_set(options):
    """(Model, Split, title) of the model and the dataset in `options`; the title names both.

    Raises ValueError for an --out that cannot be drawn, and whatever `open_model` and `load_tested` raise.
    """
    from gluon_cgd.datasets.tested_part import load_tested
    from gluon_cgd.models.opened import open_model

    figures.check("--out", options.out)
    model = open_model(**best_model_of(options), batch_size=128)
    experiment = replace(model.experiment, dataset=tested_on(options, model))
    effects.check(options, effects.BEST_RUN)
    effects.check_data(options, experiment.dataset)
    split, _ = load_tested(experiment, model.trained, options.data, options.allow_partial)
    return model, split, f"{model.about['name']} on {Path(experiment.dataset).name or experiment.dataset}"
