"""`python -m gluon_cgd evaluate` and `publish`: a trained model's recall, and the model as one file to give away."""

import json
import sys
from dataclasses import replace
from pathlib import Path

from gluon_cgd import datasets
from gluon_cgd.commands import effects
from gluon_cgd.commands.options import add_ctx, add_data, add_model, model_of, name, tested_on
from gluon_cgd.commands.output import say
from gluon_cgd.datasets.cache import cached
from gluon_cgd.datasets.records import is_searched_in_training
from gluon_cgd.datasets.tested_part import load_tested
from gluon_cgd.datasets.training_part import carried
from gluon_cgd.evaluate import searches
from gluon_cgd.files.grid import as_text
from gluon_cgd.models.opened import load_trained, open_model
from gluon_cgd.recall import recall_of
from gluon_cgd.retrieval.precision import estimates, per_query
from gluon_cgd.runs.results import read_result


def add_evaluate(p):
    """The flags of `evaluate`."""
    p.description = (
        "Prints Recall@K, mAP@R, R-precision and P@K of a trained model on the test pictures of a dataset, in %."
    )
    add_model(p, symbol=True)
    add_data(p)
    add_ctx(p, exported=True)
    help_text = "the dataset to evaluate on (default: the one it was trained on)"
    p.add_argument("--dataset", type=name, metavar="NAME", help=help_text)
    p.add_argument("--json", action="store_true", help="print JSON")
    p.set_defaults(run=evaluate)


def add_publish(p):
    """The flags of `publish`."""
    p.description = (
        "Writes the model of a run as one file, NAME-HASH.params, with a .json that describes it, and prints the path. "
        "The other commands, also other people's, take that file as --checkpoint."
    )
    add_model(p, exported=False, checkpoint="a run's folder (train --out)", pretrained=False)
    p.add_argument("--out", required=True, type=name, metavar="DIR", help="the folder that receives the two files")
    p.set_defaults(run=publish)


def evaluate(options):
    """Print the recall of a trained model on a dataset's test pictures."""
    model = open_model(**model_of(options), dataset=options.dataset)
    dataset = tested_on(options, model)
    effects.check_data(options, dataset)
    experiment = replace(model.experiment, dataset=dataset)
    split, warnings = load_tested(experiment, model.trained, options.data, options.allow_partial)

    def pictures_of(records):
        return cached(records, model.input_size, progress=sys.stderr.isatty())

    found = searches(model.embed, split, pictures_of)
    recalls = [(where, recall_of(datasets.recall_ks(dataset), embeddings)) for where, embeddings in found]
    precisions = [(where, estimates(per_query(datasets.recall_ks(dataset), embeddings))) for where, embeddings in found]
    if options.json:
        kinds = ("symbol", "model", "checkpoint", "pretrained")
        source = {kind: getattr(options, kind) for kind in kinds if getattr(options, kind)}
        if options.checkpoint and not options.checkpoint.endswith(".params"):
            source["which"] = options.which or "last"
        values = {"dataset": dataset, **source, "recall": recalls[0][1], "precision": as_values(precisions[0][1])}
        if warnings or len(recalls) > 1:
            values.update(test_pictures=len(split.query), warnings=warnings)
        if len(recalls) > 1:
            whole = {"recall": recalls[1][1], "precision": as_values(precisions[1][1])}
            values["in_collection"] = {"pictures": len(found[1][1].gallery), **whole}
        print(json.dumps(values))
        return
    if len(recalls) > 1 or is_searched_in_training(split):
        say("\n".join(f"{percent(recall)}  {where}" for where, recall in recalls))
    else:
        say(percent(recalls[0][1]))
    say("\n".join(precision_lines(precisions)))


def publish(options):
    """Write a run's model with its description and print the path."""
    from gluon_cgd.models import zoo  # it needs MXNet

    if options.checkpoint.endswith(".params"):
        raise ValueError(f"{options.checkpoint} is published already: give it away with the .json beside it")
    net, experiment = load_trained(options.checkpoint, options.which)
    result = read_result(Path(options.checkpoint) / "result.json")
    which = options.which or "last"
    about = {"which": which, "recall": result[which], "data": result.get("data"), **carried(result)}
    say(zoo.save(net, experiment, options.out, **about, seed=result["seed"], versions=result.get("versions")))


def as_values(precision):
    """{"mAP@R": Estimate, ...} for JSON: {"mAP@R": {"value": fraction, "low": ..., "high": ...}, ...}."""
    return {name: estimate and estimate._asdict() for name, estimate in precision.items()}


def precision_lines(precisions):
    """A table of [(where the test pictures are searched, {"mAP@R": Estimate, ...}), ...], in lines."""
    head = ["with 95 % intervals", *(where for where, _ in precisions)]
    rows = [[name, *("-" for _ in precisions)] for name in precisions[0][1]]
    for column, (_, precision) in enumerate(precisions, 1):
        for row, estimate in zip(rows, precision.values()):
            if estimate:
                row[column] = "{:.2f} ({:.2f} to {:.2f})".format(*(100 * number for number in estimate))
    return as_text([head, *rows])


def percent(recall):
    """ "R@1 45.83  R@2 57.91" for {"R@1": 0.4583, "R@2": 0.5791}."""
    return "  ".join(f"{name} {100 * value:.2f}" for name, value in recall.items())
