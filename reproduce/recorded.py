"""Recorded runs: committed files, one for each experiment, that the documents are generated from."""

import json
from pathlib import Path

from gluon_cgd.experiment import Experiment

FOLDER = Path(__file__).resolve().parent / "results"
DECIMALS = 6  # of a recall; 60,502 test pictures need five


def read(experiment, folder=FOLDER):
    """The recorded results of `experiment`'s runs, by seed, as `store.results` returns them; [] if there are none.

    Raises ValueError for a file that is broken or of another experiment.
    """
    file = file_of(experiment, folder)
    if not file.is_file():
        return []
    try:
        recorded = json.loads(file.read_text(encoding="utf-8"))
        runs = [{"experiment": experiment.to_dict(), **run} for run in recorded["runs"]]
        good = Experiment.from_dict(recorded["experiment"]) == experiment
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} cannot be read ({type(error).__name__}): take it from the repository again"
        ) from error
    if not good:
        raise ValueError(f"{file} is of another experiment than its name says: take it from the repository again")
    return runs


def seconds(experiment):
    """How many seconds the recorded runs of `experiment` took, on average; None if there are none."""
    runs = read(experiment)
    return sum(run["seconds"] for run in runs) / len(runs) if runs else None


def file_of(experiment, folder):
    """The file that `experiment` is recorded in."""
    return Path(folder) / f"{experiment.key()}.json"


def alone(run):
    """The result `run` without its experiment, which the file has once, and with all fractions rounded to DECIMALS."""
    values = {name: value for name, value in run.items() if name != "experiment"}
    return json.loads(json.dumps(values), parse_float=lambda number: round(float(number), DECIMALS))
