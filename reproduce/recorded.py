"""Recorded runs: committed files, one for each experiment, that the documents are generated from.

Beside KEY.json lies KEY.ranks.npz, whose arrays `seed0/last`, `seed0/last/SPoC`, ... are the ranks that the recalls of
each run were counted from (see `gluon_cgd.runs.ranks`). Its array `classes` is of all runs, which share their test
pictures. Runs of revisions before 3 have no ranks.
"""

import json
import re
from pathlib import Path

from gluon_cgd.experiment import Experiment
from gluon_cgd.files import regular
from gluon_cgd.runs import ranks, schema
from reproduce import seal

FOLDER = Path(__file__).resolve().parent / "results"
REMEDY = "take it from the repository again"
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
        raise ValueError(f"{file} cannot be read ({error}): {REMEDY}") from error
    wrong = schema.RECORDED(recorded, "")
    if wrong:
        raise ValueError(f"{file} cannot be read, it {wrong}: {REMEDY}")
    if Experiment.from_dict(recorded["experiment"]) != experiment:
        raise ValueError(f"{file} is of another experiment than its name says: {REMEDY}")
    changed = seal.broken(experiment.key(), recorded["runs"])
    if changed:
        rule = f"the run with seed {changed[0]} is not what was recorded (its seal is another)"
        raise ValueError(f"{file}: {rule}: {REMEDY}")
    return [{**run, "experiment": experiment.to_dict()} for run in recorded["runs"]]


def read_ranks(experiment, folder=FOLDER):
    """The recorded ranks of `experiment`'s runs: {seed: {"last": (N,), "last/SPoC": ..., "classes": ...}}, or {}.

    Raises ValueError for a file that is broken, and for ranks that the recorded recalls were not counted from.
    """
    file, runs = ranks_of(experiment, folder), {run["seed"]: run for run in read(experiment, folder)}
    arrays = all_ranks(experiment, folder)
    for seed in {**arrays, **{seed: run for seed, run in runs.items() if seal.RANKS in run}}:
        wrong = check_ranks(arrays.get(seed, {}), runs[seed]) if seed in runs else "is of no recorded run"
        if wrong:
            raise ValueError(f"{file}, seed {seed}, {wrong}: {REMEDY}")
    return arrays


def all_ranks(experiment, folder):
    """As `read_ranks`, but not compared with the recalls."""
    file, arrays = ranks_of(experiment, folder), {}
    named = ranks.read(file, REMEDY) if file.is_file() else {}
    classes = {name: named.pop(name) for name in [ranks.CLASSES] if name in named}
    for name, array in named.items():
        seed, _, rest = name.partition("/")
        if not re.fullmatch("seed[0-9]{1,10}", seed) or not rest:
            raise ValueError(f"{file} has {name!r}, which is no name that belongs there: {REMEDY}")
        arrays.setdefault(int(seed[4:]), dict(classes))[rest] = array
    return arrays


def check_ranks(arrays, run):
    """Where `arrays` are not the ranks of the recorded `run`, the rest of a sentence; None if they are."""
    hashes = {name: seal.sha256(array) for name, array in ranks.without_classes(arrays).items()}
    if run.get(seal.RANKS, hashes) != hashes:
        return "is not what was recorded (its sha256 is another)"
    return ranks.disagreement(arrays, run, DECIMALS, is_recorded=True)


def seconds(experiment):
    """How many seconds the recorded runs of `experiment` took, on average; None if there are none."""
    known = [run["seconds"] for run in read(experiment) if "seconds" in run]
    return sum(known) / len(known) if known else None


def file_of(experiment, folder):
    """The file that `experiment` is recorded in."""
    return Path(folder) / f"{experiment.key()}.json"


def ranks_of(experiment, folder):
    """The file that the ranks of `experiment`'s runs are recorded in."""
    return Path(folder) / f"{experiment.key()}.ranks.npz"


def alone(run):
    """The result `run` without its experiment, which the file has once, and with all fractions rounded to DECIMALS."""
    values = {name: value for name, value in run.items() if name != "experiment"}
    return json.loads(json.dumps(values), parse_float=lambda number: round(float(number), DECIMALS))
