"""How 8 bits change the recall of trained models: python -m benchmarks.precision RUN [RUN ...]

Each RUN is the folder of a finished run (runs/KEY/r3-seed0). The model is exported in float32 and in 8 bits, calibrated
on some of its training pictures, and every form is evaluated on the test set.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import table
from gluon_cgd import datasets, export
from gluon_cgd.commands.options import main_of
from gluon_cgd.datasets.cache import cached
from gluon_cgd.evaluate import embed
from gluon_cgd.export import int8
from gluon_cgd.models import onnx_model
from gluon_cgd.models.opened import load_trained
from gluon_cgd.models.zoo import name_of
from gluon_cgd.recall import recall_at

KS = (1, 2, 4, 8)


def measured(run, data, folder):
    """{"name", "dataset", "recall": {runtime and number format: {"R@1": recall in %, ...}}} of the model in `run`."""
    import mxnet as mx

    net, experiment = load_trained(run)
    split = datasets.split_of(experiment, data, allow_partial=True)
    if split.gallery:
        raise ValueError(
            f"{run} is on a dataset with a separate gallery: choose one whose queries are their own gallery"
        )
    train, query = (cached(part, experiment.input_size) for part in split[:2])
    labels = [record.label for record in split.query]
    whole, small = folder / "float32.onnx", folder / "int8.onnx"
    export.export(net, experiment, whole)
    drawn = np.random.default_rng(0).permutation(len(train))[: int8.PICTURES]
    int8.quantise(whole, small, np.asarray(train)[np.sort(drawn)])
    embeddings = {"MXNet": embed(net, query, mx.cpu())}
    for file, words in ((whole, "float32"), (small, "8 bits")):
        for name in onnx_model.RUNTIMES:
            embeddings[f"{name}, {words}"] = onnx_model.load_exported(file, name).embed(np.asarray(query))
    percent = {
        name: {f"R@{k}": 100 * value for k, value in recall_at(KS, vectors, labels).items()}
        for name, vectors in embeddings.items()
    }
    return {"name": name_of(experiment), "dataset": Path(experiment.dataset).name, "recall": percent}


def add_flags(p):
    """The flags of this script."""
    p.add_argument("runs", nargs="+", metavar="RUN")
    p.add_argument("--data", metavar="DIR", help="the folder of the dataset, unless it is glyphs or a folder itself")
    p.add_argument("--record", action="store_true", help="keep the results in benchmarks/results, for docs/speed.md")


def run(options):
    """Measure and print, with --record also keep the results."""
    models = []
    with tempfile.TemporaryDirectory() as folder:
        for run in options.runs:
            models.append(measured(run, options.data, Path(folder)))
            print(run, {name: recall["R@1"] for name, recall in models[-1]["recall"].items()}, file=sys.stderr)
    results = {**table.origin(), "models": models}
    print(table.precision(results))
    if options.record:
        table.record("precision", results)


main = main_of(__doc__, add_flags, run, "python -m benchmarks.precision")


if __name__ == "__main__":
    sys.exit(main())
