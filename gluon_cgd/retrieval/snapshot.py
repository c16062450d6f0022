"""A state of a collection, opened to be read: its files are mapped into memory and checked."""

import os
import zlib
from pathlib import Path

import numpy as np

from gluon_cgd.retrieval import blocks, checksums, stores
from gluon_cgd.retrieval.manifest import Damaged
from gluon_cgd.retrieval.mapping import advise, mapped, release

FIELDS = [("key", "<u8"), ("start", "<i8"), ("length", "<i8"), ("size", "<i8"), ("mtime_ns", "<i8")]
ROWS = {1: np.dtype(FIELDS), 2: np.dtype([*FIELDS, ("sum", "<u8")])}  # by the format of the manifest
ROW = ROWS[2]
FORGET = 64  # blocks that are compared, after which the memory of what was read is given back
FILES = ("vectors", "rows", "names", "dead")
HELD = 2**29  # bytes of embeddings that are read before the memory that they are mapped into is given back
PAGES = 2**21  # bytes that the system maps where one byte is read, at most: 64 kB is usual, Linux 6.18 maps 2 MB


class Snapshot:
    """A collection as it was when it was opened; later writes do not change it.

    vectors (N, D): read-only, memory-mapped, of unit length once `check` has passed them.  stored (N, width): their
    bytes (see `stores`).  live (N,): False for replaced and removed pictures. Opening reads neither rows nor paths nor
    vectors: what is damaged in them is noticed when it is used. Raises FileNotFoundError for a missing file and Damaged
    for a wrong one.
    """

    _read = 0  # bytes of embeddings since memory was given back
    _how = "MADV_NORMAL"  # the system is told to expect: reading on, or here and there

    def __init__(self, folder, manifest):
        self.folder, self.manifest = Path(folder), manifest
        self.dim, self.count = manifest["dim"], manifest["rows"]
        size = counted(manifest)
        files = {name: mapped(data_file(folder, name, manifest["generation"]), size[name]) for name in FILES}
        self.stored = files["vectors"].reshape(-1, stores.width_of(manifest))
        self.vectors = stores.opened(self.stored, manifest)
        self._rows, self._names = files["rows"].view(ROWS[manifest["format"]]), files["names"]
        self._blocks, self._checked = blocks.read(folder, manifest), np.zeros(self.count, bool)
        if self._blocks is None:
            for name in ("rows", "names"):
                self._check_sum(name, files[name])
            self._check_names(slice(0, self.count), 0, len(self._names))
            self._known = np.ones(-(-self.count // blocks.ROWS), bool)
        else:
            self._known = np.zeros(len(self._blocks), bool)
            self._check_blocks([len(self._known) - 1] * (self.count > 0))  # so files of another index are noticed now
        self.live = np.ones(self.count, bool)
        self.live[self._dead(files["dead"])] = False

    @property
    def has_blocks(self):
        """Whether there are checksums of blocks. Without them opening has compared all rows and paths."""
        return self._blocks is not None

    def _check_sum(self, name, data):
        """Raise Damaged unless the bytes of the file `name` have the checksum in the manifest, if it has one."""
        if self.manifest["format"] > 1 and zlib.crc32(data) != self.manifest["crc"][name]:
            raise self._damaged(name, "its checksum is another")

    def _dead(self, data):
        """The rows that were replaced or removed, from the bytes of their file. Raises Damaged for impossible ones."""
        self._check_sum("dead", data)
        dead, rows = data.view("<i8"), self.manifest["rows"]
        if len(dead) and (dead.min() < 0 or dead.max() >= rows or repeats(dead, rows)):
            raise self._damaged("dead", f"it names a row twice, or one that is not from 0 to {rows - 1}")
        return dead

    def _check_names(self, part, first, last):
        """Raise Damaged unless the paths of the rows `part`, a slice, are the bytes `first` to `last` of the names."""
        start, length = self._rows["start"][part], self._rows["length"][part]
        ends = start + length
        if len(start) and not (
            start[0] == first and ends[-1] == last and (length > 0).all() and (start[1:] == ends[:-1]).all()
        ):
            raise self._damaged("rows", "its paths are not those of the file of names")
        if not self._names[first:last].all():
            raise self._damaged("names", "a path holds a zero byte")

    def _check_blocks(self, numbers):
        """Raise Damaged unless the rows of the blocks `numbers`, and their paths, are those that were written."""
        for number in numbers:
            part = slice(number * blocks.ROWS, min((number + 1) * blocks.ROWS, self.count))
            first, block = int(self._blocks["end"][number - 1]) if number else 0, self._blocks[number]
            if zlib.crc32(self._rows[part].view(np.uint8)) != block["rows"]:
                raise self._damaged("rows", f"rows {part.start:,} to {part.stop - 1:,} have another checksum")
            if zlib.crc32(self._names[first : int(block["end"])]) != block["names"]:
                raise self._damaged("names", f"paths {part.start:,} to {part.stop - 1:,} have another checksum")
            self._check_names(part, first, int(block["end"]))
            self._known[number] = True
            if number % FORGET == 0:
                release(self._rows)
                release(self._names)

    def _know(self, rows):
        """Compare the blocks of `rows`, a slice or an array of rows, that were not compared yet."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(self.count)
            first, last = start // blocks.ROWS, -(-stop // blocks.ROWS)
            self._check_blocks(first + np.flatnonzero(~self._known[first:last]))
        else:
            numbers = np.asarray(rows) // blocks.ROWS
            if not self._known[numbers].all():
                self._check_blocks(np.unique(numbers[~self._known[numbers]]))

    @property
    def rows(self):
        """The records (N,) of all rows, compared with their checksums."""
        return self.records(slice(None))

    def records(self, rows):
        """The records of `rows`, a slice or an array of rows: "key", "size", "mtime_ns", ... Compares only those."""
        self._know(rows)
        return self._rows[rows]

    def _damaged(self, name, reason):
        file = data_file(self.folder, name, self.manifest["generation"])
        return Damaged(f"{file} is damaged ({reason})", self.folder)

    def intact(self, rows):
        """bool (n,): whether the embeddings in `rows`, a slice or an array of rows, are as they were written.

        Those of a collection without checksums count as such if their length is 1.
        """
        if self.manifest["format"] > 1:
            return checksums.sums(self.stored[rows].view("<f4")) == self.records(rows)["sum"]
        return checksums.are_unit(self.vectors[rows])

    def check(self, rows):
        """Raise Damaged unless `rows`, a slice or an array of rows, are `intact`; a row is compared once.

        What is read is checked before. So here the mapped memory of what was read is given back after HELD bytes.
        """
        checked = self._checked[rows]
        reads = len(checked) * (4 * self.dim if isinstance(rows, slice) else max(4 * self.dim, PAGES))
        self._read += reads
        if self._read > HELD:
            release(self.stored)
            self._read = reads
        how = "MADV_NORMAL" if isinstance(rows, slice) else "MADV_RANDOM"  # reads not more than what is asked for
        if how != self._how:
            advise(self.stored, how)
            self._how = how
        if checked.all():
            return
        intact = self.intact(rows)
        if not intact.all():
            row = np.arange(self.count)[rows][np.argmin(intact)]
            raise self._damaged("vectors", f"the embedding of {self.path(row)} is not what was written")
        self._checked[rows] = True

    def embeddings(self, rows):
        """float32 (n, D): the embeddings in `rows`, an array of rows, once they are checked.

        They are read in pieces, so that no more than HELD bytes of the file are mapped for them at a time.
        """
        found, step = np.empty((len(rows), self.dim), np.float32), HELD // max(4 * self.dim, PAGES)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            self.check(rows[part])
            found[part] = self.vectors[rows[part]]
        return found

    def path(self, row):
        """The path of the picture in `row`."""
        if not self._known[row // blocks.ROWS]:
            self._check_blocks([row // blocks.ROWS])
        _, start, length, *_ = self._rows[row].item()
        return os.fsdecode(self._names[start : start + length].tobytes())

    def paths(self, first=0):
        """Yield the paths of the pictures in the rows from `first` on, as bytes, in constant memory."""
        for start in range(first, self.count, FORGET * blocks.ROWS):
            yield from self.encoded(slice(start, start + FORGET * blocks.ROWS))
            self.forget()

    def encoded(self, rows):
        """The paths, as bytes, of the pictures in `rows`, a slice or an array of rows."""
        records, names = self.records(rows), memoryview(self._names)
        starts, ends = records["start"], records["start"] + records["length"]
        return [names[start:end].tobytes() for start, end in zip(starts.tolist(), ends.tolist())]

    def forget(self):
        """Give the memory back that holds what was read of the files; the next use reads it again, from the cache."""
        for array in (self.stored, self._rows, self._names):
            release(array)

    def __len__(self):
        return int(self.live.sum())


def counted(manifest):
    """{file: how many of its bytes count}."""
    sizes = dict(vectors=stores.width_of(manifest), rows=ROWS[manifest["format"]].itemsize)
    vectors, rows = (manifest["rows"] * sizes[name] for name in ("vectors", "rows"))
    return dict(vectors=vectors, rows=rows, names=manifest["names"], dead=manifest["dead"] * 8)


def data_file(folder, name, generation):
    """The path of the file `name`. Compacting begins files of a new generation."""
    return Path(folder) / f"{name}-{generation}.bin"


def repeats(rows, count):
    """Whether `rows` (n,), each from 0 to `count` - 1, names one twice."""
    seen = np.zeros(count, bool)
    seen[rows] = True
    return np.count_nonzero(seen) < len(rows)
