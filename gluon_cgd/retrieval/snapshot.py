"""A state of a collection, opened to be read: its files are mapped into memory and checked."""

import errno
import os
import zlib
from pathlib import Path

import numpy as np

from gluon_cgd.files.regular import open_regular
from gluon_cgd.machine.sentences import sentence
from gluon_cgd.retrieval import checksums
from gluon_cgd.retrieval.manifest import Damaged

FIELDS = [("key", "<u8"), ("start", "<i8"), ("length", "<i8"), ("size", "<i8"), ("mtime_ns", "<i8")]
ROWS = {1: np.dtype(FIELDS), 2: np.dtype([*FIELDS, ("sum", "<u8")])}  # by the format of the manifest
ROW = ROWS[2]
FILES = ("vectors", "rows", "names", "dead")


class Snapshot:
    """A collection as it was when it was opened; later writes do not change it.

    vectors (N, D): read-only, memory-mapped, of unit length once `check` has passed them.  live (N,): False for
    replaced and removed pictures. Raises FileNotFoundError for a missing file and Damaged for a wrong one.
    """

    def __init__(self, folder, manifest):
        self.folder, self.manifest = Path(folder), manifest
        self.dim, self.count = manifest["dim"], manifest["rows"]
        size = counted(manifest)
        mapped = {name: _mapped(data_file(folder, name, manifest["generation"]), size[name]) for name in FILES}
        for name in ("rows", "names"):
            self._check_sum(name, mapped[name])
        self.vectors = mapped["vectors"].view("<f4").reshape(-1, self.dim)
        self.rows, self._names = mapped["rows"].view(ROWS[manifest["format"]]), mapped["names"]
        self._check_names()
        self.live, self._checked = np.ones(self.count, bool), np.zeros(self.count, bool)
        self.live[self._dead(mapped["dead"])] = False

    def _check_sum(self, name, data):
        """Raise Damaged unless the bytes of the file `name` have the checksum in the manifest, if it has one."""
        if self.manifest["format"] > 1 and zlib.crc32(data) != self.manifest["crc"][name]:
            raise self._damaged(name, "its checksum is another")

    def _dead(self, data):
        """The rows that were replaced or removed, from the bytes of their file. Raises Damaged for impossible ones."""
        self._check_sum("dead", data)
        dead, rows = data.view("<i8"), self.manifest["rows"]
        if len(dead) and (dead.min() < 0 or dead.max() >= rows or len(np.unique(dead)) < len(dead)):
            raise self._damaged("dead", f"it names a row twice, or one that is not from 0 to {rows - 1}")
        return dead

    def _check_names(self):
        """Raise Damaged unless the paths of the rows are one behind the other and fill the file of names."""
        start, length = self.rows["start"], self.rows["length"]
        ends = start + length
        if self.count and not (
            start[0] == 0 and ends[-1] == len(self._names) and (length > 0).all() and (start[1:] == ends[:-1]).all()
        ):
            raise self._damaged("rows", "its paths are not those of the file of names")
        if not self._names.all():
            raise self._damaged("names", "a path holds a zero byte")

    def _damaged(self, name, reason):
        file = data_file(self.folder, name, self.manifest["generation"])
        return Damaged(f"{file} is damaged ({reason})", self.folder)

    def intact(self, rows):
        """bool (n,): whether the embeddings in `rows`, a slice or an array of rows, are as they were written.

        Those of a collection without checksums count as such if their length is 1.
        """
        if self.manifest["format"] > 1:
            return checksums.sums(self.vectors[rows]) == self.rows["sum"][rows]
        return checksums.are_unit(self.vectors[rows])

    def check(self, rows):
        """Raise Damaged unless `rows`, a slice or an array of rows, are `intact`; a row is compared once."""
        if self._checked[rows].all():
            return
        intact = self.intact(rows)
        if not intact.all():
            row = np.arange(self.count)[rows][np.argmin(intact)]
            raise self._damaged("vectors", f"the embedding of {self.path(row)} is not what was written")
        self._checked[rows] = True

    def path(self, row):
        """The path of the picture in `row`."""
        _, start, length, *_ = self.rows[row].item()
        return os.fsdecode(self._names[start : start + length].tobytes())

    def paths(self, first=0):
        """The paths of the pictures in the rows from `first` on, as bytes. Faster than `path` for many."""
        starts, ends = self.rows["start"][first:], (self.rows["start"] + self.rows["length"])[first:]
        names = self._names.tobytes()
        return [names[start:end] for start, end in zip(starts.tolist(), ends.tolist())]

    def __len__(self):
        return int(self.live.sum())


def counted(manifest):
    """{file: how many of its bytes count}."""
    sizes = dict(vectors=4 * manifest["dim"], rows=ROWS[manifest["format"]].itemsize)
    vectors, rows = (manifest["rows"] * sizes[name] for name in ("vectors", "rows"))
    return dict(vectors=vectors, rows=rows, names=manifest["names"], dead=manifest["dead"] * 8)


def data_file(folder, name, generation):
    """The path of the file `name`. Compacting begins files of a new generation."""
    return Path(folder) / f"{name}-{generation}.bin"


def is_no_file(error):
    """Whether the `error` of opening a file says that something else is in its place, not that the disk is at fault."""
    return isinstance(error, (ValueError, IsADirectoryError)) or error.errno == errno.ELOOP


def _mapped(file, size):
    """The first `size` bytes of `file`, read-only. Raises FileNotFoundError, and Damaged if there are fewer."""
    try:
        handle = open_regular(file)
    except (ValueError, OSError) as error:
        if not is_no_file(error):
            raise
        raise Damaged(f"{file} is damaged ({sentence(error)})", file.parent) from error
    with handle:
        there = os.fstat(handle.fileno()).st_size
        if there < size:
            raise Damaged(f"{file} is damaged ({there:,} bytes where {size:,} are counted)", file.parent)
        return np.asarray(np.memmap(handle, np.uint8, "r", shape=(size,))) if size else np.empty(0, np.uint8)
