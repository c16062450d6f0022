"""The rank of the nearest item of its own class for every test query of a run: what its recalls were counted from.

ranks.npz lies beside result.json. NumPy's `load` reads it. Its arrays have one value a test query, in the order of the
list of test pictures (In-shop: of queries, which are searched in the gallery):
- `untrained`, `last`, `best`: of the combined embedding at the evaluation before training, the last and the best one;
- `last/SPoC`, ...: of each branch, where the network concatenates its branches;
- `classes`: no ranks, but the class of each query, counted from 0: tests over queries take classes as clusters.
There is no `best` where the best evaluation is the last one: then `last` serves for both.
A rank is 1 + the number of items of other classes that are as near as the nearest item of the query's class, or nearer;
1 is the best. So the share of ranks that are at most K is exactly Recall@K. Ranks are uint16, or uint32 where 16 bits
are too few. The largest number of that type, 65,535 or 4,294,967,295, is that of a query whose class is not among the
items: it is never found.
"""

from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

import numpy as np

from gluon_cgd.files.arrays import read_compressed, write_compressed
from gluon_cgd.files.regular import PathLike
from gluon_cgd.files.whole import digest
from gluon_cgd.runs import schema

FILE, CLASSES = "ranks.npz", "classes"


def stored(ranks: np.ndarray) -> np.ndarray:
    """`ranks` (N,) as `recall.ranks` returns them in the form in which they are written: uint16 or uint32."""
    is_found = np.isfinite(ranks)
    kind = np.uint16 if ranks[is_found].max(initial=0) < np.iinfo(np.uint16).max else np.uint32
    return np.where(is_found, ranks, np.iinfo(kind).max).astype(kind)


def updated(
    before: Mapping[str, np.ndarray], ranks: Mapping[str, np.ndarray], stages: Sequence[str], labels: Sequence[int]
) -> Dict[str, np.ndarray]:
    """The arrays `before` of a run, with the `ranks` of its newest evaluation in the place of those of `stages`.

    ranks: {"": of the combined embedding, "SPoC": of a branch, ...}.  labels: of the queries.
    """
    newest = {name: stored(each) for name, each in ranks.items()}
    classes = stored(np.unique(labels, return_inverse=True)[1])
    return {
        **before,
        CLASSES: classes,
        **{name_of(stage, branch): newest[branch] for stage in stages for branch in newest},
    }


def name_of(stage: str, branch: str = "") -> str:
    """The name of an array: "last", or "last/SPoC" for a branch."""
    return f"{stage}/{branch}" if branch else stage


def write(folder: PathLike, arrays: Mapping[str, np.ndarray], is_last_best: bool) -> Dict[str, str]:
    """Write the `arrays` of all stages into `folder`; returns {"ranks.npz": its SHA-256}.

    is_last_best: whether the best evaluation is the last one. A run that an earlier version began has not the ranks
    of all stages: then nothing is written, and {} returned.
    """
    if not set(schema.STAGES) <= set(arrays):
        return {}
    kept = (CLASSES, *(schema.STAGES[:2] if is_last_best else schema.STAGES))
    file = Path(folder) / FILE
    write_compressed(file, {name: arrays[name] for name in sorted(arrays) if name.partition("/")[0] in kept})
    return {FILE: digest(file)}


def read(file: PathLike, remedy: str = "the run is to be trained again") -> Dict[str, np.ndarray]:
    """The arrays in a ranks.npz. Raises OSError if it is not there, and ValueError if it is no such file."""
    try:
        return read_compressed(file, "u")
    except ValueError as error:
        raise ValueError(f"{file} cannot be read ({error}): {remedy}") from error


def of(arrays: Mapping[str, np.ndarray], stage: str, branch: str = "") -> Optional[np.ndarray]:
    """The ranks of a run's `stage` in its `arrays`, those of the last evaluation where that is the best; None if none.

    branch: "SPoC", or "" for the combined embedding.
    """
    stage = "last" if stage == "best" and "best" not in arrays else stage
    return arrays.get(name_of(stage, branch))


def without_classes(arrays: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """Those of a run's `arrays` that are ranks."""
    return {name: array for name, array in arrays.items() if name != CLASSES}


def recorded(arrays: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """Those of a run's `arrays` that are kept for good: all of the combined embedding, and of branches the last.

    No document prints other recalls of branches, and without them a recorded run has half the size.
    """
    return {name: array for name, array in arrays.items() if "/" not in name or name.startswith("last/")}


def disagreement(
    arrays: Mapping[str, np.ndarray], result: Mapping[str, Any], decimals: int = 15, is_recorded: bool = False
) -> Optional[str]:
    """Where the `arrays` are not what a run's `result` was counted from, the rest of a sentence; None if they agree.

    decimals: to which the recalls in `result` are rounded.  is_recorded: whether these are the arrays that `recorded`
    leaves.
    """
    expected = {
        name_of(stage, branch): recall
        for stage in schema.STAGES
        for branch, recall in {"": result[stage], **result.get("branches", {}).get(stage, {})}.items()
        if not (branch and is_recorded and stage != "last")
    }
    if "best" not in arrays:
        if result["best"] != result["last"]:
            return "has no ranks of the best evaluation"
        expected = {name: recall for name, recall in expected.items() if name.partition("/")[0] != "best"}
    needed = {*expected, CLASSES}
    if set(arrays) != needed:
        return f"has the ranks {', '.join(sorted(arrays))}, where {', '.join(sorted(needed))} are needed"
    if len({each.shape for each in arrays.values()}) > 1 or any(each.ndim != 1 for each in arrays.values()):
        return "has ranks of different numbers of pictures"
    for name, recall in expected.items():
        for k, fraction in recall.items():
            share = float((arrays[name] <= int(k[2:])).mean()) if len(arrays[name]) else -1
            if round(share, decimals) != round(fraction, decimals):
                return f"has ranks {name} whose {k} is {100 * share:.4f} %, where the result has {100 * fraction:.4f} %"
    return None
