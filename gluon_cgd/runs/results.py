"""A run's result.json: read, checked, and compared with the run that is wanted."""

import json
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from gluon_cgd.datasets.records import PathLike
from gluon_cgd.experiment import REMOVED, Experiment


def finished(folder: PathLike, run: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """The result in `folder`, or None if there is none. Raises ValueError if it is broken, or not of `run`."""
    file = Path(folder) / "result.json"
    if not file.is_file():
        return None
    result = read_result(file)
    same_run(file, result, run)
    return result


def read_result(file: PathLike) -> Dict[str, Any]:
    """The dict in a result.json. Raises ValueError, naming the file and what is wrong, for anything else."""
    try:
        result = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: delete it to train again") from error
    try:
        wrong = next(_mistakes(result), None)
    except (KeyError, TypeError, AttributeError):  # what should be a dict is something else
        wrong = "is not the result of a run"
    if wrong:
        raise ValueError(f"{file} {wrong}: delete it to train again")
    return result


def _mistakes(result):
    """Yield what is wrong with `result`. Raises KeyError, TypeError or AttributeError where a part is not there."""
    if not (isinstance(result["experiment"], dict) and isinstance(result.get("files", {}), dict) and "seed" in result):
        yield "is not the result of a run"
    if not isinstance(result["classes"], int) or result["classes"] < 1:
        yield f"has {result['classes']!r} classes"
    recalls = [(which, result[which]) for which in ("untrained", "last", "best")]
    recalls += [(which, recall) for which, names in result.get("branches", {}).items() for recall in names.values()]
    for which, recall in recalls:
        if not all(isinstance(value, (int, float)) and 0 <= value <= 1 for value in recall.values()):
            yield f"has a recall under {which!r} that is not between 0 and 1"


def same_run(file: PathLike, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the difference, unless `stored` (read from `file`) is of the run that is `wanted`."""
    # A field that is newer than the stored run had its default there
    defaults = {**REMOVED, **Experiment().to_dict()}
    there, here = ({**defaults, **run["experiment"], **run} for run in (stored, wanted))
    for name in (*defaults, *(name for name in wanted if name != "experiment")):
        if there.get(name) != here.get(name):
            raise ValueError(
                f"{file} is of another run ({name} {there.get(name)!r} there, {here.get(name)!r} asked for): "
                "choose another folder, or delete it"
            )
