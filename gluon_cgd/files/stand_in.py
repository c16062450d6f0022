"""Made-up pictures and parameters that stand in for real ones in a rehearsal, and how everything knows them again.

The mark is in each file, not beside it, so that no part of a copy is without it, and in the hashes that a run keeps of
its data and parameters. `benchmarks/stand_ins.py` makes them.
"""

import os
from pathlib import Path
from typing import Any, Iterable, Mapping, Union

PICTURE = "gluon_cgd-stand-in-"  # begins the name of a picture's file
PARAMETERS = b"STAND-IN"  # the bytes 8 to 16 of a .params file: reserved, and MXNet does not look at them
MARK = "stand-in "  # begins the hash of such data, or of such parameters
FINDING = "stand-ins"  # in `runs.findings`: "runs that are stand-ins"


def is_picture(path: Union[str, Path]) -> bool:
    """Whether the picture at `path` is a stand-in."""
    return os.path.basename(path).startswith(PICTURE)


def is_parameters(file: Union[str, Path]) -> bool:
    """Whether the .params file holds stand-ins. Raises OSError where it cannot be read."""
    with open(file, "rb") as handle:
        return handle.read(16)[8:] == PARAMETERS


def marked(digest: str, is_stand_in: bool) -> str:
    """The `digest` as a run keeps it."""
    return MARK + digest if is_stand_in else digest


def of(result: Mapping[str, Any]) -> str:
    """What of a run is a stand-in, in words: "pictures", "pictures and parameters"; "" for nothing."""
    parts: Iterable[str] = (
        what
        for key, what in (("data", "pictures"), ("weights", "parameters"))
        if str(result.get(key) or "").startswith(MARK)
    )
    return " and ".join(parts)
