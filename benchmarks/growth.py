"""How time and memory grow when the work doubles, and the memory of a training step: python -m benchmarks.growth

Each size runs in its own process. Memory is the peak, less what the process had before the work began.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import inputs, table
from gluon_cgd.commands.options import main_of
from gluon_cgd.experiment import Experiment

HERE = Path(__file__).resolve().parent
SMALL = Experiment(backbone="squeezenet1.1", pretrained=False, input_size=96, dim=512)
PAPER = Experiment(pretrained=False)


def recall(folder, n, dim):
    """Recall@1 of n embeddings of `dim` numbers."""
    from gluon_cgd.recall import recall_at

    vectors = np.random.default_rng(0).standard_normal((n, dim), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return lambda: recall_at((1,), vectors, np.arange(n) // 5)


def repeated(folder, n):
    """n paths of pictures; files are repeated if there are fewer."""
    files = sorted(str(path) for path in (folder / "pictures").iterdir())
    return [files[i % len(files)] for i in range(n)]


def embedding(folder, n, dim):
    """n JPEG files to embeddings of `dim` numbers, by SqueezeNet at 96 x 96."""
    import mxnet as mx

    from gluon_cgd import evaluate, model
    from gluon_cgd.retrieval import embed

    experiment = replace(SMALL, dim=dim)
    net = model.from_experiment(experiment, 98)
    net.hybridize(static_alloc=True, static_shape=True)

    def function(pictures):
        return evaluate.embed(net, pictures, mx.cpu())

    embed.embed_files(
        function, repeated(folder, embed.BATCH), experiment.input_size
    )  # memory and time that every N needs
    return lambda: embed.embed_files(function, repeated(folder, n), experiment.input_size)


def caching(folder, n, side):
    """n pictures decoded into a cache of side x side."""
    from gluon_cgd.datasets.cache import cached
    from gluon_cgd.datasets.records import Record

    records = [Record(path, 0) for path in repeated(folder, n)]
    where = tempfile.mkdtemp(dir=folder)
    return lambda: cached(records, side, where)


def training(folder, batch, dim):
    """A step on `batch` pictures with `dim` dimensions, ResNet-50 at 96 x 96."""
    import mxnet as mx

    from reproduce import efficiency

    return efficiency.prepared("train", replace(SMALL, backbone="resnet50", dim=dim), batch, mx.cpu())[0]


def memory(folder, batch, parts):
    """A step of the paper's experiment, ResNet-50 at 224 x 224, in `parts`."""
    import mxnet as mx

    from reproduce import efficiency

    return efficiency.prepared("train", PAPER, batch, mx.cpu(), parts)[0]


WORK = {"recall": recall, "embedding": embedding, "caching": caching, "training": training, "memory": memory}
GROWTH = (  # description, key of WORK, what doubles, its sizes, the other number
    ("recall, N embeddings of 256", "recall", "N", (4000, 8000, 16000, 32000), 256),
    ("recall, 8,000 embeddings of D", "recall", "D", (128, 256, 512, 1024), 8000),
    ("embedding N JPEG files", "embedding", "N", (256, 512, 1024, 2048), 512),
    ("preparing N JPEG files at 252", "caching", "N", (192, 384, 768, 1536), 252),
    ("a training step, batch B", "training", "B", (8, 16, 32, 64), 1536),
    ("a training step of 16, D dimensions", "training", "D", (192, 384, 768, 1536), 16),
)
MEMORY = (  # batch, how it is processed, in how many parts
    (16, "whole", 1),
    (32, "whole", 1),
    (32, "mirrored", 1),
    (64, "whole", 1),
    (128, "whole", 1),
    (128, "in 4 parts", 4),
)


def child(task, first, second, folder):
    """Do the work `task` and print {"seconds", "bytes"}."""
    call = WORK[task](Path(folder), first, second)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak, VmHWM
    for _ in range(2 if task in ("training", "memory") else 1):  # the first step also allocates and compiles
        start = time.perf_counter()
        call()
        seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "bytes": status("VmHWM") - before}))


def status(name):
    """The value `name` of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(name)))


def measure(task, first, second, folder, **environment):
    """What `child` prints, {"seconds", "bytes"}, in a new process with the variables `environment`."""
    command = [sys.executable, "-m", "benchmarks.growth", "--child", task, str(first), str(second), str(folder)]
    known = {**os.environ, "PYTHONPATH": str(HERE.parent), **environment}
    done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", env=known, cwd=HERE.parent, check=False)
    if done.returncode:
        raise RuntimeError(f"{task} {first} ended with status {done.returncode}: see its output above")
    return json.loads(done.stdout.splitlines()[-1])


def exponent(sizes, values):
    """The slope of log(values) over log(sizes), by least squares: 1 means proportional, 2 means quadratic."""
    return float(np.polyfit([math.log(size) for size in sizes], [math.log(max(v, 1e-9)) for v in values], 1)[0])


def add_flags(p):
    """The flags of this script."""
    p.add_argument("--record", action="store_true", help="keep the results in benchmarks/results, for docs/speed.md")
    p.add_argument("--child", nargs=4, help=argparse.SUPPRESS)


def run(options):
    """Measure and print, with --record also keep the results."""
    if options.child:
        task, first, second, folder = options.child
        child(task, int(first), int(second), folder)
        return
    results = {**table.origin(), "growth": [], "memory": []}
    with tempfile.TemporaryDirectory() as folder:
        inputs.make(("pictures",), Path(folder), None)
        for words, task, letter, sizes, other in GROWTH:
            pairs = [(other, size) if letter == "D" else (size, other) for size in sizes]
            runs = [measure(task, *pair, folder) for pair in pairs]
            row = {"work": words, "letter": letter, "sizes": sizes, "seconds": [run["seconds"] for run in runs]}
            row.update(bytes=[run["bytes"] for run in runs], exponent=exponent(sizes, row["seconds"]))
            results["growth"].append(row)
            print(words, row["exponent"], file=sys.stderr, flush=True)
        for batch, how, parts in MEMORY:
            mirror = {"MXNET_BACKWARD_DO_MIRROR": "1"} if how == "mirrored" else {}
            step = measure("memory", batch, parts, folder, **mirror)
            results["memory"].append({"batch": batch, "how": how, **step})
            print(batch, how, step, file=sys.stderr, flush=True)
    print(f"{table.growth(results)}\n\n{table.memory(results)}")
    if options.record:
        table.record("growth", results)


main = main_of(__doc__, add_flags, run, "python -m benchmarks.growth")


if __name__ == "__main__":
    sys.exit(main())
