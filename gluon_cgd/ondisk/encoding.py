"""The codes of a collection's rows, a block at a time: each block counts when it is on the disk.

A row whose vector has a code already, known by its checksum, is not encoded again: so rows can be renumbered, as by
`index --compact`, without any work on their vectors.
"""

import os
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from gluon_cgd.files.whole import sync_folder
from gluon_cgd.machine import facts
from gluon_cgd.ondisk import state as states
from gluon_cgd.ondisk.training import sums_of

BLOCK = 2**26  # bytes of vectors that are encoded at a time


class Known:
    """The codes of an earlier state, by the checksums of their vectors: 16 bytes of memory a row.

    Raises ValueError unless they are as they were written.
    """

    def __init__(self, folder, state):
        check(folder, state)
        sums, codes = mapped(folder, state)
        self._order = np.argsort(sums, kind="stable")
        self._sums, self._codes = sums[self._order], codes

    def rows(self, sums):
        """int64 (n,): the rows of the earlier state whose vectors have these `sums`, -1 for none."""
        if not len(self._sums):
            return np.full(len(sums), -1)
        places = np.minimum(np.searchsorted(self._sums, sums), len(self._sums) - 1)
        return np.where(self._sums[places] == sums, self._order[places], -1)

    def codes(self, rows):
        """uint8 (n, width): the codes of `rows`."""
        return self._codes[rows]


def mapped(folder, state):
    """(checksums (N,), codes (N, width)) of the rows of `state`, memory-mapped. Raises ValueError for missing bytes."""
    files = states.sums_file(folder, state.token), states.codes_file(folder, state.token)
    sizes = 8 * state.rows, state.width * state.rows
    parts = []
    for file, size in zip(files, sizes):
        there = os.path.getsize(file) if file.is_file() and not file.is_symlink() else -1
        if there < size:
            raise states.unusable(folder, f"{file} is cut off")
        parts.append(np.memmap(file, np.uint8, "r", shape=(size,)) if size else np.empty(0, np.uint8))
    return parts[0].view("<u8"), parts[1].reshape(state.rows, state.width)


def check(folder, state):
    """Raise ValueError unless the codes are as they were written."""
    _, codes = mapped(folder, state)
    total, step = 0, max(1, BLOCK // max(state.width, 1))
    for start in range(0, state.rows, step):
        total = zlib.crc32(codes[start : start + step], total)
    if total != state.crc:
        file = states.codes_file(folder, state.token)
        raise states.unusable(folder, f"{file} is damaged (its checksum is another)")


def encode(snapshot, folder, state, index, known=None, progress=None):
    """The State in which all rows of `snapshot` have a code. Killed at any moment, it goes on.

    index: what was learned.  known: Known codes that are taken over.  progress: is called with the rows done.
    Raises OSError, naming the folder, if they cannot be written.
    """
    files = [open_to_write(place(folder, state.token)) for place in (states.codes_file, states.sums_file)]
    step = max(1, BLOCK // (4 * snapshot.dim))
    try:
        sync_folder(folder)
        while state.rows < snapshot.count:
            rows = slice(state.rows, min(state.rows + step, snapshot.count))
            sums = np.ascontiguousarray(sums_of(snapshot, rows), "<u8")
            codes = _codes(snapshot, rows, sums, index, state.width, known)
            for file, data, width in zip(files, (codes, sums), (state.width, 8)):
                file.seek(width * state.rows)
                file.write(data.tobytes())
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
            before = state.before if rows.stop < snapshot.count else None
            state = state._replace(rows=rows.stop, crc=zlib.crc32(codes, state.crc), before=before)
            states.write_state(folder, state)
            if progress:
                progress(state.rows)
    except OSError as error:
        error.filename = error.filename or os.fspath(folder)  # a full disk does not say of which file
        raise
    finally:
        for file in files:
            file.close()
    return state


def open_to_write(file):
    """The file, made if need be, opened to be written anywhere; never through a link."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(file, flags, 0o666), "r+b")


def _codes(snapshot, rows, sums, index, width, known):
    """uint8 (n, width): the codes of `rows`, a slice."""
    codes, new = np.empty((len(sums), width), np.uint8), np.ones(len(sums), bool)
    if known:
        before = known.rows(sums)
        new = before < 0
        codes[~new] = known.codes(before[~new])
    if new.any():
        where = rows.start + np.flatnonzero(new)
        snapshot.check(rows if new.all() else where)
        vectors = snapshot.vectors[rows] if new.all() else snapshot.vectors[where]
        codes[new] = _by_each_core(index.sa_encode, np.ascontiguousarray(vectors))
    return codes


def _by_each_core(encode, vectors):
    """encode(vectors), each core with its part: of FAISS's own threads all but one wait for its products."""
    cores = min(facts.cores(), len(vectors))
    with ThreadPoolExecutor(cores) as pool:
        return np.concatenate(list(pool.map(encode, np.array_split(vectors, cores))))
