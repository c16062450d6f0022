"""The lists of all cells in one file, as FAISS's OnDiskInvertedLists has them: of a cell its codes, then its rows.

In front of them stands how long each is. It is written from the codes in the order of the rows, one list after the
other: memory holds 16 bytes of each row at most, and a list.
"""

import importlib
import itertools
import os
import zlib

import numpy as np

from gluon_cgd.files.whole import replacing
from gluon_cgd.ondisk import state as states
from gluon_cgd.ondisk.choice import ID
from gluon_cgd.ondisk.encoding import mapped

STEP = 2**17  # rows whose cells are read at a time
NO_CELL = 2**32 - 1  # of a dead row
ALIGNED = 8  # a list has room for a multiple of it, so that its rows lie on a multiple of 8 bytes


def merge(snapshot, folder, state):
    """The State whose lists hold all live rows that have a code. Raises ValueError for a damaged cell."""
    _, codes = mapped(folder, state)
    of_cell = _cell_bytes(state.lists)
    cells, sizes = _cells(codes[:, :of_cell], snapshot.live[: state.rows], state.lists)
    if len(sizes) > state.lists:
        raise states.unusable(folder, f"{states.codes_file(folder, state.token)} is damaged (it names a cell too many)")
    order = np.argsort(cells, kind="stable")[: sizes.sum()]  # the dead rows are last
    del cells
    file, crc = folder / f"lists-{states.new_token()}.bin", 0
    with replacing(file) as temporary, open(temporary, "wb") as out:
        for part in itertools.chain([sizes.astype("<i8").tobytes()], _parts(codes[:, of_cell:], order, sizes)):
            out.write(part)
            crc = zlib.crc32(part, crc)
        out.flush()
        size = out.tell()
    dead = int(snapshot.count - len(snapshot))
    state = state._replace(merged=states.Lists(file.name, state.rows, dead, size, crc))
    states.write_state(folder, state)
    return state


def check(folder, state):
    """Raise ValueError unless the file of the lists is as it was written."""
    crc, file = 0, folder / state.merged.file
    with open(file, "rb") as handle:
        for part in iter(lambda: handle.read(2**23), b""):
            crc = zlib.crc32(part, crc)
    if crc != state.merged.crc:
        raise states.unusable(folder, f"{file} is damaged (its checksum is another)")


def opened(folder, state, code):
    """FAISS's inverted lists of codes of `code` bytes, memory-mapped. Raises ValueError for a file of another size."""
    faiss, file = importlib.import_module("faiss"), folder / state.merged.file
    there = os.path.getsize(file) if file.is_file() and not file.is_symlink() else -1
    if there != state.merged.size:
        raise states.unusable(folder, f"{file} has {there:,} bytes and not {state.merged.size:,}")
    sizes = np.fromfile(file, "<i8", state.lists)
    rooms = -(-sizes // ALIGNED) * ALIGNED
    starts = 8 * state.lists + np.cumsum(rooms * (code + ID)) - rooms * (code + ID)
    if sizes.min() < 0 or 8 * state.lists + int((rooms * (code + ID)).sum()) != there:
        raise states.unusable(folder, f"{file} is damaged (its lists do not fill it)")
    table = faiss.OnDiskOneListVector()
    for size, room, start in zip(sizes.tolist(), rooms.tolist(), starts.tolist()):
        one = faiss.OnDiskOneList()
        one.size, one.capacity, one.offset = size, room, start
        table.push_back(one)
    lists = faiss.OnDiskInvertedLists(state.lists, code, str(file))
    lists.lists, lists.totsize, lists.read_only = table, there, True
    lists.prefetch_nthread = 0  # starting its threads takes more time than reading what is in the system's cache
    lists.do_mmap()
    return lists


def _cell_bytes(lists):
    """How many bytes FAISS writes for the number of a cell in front of a code."""
    return (max(0, lists - 1).bit_length() + 7) // 8


def _cells(numbers, live, lists):
    """(the cell of each row, uint32 (N,), NO_CELL for a dead one; the live rows of each cell, int64 (lists,)).

    numbers: uint8 (N, n), as FAISS writes them.  live: bool (N,). The second is longer if a cell is not there.
    """
    cells, sizes = np.full(len(numbers), NO_CELL, np.uint32), np.zeros(lists, np.int64)
    for start in range(0, len(numbers), STEP):
        rows = slice(start, start + STEP)
        wide = (numbers[rows].astype(np.int64) << (8 * np.arange(numbers.shape[1]))).sum(axis=1)
        found = np.bincount(wide[live[rows]], minlength=lists)
        if len(found) > lists:
            return cells, found
        sizes += found
        cells[rows] = np.where(live[rows], wide, NO_CELL)
    return cells, sizes


def _parts(codes, order, sizes):
    """Yield the bytes of each list: the codes (n, code) of its rows, its rows, both filled up to its room."""
    ends = np.cumsum(sizes)
    for size, end in zip(sizes.tolist(), ends.tolist()):
        rows, spare = order[end - size : end], -size % ALIGNED
        if size:
            yield codes[rows].tobytes() + bytes(spare * codes.shape[1])
            yield rows.astype("<i8").tobytes() + bytes(spare * ID)
