"""Bring a collection up to date with a folder: only new and changed pictures are embedded."""

import logging
import os
from dataclasses import dataclass, field
from itertools import islice
from typing import Dict, List

import numpy as np

from gluon_cgd.datasets import images, tree
from gluon_cgd.evaluate import compute_named
from gluon_cgd.retrieval import collection, sources
from gluon_cgd.retrieval.finding import stamp_of
from gluon_cgd.retrieval.gone import Moves, find_gone, is_gone, paths_in, refuse_alias
from gluon_cgd.retrieval.snapshot import Snapshot

log = logging.getLogger(__name__)
BATCH = 64  # pictures that are embedded and committed at a time
MOVED = 1 << 12  # embeddings of moved pictures that are copied at a time
PRUNED = 1 << 20  # rows that are removed at a time


@dataclass
class Changes:
    """What an update did, in pictures. `bad` has a sentence for each that could not be read.

    moved: found at another path, with the embedding they had.  gone: still in the index though their files are gone.
    kept: {folder: how many of them}, of folders that have no picture left, which only prune="all" removes.
    """

    found: int = 0
    added: int = 0
    changed: int = 0
    moved: int = 0
    same: int = 0
    removed: int = 0
    gone: int = 0
    kept: Dict[str, int] = field(default_factory=dict)
    bad: List[str] = field(default_factory=list)
    left_out: tree.LeftOut = field(default_factory=tree.LeftOut)


def update(writer, folder, embed, side, prune=False, skip_bad=False, batch=BATCH, paths=None):
    """Bring the collection of `writer` up to date with `folder`; yields the Changes after each commit.

    folder: of pictures, or a list of them (see `sources`).  paths: the absolute paths of those of its pictures that are
    wanted, instead of all.
    embed: a list of pictures, uint8 (side, side, 3) -> (N, D).  prune: remove pictures that are gone, from `folder` and
    from others; "all": also those of a folder that has no picture left.
    skip_bad: skip pictures and folders that cannot be read; without it the first one stops the update, which keeps what
    was before it. What the index knows of such a folder is not gone.
    A picture is known by its path; it has changed if its size or its time of change differs.
    Raises ValueError for a folder without pictures, for a picture that cannot be read, and for a wrong embedding.
    """
    there = paths is not None or has_pictures(folder, writer, prune)
    changes, snapshot = Changes(), Snapshot(writer.folder, writer.manifest)
    seen, moved = np.zeros(snapshot.count, bool), []  # moved: [(path, stat, row before), ...], not committed yet
    if not sources.is_list(folder):
        refuse_alias(snapshot, os.path.abspath(folder), writer.manifest["folders"])
    paths = sources.pictures_of(folder, skip_bad, changes.left_out) if there and paths is None else paths

    def load(item):
        path, stat, _ = item
        if stat is None:
            raise ValueError(f"{path} cannot be read (it is gone, or a link to nothing): remove it")
        return images.load_picture(path, side)

    items = _changed(paths, writer, snapshot, seen, moved, changes) if there else ()
    loaded = images.load_ahead(load, items, batch)
    for chunk in iter(lambda: list(islice(loaded, batch)), []):
        _commit(writer, chunk, embed, changes, skip_bad)
        _move(writer, snapshot, moved, changes)
        yield changes
    _move(writer, snapshot, moved, changes)
    unknown = tuple(os.path.join(place, "") for place in changes.left_out.unreadable + changes.left_out.broken)
    indexed, folder = writer.manifest["folders"], os.path.abspath(folder)
    gone = find_gone(snapshot, seen, folder, unknown, indexed, prune, lambda: Snapshot(writer.folder, writer.manifest))
    for start in range(0, len(gone.rows) if prune else 0, PRUNED):
        writer.commit(np.empty((0, snapshot.dim)), [], [], gone.rows[start : start + PRUNED])
    changes.removed = len(gone.rows) if prune else 0
    changes.kept, changes.gone = gone.kept, len(gone.rows) - changes.removed + sum(gone.kept.values())
    yield changes


def has_pictures(folder, index=None, prune=False):
    """Whether `folder` holds pictures. Raises ValueError if not, unless `prune` is "all" and the index has some of it.

    index: the Snapshot or the Writer of the index, if there is one.
    """
    try:
        sources.check(folder)
        return True
    except ValueError as error:
        known = None if index is None else Snapshot(index.folder, index.manifest)
        indexed = 0 if known is None else sum(1 for _ in paths_in(known, os.path.abspath(folder)))
        if not indexed:
            raise
        if prune != "all":
            raise ValueError(
                f"{error}; the index has {indexed:,} pictures of it: mount its disk, or say --prune all to remove them"
            ) from error
        return False


def _changed(paths, writer, snapshot, seen, moved, changes):
    """Yield (path, stat or None, row before or -1) of each new and changed picture; sets `seen` and counts.

    A picture that was moved goes into the list `moved`, as (path, stat, row before), which is committed when long.
    """
    finder, moves = collection.Finder(snapshot), Moves(snapshot)
    for path in paths:
        changes.found += 1
        row = finder.row(path)
        try:
            stat = os.stat(path)
        except OSError:
            stat = None
        if row >= 0:
            if stat or not is_gone(path):
                seen[row] = True
            if stat and finder.stamp(row) == stamp_of(stat):
                changes.same += 1
                continue
        elif stat:
            before = moves.row(path, stat, seen)
            if before >= 0:
                seen[before] = True
                moved.append((path, stat, before))
                if len(moved) >= MOVED:
                    _move(writer, snapshot, moved, changes)
                continue
        yield path, stat, row


def _move(writer, snapshot, moved, changes):
    """Give each of the pictures `moved`, [(path, stat, row before), ...], its new path, and empty the list."""
    if moved:
        paths, stats, rows = zip(*moved)
        rows = np.array(rows)
        snapshot.check(rows)
        writer.commit(snapshot.vectors[rows], paths, stats, rows)
        snapshot.forget()
        changes.moved += len(moved)
        moved.clear()


def _commit(writer, chunk, embed, changes, skip_bad):
    """Embed and commit the pictures of `chunk`, [((path, stat, row), picture or error), ...].

    Without skip_bad raises ValueError for the first error, after it has committed the pictures before it.
    """
    errors = [i for i, (_, picture) in enumerate(chunk) if isinstance(picture, Exception)]
    end = len(chunk) if skip_bad or not errors else errors[0]
    bad = [chunk[i] for i in errors if i < end]
    good = [(*item, picture) for item, picture in chunk[:end] if not isinstance(picture, Exception)]
    paths, stats, rows, pictures = zip(*good) if good else ((), (), (), ())
    vectors = (
        unit(compute_named(embed, list(pictures), paths), paths) if good else np.empty((0, writer.manifest["dim"]))
    )
    # The old embedding of a picture that has become unreadable goes too; not that of one whose file is not there
    dead = [row for row in (*rows, *(row for (_, stat, row), _ in bad if stat)) if row >= 0]
    if good or dead:
        writer.commit(vectors, paths, stats, dead)
    changes.added += sum(row < 0 for row in rows)
    changes.changed += sum(row >= 0 for row in rows)
    for _, error in bad:
        changes.bad.append(str(error))
        log.warning("left out: %s", error)
    if end < len(chunk):
        raise ValueError(
            f"{chunk[end][1]}; the {changes.added + changes.changed:,} pictures before it are in the index. Mend or "
            "remove it and start again, or say --skip-bad to leave such pictures out"
        )


def unit(vectors, paths):
    """`vectors` (N, D) as float32 of unit length. Raises ValueError, naming the picture, for one without direction."""
    vectors = np.asarray(vectors, np.float64)
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    wrong = ~(np.isfinite(lengths) & (lengths > 1e-6))
    if wrong.any():
        raise ValueError(
            f"the embedding of {paths[int(np.argmax(wrong))]} is zero, NaN or infinite: this model cannot tell "
            "pictures apart, take another checkpoint"
        )
    return (vectors / lengths[:, None]).astype(np.float32)


def query_of(embed, pictures, names):
    """The mean (1, D) of the pictures' unit embeddings, of unit length. Raises ValueError as `unit` does."""
    return unit(
        unit(compute_named(embed, pictures, names), names).astype(np.float64).mean(axis=0, keepdims=True), names
    )
