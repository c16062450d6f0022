"""How long `python -m gluon_cgd search` takes from its start to its answer, with an exported ResNet-50 and many rows.

The model has random parameters, and an embedding few numbers: what is measured is Python, the imports, the model, one
picture and the opening of the index. The exact search over N rows is in it too; of many numbers it takes longer.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.inputs import photograph
from benchmarks.rows import STEP, paths_of
from benchmarks.scale import vectors_of
from gluon_cgd.experiment import Experiment
from gluon_cgd.retrieval import collection

TIMES = 5


def make_model(file, dim):
    """Write an exported ResNet-50 of embeddings of `dim` numbers, with random parameters."""
    import mxnet as mx

    from gluon_cgd import export, model

    mx.random.seed(0)
    experiment = Experiment(pretrained=False, dim=dim)
    export.export(model.from_experiment(experiment, 98), experiment, file)


def command(*arguments):
    """(seconds, seconds of the processor) of `python -m gluon_cgd` with `arguments`, which must succeed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "gluon_cgd", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(arguments=None):
    """Print the times of the commands."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--rows", type=int, default=10_000_000, metavar="N", help="how many (default 10,000,000)")
    p.add_argument("--dim", type=int, default=16, metavar="D", help="numbers in an embedding (default 16)")
    options = p.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="start"))
    try:
        (folder / "pictures").mkdir()
        for number in range(3):
            picture = photograph(np.random.default_rng(number))
            cv2.imwrite(str(folder / "pictures" / f"{number}.jpg"), picture)
        make_model(folder / "model.onnx", options.dim)
        command("index", "--images", folder / "pictures", "--model", folder / "model.onnx", "--out", folder / "idx")
        query, vectors = ("search", folder / "idx", folder / "pictures" / "0.jpg"), vectors_of(STEP, options.dim)
        for rows in (3, options.rows):
            with collection.writing(folder / "idx", options.dim, {}) as writer:
                for start in range(writer.manifest["rows"], rows, STEP):
                    numbers = range(start, min(start + STEP, rows))
                    writer.append(vectors[: len(numbers)], paths_of(numbers), [7] * len(numbers), numbers)
                writer.publish()
            times = sorted(command(*query) for _ in range(TIMES))
            words = f"{times[TIMES // 2][0]:.2f} s, the fastest of {TIMES} {times[0][0]:.2f} s"
            print(
                f"search in {rows:,} rows: median {words} ({min(used for _, used in times):.2f} s of a core)",
                flush=True,
            )
        size = os.path.getsize(folder / "model.onnx") / 1e6
        print(f"the model: a ResNet-50 of {size:.0f} MB, embeddings of {options.dim} numbers")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
