"""A run's result.json: read, checked, and compared with the run that is asked for."""

import json
from pathlib import Path

from gluon_cgd.experiment import REMOVED, Experiment


def finished(folder, run):
    """The result in `folder`, or None when there is none. Raises ValueError if it is broken or of another run."""
    file = Path(folder) / "result.json"
    if not file.is_file():
        return None
    result = read_result(file)
    same_run(file, result, run)
    return result


def read_result(file):
    """A result.json as a dict. Raises ValueError for one that is cut off or something else."""
    try:
        result = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: delete it to train again") from error
    needed = {"experiment", "seed", "untrained", "last", "best", "classes"}
    if not isinstance(result, dict) or not needed <= set(result) or not isinstance(result["experiment"], dict):
        raise ValueError(f"{file} is not the result of a run: delete it to train again")
    for which in ("untrained", "last", "best"):
        values = result[which].values() if isinstance(result[which], dict) else [None]
        if not all(isinstance(value, (int, float)) and 0 <= value <= 1 for value in values):
            raise ValueError(
                f"{file} has a recall under {which!r} that is not between 0 and 1: delete it to train again"
            )
    if not _has_good_branches(result.get("branches", {})) or not isinstance(result.get("files", {}), dict):
        raise ValueError(f"{file} is not the result of a run: delete it to train again")
    if not isinstance(result["classes"], int) or result["classes"] < 1:
        raise ValueError(f"{file} has {result['classes']!r} classes: delete it to train again")
    return result


def _has_good_branches(branches):
    """Whether `branches` is {"last": {"SPoC": {"R@1": fraction, ...}, ...}, ...}."""
    try:
        values = [value for names in branches.values() for recall in names.values() for value in recall.values()]
        return all(isinstance(value, (int, float)) and 0 <= value <= 1 for value in values)
    except AttributeError:
        return False


def same_run(file, stored, asked):
    """Raise ValueError, naming the difference, unless `stored` (read from `file`) is of the run that is `asked` for."""
    defaults = {**REMOVED, **Experiment().to_dict()}
    flat = [
        # A field that is newer than the stored run had its default there
        {**defaults, **run["experiment"], **{k: v for k, v in run.items() if k != "experiment"}}
        for run in (stored, asked)
    ]
    for name in (*defaults, *asked):
        found, wanted = flat[0].get(name), flat[1].get(name)
        if found != wanted:
            raise ValueError(
                f"{file} is of another run ({name} {found!r} there, {wanted!r} asked for): "
                "choose another folder, or delete it"
            )
