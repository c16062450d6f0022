"""The recorded runs as the audit reads them: one JSON file for each experiment, and the ranks beside it."""

import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

import numpy as np

REMOVED = ("margin_underflow",)  # a field of earlier versions, which the hash of an experiment never had


class Finding(NamedTuple):
    """A difference: where it is, and what is wrong there."""

    file: str
    line: int
    text: str

    def __str__(self):
        return f"{self.file}:{self.line}: {self.text}"


class Recorded(NamedTuple):
    """What one file holds. ranks: {"seed0/last": array, ...}, {} without a file of ranks."""

    file: Path
    experiment: Dict[str, Any]
    runs: List[Dict[str, Any]]
    ranks: Dict[str, np.ndarray]
    text: str

    def line(self, index, name="seed"):
        """The line of the entry `name` of the run at `index`."""
        lines, at = self.text.splitlines(), -1
        for number, line in enumerate(lines, 1):
            at += line == "  {"  # a run begins
            if at == index and line.startswith(f'   "{name}":'):
                return number
        return 1

    def at(self, index, text, name="seed"):
        """The Finding `text` about the run at `index`."""
        return Finding(str(self.file), self.line(index, name), text)


class Broken(Exception):
    """A file that cannot be read; its argument is the Finding."""


def read(folder):
    """({key: Recorded}, findings) of the recorded runs in `folder`."""
    found, findings = {}, []
    for file in sorted(Path(folder).glob("*-*.json")):
        try:
            found[file.stem] = read_file(file)
        except Broken as error:
            findings.append(error.args[0])
    for file in sorted(Path(folder).glob("*.npz")):
        key = file.name[: -len(".ranks.npz")]
        if not file.name.endswith(".ranks.npz") or key not in found:
            findings.append(Finding(str(file), 1, "it belongs to no recorded runs, whose name it should have"))
    return found, findings


def read_file(file):
    """The Recorded of `file`. Raises Broken."""
    text = ""
    try:
        text = file.read_text(encoding="utf-8")
        values = json.loads(text)
        experiment = {name: value for name, value in values["experiment"].items() if name not in REMOVED}
        runs = sorted(values["runs"], key=lambda run: run["seed"])
        if [run["seed"] for run in values["runs"]] != [run["seed"] for run in runs]:
            raise Broken(Finding(str(file), 1, "its runs are not in the order of their seeds"))
        for run in runs:
            for stage in ("untrained", "last", "best"):
                if not all(isinstance(value, (int, float)) for value in run[stage].values()):
                    raise ValueError(f"seed {run['seed']} has a recall that is no number")
        return Recorded(file, experiment, runs, read_ranks(file), text)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        line = getattr(error, "lineno", 1)
        raise Broken(Finding(str(file), line, f"it does not hold recorded runs ({error!r})")) from error


def read_ranks(file):
    """{"seed0/last": ranks, ...} from the file of ranks beside `file`, {} if there is none. Raises Broken."""
    beside = file.with_name(file.stem + ".ranks.npz")
    if not beside.exists():
        return {}
    try:
        with np.load(beside, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # NumPy raises what its zip reader does
        raise Broken(Finding(str(beside), 1, f"it does not hold ranks ({error})")) from error
