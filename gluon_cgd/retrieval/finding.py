"""Finds the row of a path in a Snapshot."""

import hashlib
import os
import threading

import numpy as np

from gluon_cgd.retrieval import blocks

FORGET = 64  # blocks after which the memory of what was read is given back
STREAK = 8  # rows that were asked for in their order, after which a block of paths is read at once


def stamp_of(stat):
    """(size, time of change in ns) of an os.stat_result, as the index holds them: 64 bits each.

    A time beyond the year 2262, as a wrong clock gives it, has more and is wrapped.
    """
    return stat.st_size, (stat.st_mtime_ns + 2**63) % 2**64 - 2**63


class Finder:
    """Finds the row of a path in a Snapshot.

    It looks first behind the row that it found last: a folder is mostly gone through in the order of the rows. Only
    once that fails it needs memory, 16 bytes for each picture. Several threads may call `rows_of`, one the rest.
    """

    def __init__(self, snapshot):
        self._snapshot, self._keys, self._next, self._streak = snapshot, None, 0, 0
        self._first, self._paths, self._stamps = 0, [], []  # of a block of rows
        self._building = threading.Lock()

    def row(self, path):
        """The row of the picture `path`, or -1 if it has none."""
        row = self._next
        place = row - self._first
        if not (0 <= place < len(self._paths) and self._paths[place] == path and self._snapshot.live[row]):
            row = self._look_up(path)
        if row >= 0:
            self._next = row + 1
        return row

    def stamp(self, row):
        """As `stamp_of`, of the picture in `row` when it was indexed."""
        place = row - self._first
        if 0 <= place < len(self._stamps):
            return self._stamps[place]
        record = self._snapshot.records(slice(row, row + 1))[0]
        return int(record["size"]), int(record["mtime_ns"])

    def _look_up(self, path):
        """As `row`, for a path that is not the next one of the block in memory."""
        snapshot = self._snapshot
        while self._next < snapshot.count and not snapshot.live[self._next]:
            self._next += 1
        row = self._next
        if row < snapshot.count:
            if self._streak >= STREAK:
                self._read(row)
            if snapshot.path(row) == path:
                self._streak += 1
                return row
        self._streak = 0
        return next((int(row) for row in self.rows_of(key_of(path)) if snapshot.path(row) == path), -1)

    def _read(self, first):
        """Hold the paths of the rows from `first` to the end of its block."""
        if first // blocks.ROWS % FORGET == 0:
            self._snapshot.forget()
        part = slice(first, (first // blocks.ROWS + 1) * blocks.ROWS)
        records = self._snapshot.records(part)
        self._first, self._paths = first, [os.fsdecode(path) for path in self._snapshot.encoded(part)]
        self._stamps = list(zip(records["size"].tolist(), records["mtime_ns"].tolist()))

    def rows_of(self, key):
        """The rows of the pictures whose path has this `key`: none or one, unless two paths have one hash."""
        with self._building:
            if self._keys is None:
                rows = np.flatnonzero(self._snapshot.live)
                keys = self._snapshot.rows["key"][rows]
                order = np.argsort(keys, kind="stable")
                self._keys, self._rows = keys[order], rows[order]
        first, last = (np.searchsorted(self._keys, np.uint64(key), side) for side in ("left", "right"))
        return self._rows[first:last]


def key_of(path):
    """64 bits of a hash of `path`."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=8).digest(), "little")
