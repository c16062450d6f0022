"""How long the parts of a run take that are no network's: counting the ranks of an evaluation, writing its files."""

import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Mapping

import numpy as np

from gluon_cgd import recall
from gluon_cgd.datasets.records import PathLike
from gluon_cgd.experiment import Experiment
from gluon_cgd.runs import checkpoint
from gluon_cgd.runs.parameters import write_parameters

ITEMS = (2048, 4096)  # numbers of random embeddings, of which each is a query
OF_A_CLASS = 8


def of_an_evaluation(
    experiment: Experiment,
    values: Mapping[str, np.ndarray],
    folder: PathLike,
    ranks: Callable[..., np.ndarray] = recall.ranks,
) -> Dict[str, float]:
    """Seconds for the parts of an evaluation, and to write its files.

    "query": for a query and "pair": for a pair of a query and an item, when the embedding is ranked; "best": to write
    the parameters; "checkpoint": to write that.
    values: parameters of the network.  folder: where runs are written, or one on the same disk.  ranks: of the engine.
    """
    few, many = (min(timed(ranks, *searched(count, experiment.dim)) for _ in range(3)) / count for count in ITEMS)
    pair = max(0.0, (many - few) / (ITEMS[1] - ITEMS[0]))
    query = max(0.0, few - pair * ITEMS[0])
    with tempfile.TemporaryDirectory(dir=str(folder)) as place:
        best = timed(write_parameters, values, Path(place) / checkpoint.BEST)
        kinds = ("parameter", "adam_mean", "adam_variance")
        state = {f"{kind}:{name}": value for kind in kinds for name, value in values.items()}
        written = timed(checkpoint.save_checkpoint, Path(place) / "checkpoint.npz", state, {})
    return {"query": query, "pair": pair, "best": best, "checkpoint": written}


def searched(count: int, dim: int) -> recall.Embeddings:
    """`count` random embeddings of `dim` numbers."""
    vectors = np.random.default_rng(0).standard_normal((count, dim), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return recall.Embeddings(vectors, (np.arange(count) // OF_A_CLASS).tolist())


def timed(call: Callable[..., Any], *arguments: Any) -> float:
    """How many seconds `call(*arguments)` takes."""
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def of_checkpoints(steps: float, each: float, iterations: int) -> float:
    """Seconds that a run spends on checkpoints between its evaluations, as `checkpoint.Due` spaces them.

    steps: seconds of all its steps.  each: seconds to write one.  iterations: of the run.
    """
    due = checkpoint.Due
    regular = min(due.iterations * steps / iterations, due.longest)
    return steps * each / max(regular, due.spare * each) if each else 0.0
