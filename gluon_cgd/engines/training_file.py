"""The training file: all that another engine needs of a run, written by the process that has MXNet.

It holds the graph of a training step, the first parameters, which of them are learned, the experiment, the identity of
the run, its pictures' records and where their pixels are: memory-mapped files of uint8. NumPy reads it; nothing in it
is executed or unpickled.
"""

import json
import math
import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from gluon_cgd.datasets.records import PathLike, Record, Split
from gluon_cgd.experiment import REVISION, Experiment
from gluon_cgd.files.arrays import DAMAGE, NONSENSE, read_stored, write_stored
from gluon_cgd.runs import schema
from gluon_cgd.runs.fields import is_whole

FORMAT = 1
NAME = "training.npz"
META, VALUE = "training", "value:"  # the array of all that is text, and what begins the names of the parameters
REMEDY = "the same command writes it again"
PARTS = Split._fields


class Training(NamedTuple):
    """What a training file holds."""

    experiment: Experiment
    split: Split
    run: Dict[str, Any]  # the identity of the run
    graph: str  # JSON, which `engines.graph.parse` reads
    heads: Tuple[str, ...]  # the names of its heads
    learned: Tuple[str, ...]  # the names of the parameters that training changes
    values: Dict[str, np.ndarray]  # {name: first value} of all parameters
    pictures: Dict[str, Tuple[str, Tuple[int, ...]]]  # {"train": (file of uint8, shape), ...}
    training: Optional[Dict[str, Any]]  # what the result says of the training pictures


def write(file: PathLike, training: Training) -> None:
    """Write a training file."""
    described = training._asdict()
    described.update(format=FORMAT, experiment=training.experiment.to_dict())
    described["split"] = {part: _rows(records) for part, records in training.split._asdict().items()}
    del described["values"]
    text = np.frombuffer(json.dumps(described).encode(), np.uint8)
    write_stored(file, {META: text, **{f"{VALUE}{name}": value for name, value in training.values.items()}})


def _rows(records):
    """The records of a part as lists."""
    return None if records is None else [[os.fsdecode(path), int(label), box] for path, label, box in records]


def read(file: PathLike) -> Training:
    """What the training file `file` holds. Raises ValueError, naming it, for any other file, and OSError for none."""
    try:
        arrays = read_stored(file, "fu")
        described = json.loads(arrays.pop(META).tobytes())
        wrong = FILE(described, "")
        if wrong:
            raise ValueError(f"it {wrong}")
        described.pop("format")
        experiment = Experiment.from_dict(described["experiment"])
        train, query, gallery = (_records(described["split"][part]) for part in PARTS)
        split = Split(train or [], query or [], gallery)
        values = {name[len(VALUE) :]: array for name, array in arrays.items() if name.startswith(VALUE)}
        missing = sorted(set(described["learned"]) - set(values))
        if missing:
            raise ValueError(f"it lacks the parameter {missing[0]}")
        pictures = {part: (place, tuple(shape)) for part, (place, shape) in described["pictures"].items()}
        for part, records in zip(PARTS, split):
            if (records is not None) != (part in pictures) or len(records or ()) != pictures.get(part, (0, (0,)))[1][0]:
                raise ValueError(f"its {part} pictures are not those of its records")
        heads, learned = tuple(described["heads"]), tuple(described["learned"])
        rest = {name: described[name] for name in ("run", "graph", "training")}
        return Training(
            experiment=experiment, split=split, heads=heads, learned=learned, values=values, pictures=pictures, **rest
        )
    except (*DAMAGE, *NONSENSE) as error:
        reason = str(error).splitlines()[0] if isinstance(error, ValueError) and str(error) else type(error).__name__
        raise ValueError(f"{file} is not a training file that can be read ({reason}): {REMEDY}") from error


def _records(rows: Optional[List]) -> Optional[List[Record]]:
    """The inverse of `_rows`."""
    return None if rows is None else [Record(path, label, box and tuple(box)) for path, label, box in rows]


def opened(training: Training, part: str) -> Optional[np.ndarray]:
    """The pictures of a `part`, uint8 (N, side, side, 3), memory-mapped; None if there are none.

    Raises ValueError if their file is another one than it was.
    """
    if part not in training.pictures:
        return None
    file, shape = training.pictures[part]
    if not os.path.isfile(file) or os.path.getsize(file) != math.prod(shape):
        raise ValueError(f"{file}, the resized pictures of this run, is gone or was changed: the same command mends it")
    return np.memmap(file, np.uint8, "c", shape=shape)  # copied on writing: PyTorch takes no read-only memory


def _record(value: Any, place: str) -> Optional[str]:
    fits = isinstance(value, list) and len(value) == 3 and isinstance(value[0], str) and is_whole(value[1])
    fits = fits and (value[2] is None or (isinstance(value[2], list) and len(value[2]) == 4))
    return None if fits else f"has {place} that is no picture's record"


def _place(value: Any, place: str) -> Optional[str]:
    fits = isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], list)
    fits = fits and len(value[1]) == 4 and all(is_whole(side) and 0 < side <= schema.MOST for side in value[1])
    return None if fits else f"has {place} that names no file of pictures"


def _words(value: Any, place: str) -> Optional[str]:
    fits = isinstance(value, list) and all(isinstance(word, str) for word in value)
    return None if fits else f"has {place} that is no list of names"


def _format(value: Any, place: str) -> Optional[str]:
    return None if value == FORMAT else f"has {place} {value!r}, and this version of gluon_cgd reads {FORMAT}"


RECORDS = schema.each(_record, of=list)
RUN: Mapping[str, schema.Rule] = {
    "experiment": schema.experiment,
    "seed": schema.SEED,
    "revision": lambda value, place: None if value == REVISION else f"has {place} of another version of gluon_cgd",
    "engine": schema.ENGINE,
}
FILE = schema.fields(
    {
        "format": _format,
        "experiment": schema.experiment,
        "run": schema.fields(RUN),
        "split": schema.fields({"train": RECORDS, "query": RECORDS, "gallery": schema.optional(RECORDS)}),
        "graph": lambda value, place: None if isinstance(value, str) else f"has {place} that is no text",
        "heads": _words,
        "learned": _words,
        "pictures": schema.each(_place, "train|query|gallery"),
        "training": schema.optional(schema.fields({})),
    }
)
