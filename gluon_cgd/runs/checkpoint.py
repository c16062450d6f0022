"""Checkpoints, from which a training run resumes to the same bits; and which parameters they promise."""

import contextlib
import json
import logging
import os
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np

from gluon_cgd.datasets.records import PathLike
from gluon_cgd.files.arrays import DAMAGE, NONSENSE, read_stored, write_stored
from gluon_cgd.files.whole import digest, sync_folder
from gluon_cgd.runs import schema
from gluon_cgd.runs.log import losses, mend
from gluon_cgd.runs.parameters import hash_of_file, write_parameters
from gluon_cgd.runs.results import Damaged, same_run

log = logging.getLogger(__name__)
BEST, WAITING = "best.params", "best.params.new"
KINDS = "fUu"  # of its arrays, as NumPy calls them
RANKS = "ranks:"  # begins the name of an array with ranks


class Due:
    """When a run writes a checkpoint: every `every` iterations.

    With None it is every 100, or after ten minutes. But where writing takes long, as to a network's disk, it comes so
    late that all of them take no more than a twentieth of the time.
    """

    iterations, longest = 100, 600  # longest: seconds between two
    spare = 20  # times as long as it takes to write one

    def __init__(self, every: Optional[int], now: float):
        self.every, self.last, self.took = every, now, 0.0

    def at(self, iteration: int, now: float) -> bool:
        """Whether one is due after `iteration`. now: seconds, as `time.monotonic` tells them."""
        if self.every is not None:
            return iteration % self.every == 0
        passed = now - self.last
        regular = iteration % self.iterations == 0 or passed >= self.longest
        return regular and passed >= self.spare * self.took

    def written(self, begun: float, ended: float) -> None:
        """Take note of one that was written from `begun` to `ended`."""
        self.last, self.took = ended, ended - begun


def save_checkpoint(
    file: PathLike,
    state: Mapping[str, np.ndarray],
    meta: Mapping[str, Any],
    ranks: Optional[Mapping[str, np.ndarray]] = None,
) -> None:
    """Write an engine's `state`, `meta`, which JSON can hold, and the run's `ranks` to `file`."""
    arrays = {"meta": np.array(json.dumps(meta))}
    arrays.update({f"{RANKS}{name}": array for name, array in (ranks or {}).items()})
    arrays.update(state)
    write_stored(file, arrays)


def save_run(
    folder: PathLike, state: Mapping[str, np.ndarray], meta: Mapping[str, Any], ranks: Mapping[str, np.ndarray]
) -> None:
    """Write checkpoint.npz into `folder`; new best parameters, which it promises, then take the place of the old."""
    logged = losses(Path(folder) / "train.log")
    save_checkpoint(Path(folder) / "checkpoint.npz", state, {**meta, "logged": list(logged.items())}, ranks)
    if (Path(folder) / WAITING).exists():
        keep_best(folder, meta)


def load_checkpoint(file: PathLike) -> Tuple[Dict[str, np.ndarray], Dict[str, Any]]:
    """(arrays, meta) that `save_checkpoint` wrote; nothing in it is executed.

    Raises Damaged for a file that was cut off or overwritten, and ValueError for one that is whole, but no checkpoint.
    """
    try:
        arrays = read_stored(file, KINDS)
        meta = json.loads(str(arrays.pop("meta")))
        wrong = schema.CHECKPOINT(meta, "")
        if wrong:
            raise ValueError(f"it {wrong}")
        return arrays, {**meta, "seconds": float(meta["seconds"]), "history": [{**entry} for entry in meta["history"]]}
    except DAMAGE as error:
        raise Damaged(f"checkpoint {file} cannot be read ({error or 'cut off'}): training starts again") from error
    except NONSENSE as error:
        raise ValueError(
            f"checkpoint {file} cannot be read ({_reason(error)}): delete it to train from the start"
        ) from error


def _reason(error):
    return str(error).splitlines()[0] if isinstance(error, ValueError) else type(error).__name__


def iteration(file: PathLike) -> int:
    """The iteration of the checkpoint `file`, without reading its arrays; 0 if there is no readable checkpoint."""
    try:
        count = json.loads(str(read_stored(file, KINDS, ("meta",))["meta"]))["iteration"]
        return 0 if schema.whole(1, schema.MOST)(count, "iteration") else count
    except (OSError, *DAMAGE, *NONSENSE):
        return 0


def resumable(folder: PathLike, run: Mapping[str, Any]) -> Optional[Tuple[Dict[str, np.ndarray], Dict[str, Any]]]:
    """(arrays, meta) of the checkpoint in `folder` from which `run` goes on, or None if it starts from the beginning.

    Where the checkpoint, or the best.params that it promises, is damaged, this is said in the log.
    Raises ValueError for a checkpoint of another run, and for a file that is whole, but no checkpoint.
    """
    file = Path(folder) / "checkpoint.npz"
    if not file.exists():
        return None
    try:
        arrays, meta = load_checkpoint(file)
    except Damaged as error:
        log.warning("%s", error)
        return None
    same_run(file, meta, run)
    wrong = schema.history(meta["history"], "'history'")
    if wrong:
        raise ValueError(f"checkpoint {file} {wrong}: delete it to train from the start")
    if not keep_best(folder, meta):
        log.warning("%s is not the file that the checkpoint names: training starts again", Path(folder) / BEST)
        return None
    mend(Path(folder) / "train.log", dict(meta.get("logged", ())))
    return arrays, meta


def check(folder: PathLike, run: Mapping[str, Any]) -> None:
    """Raise ValueError for a checkpoint in `folder` of another run than `run`; `resumable` says what else is wrong."""
    file = Path(folder) / "checkpoint.npz"
    with contextlib.suppress(OSError, Damaged):
        if file.exists():
            same_run(file, load_checkpoint(file)[1], run)


def keep_best(folder: PathLike, meta: Mapping[str, Any]) -> bool:
    """Whether best.params in `folder` is the one that a checkpoint promises; if it waits beside, it takes its place.

    meta: of the checkpoint. New best parameters wait until a checkpoint promises them: until then it is the older ones
    that a resumed run needs.
    """
    best, waiting = Path(folder) / BEST, Path(folder) / WAITING
    promised = meta.get("files", {}).get(BEST)
    if promised is None:  # of an earlier version, or there was no evaluation yet
        return len(meta["history"]) < 2 or hash_of_file(best) != ""
    for file in (waiting, best):
        if file.is_file() and digest(file) == promised:
            os.replace(file, best)
            sync_folder(folder)
            waiting.unlink(missing_ok=True)
            return True
    return False


def forget(folder: PathLike) -> None:
    """Delete the checkpoint of a finished run; in a folder that is another user's it stays."""
    with contextlib.suppress(OSError):
        (Path(folder) / "checkpoint.npz").unlink()


def ranks_of(arrays: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """The ranks among the arrays that `load_checkpoint` returned, as `runs.ranks` names them."""
    return {name[len(RANKS) :]: array for name, array in arrays.items() if name.startswith(RANKS)}


def save_last(values: Mapping[str, np.ndarray], folder: PathLike, files: Mapping[str, str]) -> Dict[str, str]:
    """Write the parameters `values` to last.params in `folder`; returns {name: SHA-256} of it and of best.params.

    Raises Damaged if best.params is not the file that `files`, of the last checkpoint, has.
    """
    best = Path(folder) / BEST
    found = digest(best)
    if files.get(BEST, found) != found:
        raise Damaged(f"{best} is not the file that this run wrote: the same command trains the run again")
    return {"last.params": write_parameters(values, Path(folder) / "last.params"), BEST: found}
