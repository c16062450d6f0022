"""The seal of a recorded run: a SHA-256 of all that is recorded of it, so that a change of one part shows.

It notices a change by mistake, and a falsification that forgets the seal: a changed recall or rank, a seed that was
exchanged with another, the run of another experiment. Whoever changes a run and seals it again is not noticed: nothing
but training again can tell. `reproduce/audit.py` computes seals by code of its own.
"""

import hashlib
import json

import numpy as np

SEAL, RANKS = "seal", "ranks_sha256"  # entries of a recorded run


def sealed(key, run, ranks=None):
    """`run`, a recorded run of the experiment named `key`, with its seal. It is the same for a run that has one.

    ranks: {"last": ranks of the nearest item of a query's own class, "last/SPoC": ...}; None keeps what `run` says.
    """
    if ranks is not None:
        run = {**run, RANKS: {name: sha256(values) for name, values in sorted(ranks.items())}}
    run = {name: value for name, value in run.items() if name != SEAL}
    return {**run, SEAL: seal(key, run)}


def seal(key, run):
    """The seal of `run`, without its own, under the name of its experiment."""
    values = {name: value for name, value in run.items() if name != SEAL}
    text = json.dumps({"key": key, "run": values}, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def sha256(ranks):
    """The SHA-256 of ranks: of their bytes as unsigned 32-bit integers, the lowest byte first."""
    return hashlib.sha256(np.ascontiguousarray(ranks, dtype="<u4").tobytes()).hexdigest()


def broken(key, runs):
    """The seeds of the recorded `runs` of `key` whose seal is not theirs; runs of earlier versions have none."""
    return [run["seed"] for run in runs if SEAL in run and run[SEAL] != seal(key, run)]
