"""What 8 bits do to the recall of trained models: python -m benchmarks.precision RUN [RUN ...]

Each RUN is the folder of a finished run (runs/KEY/r1-seed0). Exports it, in float32 and in 8 bits calibrated on some
of its training pictures, and evaluates all on its test set.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import table
from gluon_cgd import datasets, export
from gluon_cgd.datasets.cache import cached
from gluon_cgd.evaluate import embed
from gluon_cgd.export import int8
from gluon_cgd.machine import process
from gluon_cgd.models import onnx_model
from gluon_cgd.models.opened import load_trained
from gluon_cgd.models.zoo import name_of
from gluon_cgd.recall import recall_at

KS = (1, 2, 4, 8)


def measured(run, data, folder):
    """{"name", "dataset", "recall": {what computes: {"R@1": %, ...}}} of the model in `run`."""
    import mxnet as mx

    net, experiment = load_trained(run)
    split = datasets.split_of(experiment, data, allow_partial=True)
    if split.gallery:
        raise ValueError(f"{run} is of a dataset with a gallery of its own: take one whose queries are searched in")
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
    recall = {name: recall_at(KS, found, labels) for name, found in embeddings.items()}
    percent = {name: {f"R@{k}": 100 * value for k, value in found.items()} for name, found in recall.items()}
    return {"name": name_of(experiment), "dataset": Path(experiment.dataset).name, "recall": percent}


def main(arguments=None):
    """Measure, print, and with --record keep; returns the exit status."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__.splitlines()[0])
    p.add_argument("runs", nargs="+", metavar="RUN")
    p.add_argument("--data", metavar="DIR", help="of the dataset, where it is not glyphs or a folder")
    p.add_argument("--record", action="store_true", help="keep the results in benchmarks/results, for docs/speed.md")
    options = p.parse_args(arguments)

    def command():
        models = []
        with tempfile.TemporaryDirectory() as folder:
            for run in options.runs:
                models.append(measured(run, options.data, Path(folder)))
                print(run, {name: found["R@1"] for name, found in models[-1]["recall"].items()}, file=sys.stderr)
        told = {**table.origin(), "models": models}
        print(table.precision(told))
        if options.record:
            table.record("precision", told)

    return process.exit_status(command) or 0


if __name__ == "__main__":
    sys.exit(main())
