"""Pictures of an index that are not where they were: moved ones keep their embedding, others are gone.

A folder of which no picture is left may be on a disk that is not mounted. So what is gone is removed only where another
picture of that folder is left, where the picture was found again elsewhere, or if that is asked for. Memory holds some
twenty bytes for each picture that was not found, whatever the length of its path.
"""

import os
from typing import Dict, NamedTuple

import numpy as np

from gluon_cgd.datasets import tree
from gluon_cgd.retrieval.collection import is_in
from gluon_cgd.retrieval.finding import key_of, stamp_of

STEP = 1 << 14  # rows whose paths are read at a time
SPREAD = np.uint64(0x9E3779B97F4A7C15)  # odd: distributes sizes over all 64 bits


class Gone(NamedTuple):
    """Rows (n,) whose pictures are gone. kept: {folder: number of rows that only `--prune all` removes}."""

    rows: np.ndarray
    kept: Dict[str, int]


class Moves:
    """Finds the row of a picture that was moved: it has its name, size and time, and nothing is in its old place."""

    def __init__(self, snapshot):
        self._snapshot, self._keys = snapshot, None

    def _sort(self):
        """16 bytes for each picture, only where one is not where it was."""
        rows, every = np.flatnonzero(self._snapshot.live), self._snapshot.rows
        keys = _key(every["size"][rows], every["mtime_ns"][rows])
        order = np.argsort(keys, kind="stable")
        self._keys, self._rows = keys[order], rows[order]

    def row(self, path, stat, seen):
        """The row of the picture that is at `path` now, with its os.stat_result; -1 if there is none. `seen` rows are
        where they were."""
        if self._keys is None:
            self._sort()
        stamp = stamp_of(stat)
        key = _key(stamp[:1], stamp[1:])[0]
        first, last = (np.searchsorted(self._keys, key, side) for side in ("left", "right"))
        for row in self._rows[first:last]:
            record = self._snapshot.records([row])[0]
            if seen[row] or (record["size"], record["mtime_ns"]) != stamp:
                continue
            before = self._snapshot.path(row)
            if os.path.basename(before) == os.path.basename(path) and is_gone(before):
                return int(row)
        return -1


def _key(sizes, times):
    return (np.asarray(sizes, np.int64).view(np.uint64) * SPREAD) ^ np.asarray(times, np.int64).view(np.uint64)


def is_gone(path):
    """Whether nothing is at `path`. What cannot be looked at, as on a disk that does not answer, is not gone."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def paths_of(snapshot, rows):
    """Yield (row, path) of each of `rows` (n,), in constant memory."""
    for start in range(0, len(rows), STEP):
        part = rows[start : start + STEP]
        yield from zip(part.tolist(), map(os.fsdecode, snapshot.encoded(part)))
        snapshot.forget()


def paths_in(snapshot, folder):
    """Yield (row, path) of the live pictures in `folder`."""
    return (item for item in paths_of(snapshot, np.flatnonzero(snapshot.live)) if is_in(item[1], folder))


def refuse_alias(snapshot, folder, indexed):
    """Raise ValueError if pictures in `folder` are in the index by another path, through a link: each would be twice.

    folder: an absolute path.  indexed: the folders that the index was made of.
    """
    real = os.path.realpath(folder)
    for other in indexed:
        real_other = os.path.realpath(other)
        if is_in(real, real_other) and not is_in(folder, other):
            same = os.path.normpath(os.path.join(other, os.path.relpath(real, real_other)))
        elif is_in(real_other, real) and not is_in(other, folder):
            same = other
        else:
            continue
        known = any(True for _ in paths_in(snapshot, folder))
        if not known and any(os.path.exists(path) for _, path in paths_in(snapshot, same)):
            raise ValueError(
                f"the index has the pictures of {folder} as those of {same}, one folder (a link), and would find each "
                f"twice: name {same}, or make another index"
            )


def find_gone(snapshot, seen, folder, unknown, indexed, prune, current):
    """The Gone of the rows that were not `seen` (N,) while `folder` was gone through.

    unknown: folders in it, each with a slash, that could not be read; nothing of them is gone.
    indexed: the folders that the index was made of.  prune: "all" keeps nothing; without it only folders that are gone
    as a whole are looked at outside of `folder`.  current(): the Snapshot after the update.
    """
    rows = np.flatnonzero(snapshot.live & ~seen)
    removed, place_of_row, places = np.zeros(len(rows), bool), np.full(len(rows), -1, np.int32), {}
    folders = {*indexed, folder}
    suspect = folders if prune else {other for other in folders if is_gone(other)}
    alive, readable = set(), tree.endings()
    for number, (_, path) in enumerate(paths_of(snapshot, rows)):
        if is_in(path, folder):
            # The walk passes over endings that need a package which may have been there before
            is_walked = tree.ending_of(os.path.basename(path)) in readable
            removed[number] = not path.startswith(unknown) and (is_walked or is_gone(path))
            continue
        place = place_of(path, folders) if suspect else ""
        if not suspect or (not prune and place not in suspect):
            continue
        if is_gone(path):
            place_of_row[number] = places.setdefault(place, len(places))
        else:
            alive.add(place)
    gone = place_of_row >= 0
    if prune == "all":
        return Gone(rows[removed | gone], {})
    if seen.any():
        alive.update(place for place in places if is_in(folder, place))
    is_alive = np.array([place in alive for place in places] + [False])  # the last is that of -1
    removed |= is_alive[place_of_row]
    kept = np.flatnonzero(gone & ~removed)
    if prune and len(kept):
        removed[kept[_found_again(snapshot, rows[kept], current(), folder)]] = True
    counts = np.bincount(place_of_row[gone & ~removed], minlength=len(places))
    return Gone(rows[removed], {place: int(count) for place, count in zip(places, counts) if count})


def _found_again(snapshot, rows, current, folder):
    """bool (n,): whether a picture in `folder`, in the Snapshot `current`, has the name and size of that in `rows`."""
    keys = np.array([_name_key(path, snapshot.records([row])["size"][0]) for row, path in paths_of(snapshot, rows)])
    order = np.argsort(keys, kind="stable")
    keys, again = keys[order], np.zeros(len(rows), bool)
    for row, path in paths_in(current, folder):
        size = int(current.records([row])["size"][0])
        key = _name_key(path, size)
        first, last = (np.searchsorted(keys, key, side) for side in ("left", "right"))
        for number in order[first:last]:
            record = snapshot.records([rows[number]])[0]
            same = os.path.basename(snapshot.path(rows[number])) == os.path.basename(path)
            again[number] |= same and record["size"] == size
    return again


def _name_key(path, size):
    return np.uint64(key_of(f"{int(size)} {os.path.basename(path)}"))


def place_of(path, folders):
    """The innermost of `folders` that `path` is in, or else the folder of the picture itself."""
    place = os.path.dirname(path)
    while place not in folders:
        above = os.path.dirname(place)
        if above == place:
            return os.path.dirname(path)
        place = above
    return place
