"""The plan of an index in shards: the list of its pictures, cut into parts, in a folder beside the index.

A shard begins where a batch of 64 pictures begins, so that every batch is the one of a single process. The folder holds
plan.json, the paths (pictures.bin, a zero byte behind each), an index for each shard, and a summary once it is done.
"""

import math
import os
import zlib
from array import array
from pathlib import Path
from typing import List, NamedTuple

from gluon_cgd.files.regular import open_regular, read_json
from gluon_cgd.files.whole import replacing, write_json
from gluon_cgd.machine.progress import task
from gluon_cgd.retrieval import sources
from gluon_cgd.retrieval.index import BATCH
from gluon_cgd.retrieval.manifest import read_manifest

NAME, PICTURES = "plan.json", "pictures.bin"
LISTING = ("listing", None, "pictures")
BLOCK = 1 << 20  # bytes of paths that are read at a time


class Part(NamedTuple):
    """The pictures of a shard: how many, where their paths are in the file of paths, and the CRC-32 of those bytes."""

    pictures: int
    start: int
    end: int
    crc: int


class Plan(NamedTuple):
    """What is embedded into which shard. Shards are numbered from 1.

    folder: of the plan.  source: a folder or a list of pictures.  model: arguments of `opened.open_model`.
    """

    folder: Path
    source: str
    model: dict
    parts: List[Part]

    @property
    def pictures(self):
        """How many pictures there are."""
        return sum(part.pictures for part in self.parts)

    @property
    def filled(self):
        """The numbers of the shards that have pictures: where there are few pictures, some have none."""
        return [number for number, part in enumerate(self.parts, 1) if part.pictures]

    def shard(self, number):
        """The folder of the index of a shard."""
        return self.folder / f"{number:06d}"

    def summary_file(self, number):
        """The file that says what became of a shard that is done."""
        return self.folder / f"{number:06d}.json"

    def summary(self, number):
        """What became of a shard that is done, as `filling.fill` returns it; None if it is not done."""
        try:
            return read_json(self.summary_file(number))
        except FileNotFoundError:
            return None

    def waiting(self):
        """The numbers of the shards that are not done."""
        return [number for number in self.filled if not self.summary_file(number).exists()]

    def done(self, number):
        """How many pictures of a shard are embedded, or left out."""
        if self.summary_file(number).exists():
            return self.parts[number - 1].pictures
        try:
            manifest = read_manifest(self.shard(number))
        except (ValueError, OSError):
            return 0
        return manifest["rows"] - manifest["dead"]

    def paths(self, number):
        """Yield the absolute paths of the pictures of a shard. Raises ValueError if they are not those of the plan."""
        part, file = self.parts[number - 1], self.folder / PICTURES
        crc, rest, left = 0, b"", part.end - part.start
        with open_regular(file) as names:
            names.seek(part.start)
            while left:
                data = names.read(min(BLOCK, left))
                if not data:
                    break
                crc, left = zlib.crc32(data, crc), left - len(data)
                *whole, rest = (rest + data).split(b"\0")
                yield from map(os.fsdecode, whole)
        if left or rest or crc != part.crc:
            raise ValueError(f"{file} is damaged: delete {self.folder}, and start again")


def place(out):
    """The folder of the plan of the index `out`, which is beside it."""
    out = Path(os.path.abspath(out))
    return out.with_name(f"{out.name}.shards")


def make(out, source, shards, model, skip_bad=False, left_out=None):
    """List the pictures of `source`, cut the list, write the Plan and return it; with the lock of its folder.

    Memory holds the names in one folder, and an eighth of a byte for each picture. skip_bad, left_out: see `tree.walk`.
    Raises ValueError as `sources.check` does.
    """
    sources.check(source)
    folder = place(out)
    starts, count, position = array("Q"), 0, 0  # starts: of the paths of each batch
    with replacing(folder / PICTURES) as temporary, open(temporary, "wb") as names, task(*LISTING) as doing:
        for path in sources.pictures_of(source, skip_bad, left_out):
            if count % BATCH == 0:
                starts.append(position)
            name = os.fsencode(path) + b"\0"
            names.write(name)
            count, position = count + 1, position + len(name)
            doing.update()
    starts.append(position)
    batches = math.ceil(count / BATCH)
    edges = [number * batches // shards for number in range(shards + 1)]
    parts = []
    with open_regular(folder / PICTURES) as names:
        for first, last in zip(edges, edges[1:]):
            crc, left = 0, starts[last] - starts[first]
            while left:
                data = names.read(min(BLOCK, left))
                crc, left = zlib.crc32(data, crc), left - len(data)
            parts.append(Part(min(last * BATCH, count) - min(first * BATCH, count), starts[first], starts[last], crc))
    plan = Plan(folder, os.path.abspath(source), model, parts)
    write_json(folder / NAME, dict(format=1, source=plan.source, model=model, parts=parts))
    return plan


def read(out):
    """The Plan of the index `out`. Raises ValueError if there is none, or if it cannot be read."""
    folder = place(out)
    try:
        values = read_json(folder / NAME)
        if values["format"] != 1:
            raise ValueError(f"format {values['format']!r}, and this version of gluon_cgd knows 1")
        parts = [Part(*map(int, part)) for part in values["parts"]]
        return Plan(folder, str(values["source"]), dict(values["model"]), parts)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(
            f"{out} is not being made in shards ({folder / NAME} is missing): index --images DIR --out {out} "
            "--shards N begins it"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / NAME} cannot be read ({error}): delete {folder}, and start again") from error


def check_number(plan, number):
    """Raise ValueError unless the shard `number` is one of the `plan`."""
    if not 1 <= number <= len(plan.parts):
        raise ValueError(f"shard {number} is not there: {plan.folder} has the shards 1 to {len(plan.parts)}")
