"""A run's result.json: read, checked, and compared with the run that is wanted and with the files beside it."""

import logging
import os
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from gluon_cgd import recall
from gluon_cgd.datasets.records import PathLike
from gluon_cgd.experiment import DESCRIPTOR_NAMES, REMOVED, Experiment
from gluon_cgd.extensions.whitening import Whitening
from gluon_cgd.files.regular import read_json
from gluon_cgd.files.whole import check_target, digest
from gluon_cgd.machine import facts
from gluon_cgd.recall import Embeddings, branches, recall_of_ranks
from gluon_cgd.runs import collapse, schema
from gluon_cgd.runs.fields import shown
from gluon_cgd.runs.parameters import hash_of_file
from gluon_cgd.runs.ranks import FILE as RANKS

log = logging.getLogger(__name__)
PARAMETERS = ("last.params", "best.params")
PLAIN = "Unwhitened"  # the branch that is the embedding before its whitening
BESIDE = (*PARAMETERS, RANKS)  # the files beside a result.json whose SHA-256 it has


class Damaged(ValueError):
    """A file of a run is not what the run wrote: it was cut off or overwritten. Training again mends it."""


def stored(folder: PathLike, run: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """The result in `folder`, or None if there is none.

    Raises Damaged if it cannot be read, and ValueError if it is no result, or not of `run`.
    """
    file = Path(folder) / "result.json"
    if not file.exists():
        return None
    result = read_result(file)
    same_run(file, result, run)
    return result


def finished(
    folder: PathLike,
    run: Mapping[str, Any],
    warn: Callable[[str], Any] = log.warning,
    missing: Optional[bool] = True,
) -> Optional[Dict[str, Any]]:
    """The result of the finished run in `folder`, or None if the run is to be trained, also where a file is damaged.

    warn: what is damaged is told to it.  missing: whether a file beside the result that is not there counts as
    damaged; None does not look at these files.
    Raises ValueError as `stored` does, but for Damaged, and for what is no file and could not be written either.
    """
    for name in ("result.json", *BESIDE):
        check_target(Path(folder) / name)
    try:
        result = stored(folder, run)
        damages = [] if result is None or missing is None else damaged(folder, result, missing)
    except Damaged as error:
        result, damages = None, [str(error)]
    for damage in damages:
        warn(damage)
    return None if damages else result


def damaged(
    folder: PathLike, result: Mapping[str, Any], missing: bool = True, names: Sequence[str] = BESIDE
) -> List[str]:
    """A sentence for each file in `folder`, of those called `names`, that is not the one that `result` has."""
    sentences, files = [], result.get("files") or {}
    for name in names:
        file = Path(folder) / name
        if name in files and not file.exists():
            what = "is not there any more"
        elif name in files:
            what = "" if digest(file) == files[name] else "is not the file that the run left (its sha256 is another)"
        else:
            what = _of_an_earlier_version(file, result)
        if what and (missing or file.exists()):
            sentences.append(f"{file} {what}: the run is to be trained again")
    return sentences


def _of_an_earlier_version(file, result):
    """What is wrong with a file of parameters whose digest the `result` does not have, "" if nothing is known."""
    expected = result.get("parameters_sha256")
    if file.name != "last.params" or not expected or "files" in result or not file.exists():
        return ""
    return "" if hash_of_file(file) == expected else "does not hold the parameters that the run ended with"


def read_result(file: PathLike) -> Dict[str, Any]:
    """The dict in a result.json. Raises ValueError, naming the file and what is wrong, for anything else.

    It is Damaged if the file is not even JSON: then it was cut off or overwritten.
    """
    try:
        result = read_json(file)
    except ValueError as error:
        reason = str(error).rpartition(": ")[0]
        raise Damaged(f"{reason}: the run is to be trained again") from error
    parts = ("experiment", *schema.STAGES)
    tables = isinstance(result, dict) and [result.get(part) for part in parts]
    if not tables or "seed" not in result or not all(isinstance(table, dict) for table in tables):
        wrong: Optional[str] = "is not the result of a run"
    elif not all(isinstance(result.get(part, {}), dict) for part in ("files", "branches")):
        wrong = "is not the result of a run"
    else:
        wrong = schema.RESULT(result, "")
    if wrong:
        raise ValueError(f"{file} {wrong}: delete it to train again")
    return result


def measured(
    ks: Sequence[int],
    embeddings: Embeddings,
    experiment: Experiment,
    whitening: Optional[Whitening] = None,
    ranks: Callable[..., np.ndarray] = recall.ranks,
) -> Tuple[Dict[str, Any], Dict[str, np.ndarray]]:
    """({"recall", "spread"} of the test pictures, the ranks that the recall counts); of branches too if there are any.

    The ranks are {"": of the combined embedding (N,), "SPoC": of a branch, ...}.
    whitening: what the embedding that counts goes through; the given one, which the losses see, is then one branch
    more, PLAIN.
    ranks: counts them as `recall.ranks` does; an engine may do it on its device.
    """
    names = [DESCRIPTOR_NAMES[letter] for letter in experiment.descriptors if experiment.has_branches]
    found = {"": ranks(*embeddings)}
    entry: Dict[str, Any] = {"recall": recall_of_ranks(ks, found[""]), "spread": collapse.spread(embeddings)}
    if names:
        alone = len(names) == 1  # then the branch is the embedding
        of_branches = branches(embeddings, names).items()
        found.update({name: found[""] if alone else ranks(*branch) for name, branch in of_branches})
        entry["branches"] = {name: recall_of_ranks(ks, found[name]) for name in names}
    if whitening:
        gallery = None if embeddings.gallery is None else whitening.applied(embeddings.gallery)
        whitened = embeddings._replace(query=whitening.applied(embeddings.query), gallery=gallery)
        both = {"": ranks(*whitened), PLAIN: found[""]}
        recalls = {**entry.get("branches", {}), PLAIN: entry["recall"]}
        entry.update(recall=recall_of_ranks(ks, both[""]), branches=recalls)
        found.update(both)
    return entry, found


def best_of(history: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The entry of `history` with the highest Recall@1; the first one of equals, and not the untrained one."""
    return max(history[1:], key=lambda entry: entry["recall"]["R@1"])


def stages_of_newest(history: Sequence[Mapping[str, Any]]) -> Tuple[str, ...]:
    """Which of `schema.STAGES` the newest entry of `history` is, as far as the run has come."""
    if len(history) == 1:
        return ("untrained",)
    return ("last", "best") if best_of(history) is history[-1] else ("last",)


def of_history(history: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    """What a result says of a run's evaluations: its `history`, and the recalls before, at the end and at the best."""
    best = best_of(history)
    kept = dict(zip(schema.STAGES, (history[0], history[-1], best)))
    recalls = {name: entry["recall"] for name, entry in kept.items()}
    of_branches = {name: entry.get("branches", {}) for name, entry in kept.items()}
    return dict(recalls, best_iteration=best["iteration"], branches=of_branches, history=history)


def origin(device: str, machine: str, versions: Mapping[str, str]) -> Dict[str, Any]:
    """Where a run is made: {"device", "machine", "threads", "commit", "versions"}. machine: its processor, or GPU."""
    return dict(
        device=device,
        machine=machine,
        threads=int(os.environ.get("OMP_NUM_THREADS", 0)),  # decides the order of a CPU's sums, so their last bits
        commit=facts.commit(),
        versions=versions,
    )


def same_run(file: PathLike, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the difference, unless `stored` (read from `file`) is of the run that is `wanted`."""
    # A field that is newer than the stored run had its default there
    defaults = {**REMOVED, **Experiment().to_dict()}
    there, here = ({**defaults, **run["experiment"], **run} for run in (stored, wanted))
    for run in (there, here):
        engine = run.get("engine") or {}  # only runs of another engine than MXNet name theirs
        run["engine"] = f"{engine.get('name', 'mxnet')} in {engine.get('precision', 'float32')}"
    if os.path.realpath(str(there.get("dataset"))) == os.path.realpath(str(here.get("dataset"))):
        there["dataset"] = here["dataset"]  # photos, photos/ and /home/me/photos are one folder
    for name in (*defaults, "engine", *(name for name in wanted if name != "experiment")):
        if there.get(name) != here.get(name):
            raise ValueError(
                f"{file} is of another run ({name} {shown(there.get(name))} there, {shown(here.get(name))} asked for): "
                "choose another folder, or delete it"
            )
