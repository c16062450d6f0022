"""Recorded runs: committed files, one for each experiment, that the documents are generated from."""

import json
from pathlib import Path

from gluon_cgd.experiment import Experiment
from gluon_cgd.files import regular
from gluon_cgd.runs import schema
from reproduce import seal

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
        recorded = regular.read_json(file)
    except ValueError as error:
        raise ValueError(f"{file} cannot be read ({error}): take it from the repository again") from error
    wrong = schema.RECORDED(recorded, "")
    if wrong:
        raise ValueError(f"{file} cannot be read, it {wrong}: take it from the repository again")
    if Experiment.from_dict(recorded["experiment"]) != experiment:
        raise ValueError(f"{file} is of another experiment than its name says: take it from the repository again")
    changed = seal.broken(experiment.key(), recorded["runs"])
    if changed:
        rule = f"the run with seed {changed[0]} is not what was recorded (its seal is another)"
        raise ValueError(f"{file}: {rule}: take it from the repository again")
    return [{**run, "experiment": experiment.to_dict()} for run in recorded["runs"]]


def seconds(experiment):
    """How many seconds the recorded runs of `experiment` took, on average; None if there are none."""
    known = [run["seconds"] for run in read(experiment) if "seconds" in run]
    return sum(known) / len(known) if known else None


def file_of(experiment, folder):
    """The file that `experiment` is recorded in."""
    return Path(folder) / f"{experiment.key()}.json"


def alone(run):
    """The result `run` without its experiment, which the file has once, and with all fractions rounded to DECIMALS."""
    values = {name: value for name, value in run.items() if name != "experiment"}
    return json.loads(json.dumps(values), parse_float=lambda number: round(float(number), DECIMALS))
