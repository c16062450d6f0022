"""Pictures of an index that are not where they were: moved ones keep their embedding, others are gone.

A folder of which no picture is left may be on a disk that is not mounted. So what is gone is removed only where another
picture of that folder is left, where the picture was found again elsewhere, or if that is asked for.
"""

import os
from collections import defaultdict
from typing import Dict, List, NamedTuple

import numpy as np

from gluon_cgd.retrieval.collection import is_in

SPREAD = np.uint64(0x9E3779B97F4A7C15)  # odd: distributes sizes over all 64 bits


class Gone(NamedTuple):
    """Rows whose pictures are gone. kept: {folder: number of rows that only `--prune all` removes}."""

    rows: List[int]
    kept: Dict[str, int]


class Moves:
    """Finds the row of a picture that was moved: it has its name, size and time, and nothing is in its old place."""

    def __init__(self, snapshot):
        self._snapshot = snapshot
        rows = np.flatnonzero(snapshot.live)
        keys = _key(snapshot.rows["size"][rows], snapshot.rows["mtime_ns"][rows])
        order = np.argsort(keys, kind="stable")
        self._keys, self._rows = keys[order], rows[order]

    def row(self, path, stat, seen):
        """The row of the picture that is at `path` now, with its os.stat_result; -1 if there is none. `seen` rows are
        where they were."""
        key = _key(np.array([stat.st_size]), np.array([stat.st_mtime_ns]))[0]
        first, last = (np.searchsorted(self._keys, key, side) for side in ("left", "right"))
        for row in self._rows[first:last]:
            record = self._snapshot.rows[row]
            if seen[row] or (record["size"], record["mtime_ns"]) != (stat.st_size, stat.st_mtime_ns):
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


def rows_in(snapshot, folder, rows=None):
    """The live rows, or those of `rows`, whose pictures are in `folder`."""
    rows = np.flatnonzero(snapshot.live) if rows is None else rows
    return [int(row) for row in rows if is_in(snapshot.path(row), folder)]


def refuse_alias(snapshot, folder, indexed):
    """Raise ValueError if pictures in `folder` are in the index by another path, through a link: each would be twice.

    folder: an absolute path.  indexed: the folders that the index was made of.
    """
    real, rows = os.path.realpath(folder), np.flatnonzero(snapshot.live)
    known = any(is_in(snapshot.path(row), folder) for row in rows)
    for other in () if known else indexed:
        real_other = os.path.realpath(other)
        if is_in(real, real_other) and not is_in(folder, other):
            same = os.path.normpath(os.path.join(other, os.path.relpath(real, real_other)))
        elif is_in(real_other, real) and not is_in(other, folder):
            same = other
        else:
            continue
        if any(os.path.exists(snapshot.path(row)) for row in rows_in(snapshot, same)):
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
    inside = rows_in(snapshot, folder, rows)
    others = np.setdiff1d(rows, inside)
    inside = [row for row in inside if not snapshot.path(row).startswith(unknown)]
    folders = {*indexed, folder}
    suspect = folders if prune else {other for other in folders if is_gone(other)}
    gone, alive = defaultdict(list), set()
    for row in others if suspect else ():
        path = snapshot.path(row)
        place = place_of(path, folders)
        if not prune and place not in suspect:
            continue
        if is_gone(path):
            gone[place].append(int(row))
        else:
            alive.add(place)
    if seen.any():
        alive.update(place for place in gone if is_in(folder, place))
    if prune == "all":
        return Gone(inside + [row for rows in gone.values() for row in rows], {})
    kept = {place: rows for place, rows in gone.items() if place not in alive}
    removed = inside + [row for place, rows in gone.items() if place in alive for row in rows]
    if prune and kept:
        found = _names(current(), folder)
        for place, rows in kept.items():
            again = [row for row in rows if _name(snapshot, row) in found]
            removed += again
            kept[place] = sorted(set(rows) - set(again))
    return Gone(removed, {place: len(rows) for place, rows in kept.items() if rows})


def place_of(path, folders):
    """The innermost of `folders` that `path` is in, or else the folder of the picture itself."""
    place = os.path.dirname(path)
    while place not in folders:
        above = os.path.dirname(place)
        if above == place:
            return os.path.dirname(path)
        place = above
    return place


def _name(snapshot, row):
    return os.path.basename(snapshot.path(row)), int(snapshot.rows["size"][row])


def _names(snapshot, folder):
    """{(name, size)} of the pictures in `folder`."""
    return {_name(snapshot, row) for row in rows_in(snapshot, folder)}
