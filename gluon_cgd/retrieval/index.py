"""People's own pictures into a collection: what is new or changed is embedded, what is there stays as it is."""

import logging
import os
from dataclasses import dataclass, field
from itertools import islice
from typing import List

import numpy as np

from gluon_cgd.datasets import folders, images
from gluon_cgd.retrieval import collection

log = logging.getLogger(__name__)
BATCH = 64  # pictures that are embedded, and then are in the collection, at a time


@dataclass
class Told:
    """What an update did, in pictures. `bad` has a sentence for each that could not be read."""

    found: int = 0
    added: int = 0
    changed: int = 0
    same: int = 0
    removed: int = 0
    gone: int = 0
    bad: List[str] = field(default_factory=list)


def pictures_under(folder):
    """Yield the absolute paths of all pictures in `folder` and its subfolders, in order of names, hidden ones left out.

    Raises OSError for a folder that cannot be listed.
    """

    def refuse(error):
        raise error

    for path, is_picture in folders.walk(os.path.abspath(folder), onerror=refuse):
        if is_picture:
            yield path


def update(writer, folder, embed, side, prune=False, skip_bad=False, batch=BATCH):
    """Bring what the collection of `writer` holds of `folder` up to date; yields a Told whenever more of it is safe.

    embed: a list of pictures, uint8 (side, side, 3) -> (N, D).  prune: take out what is not in the folder any more.
    skip_bad: leave out pictures that cannot be read; without, the first one ends it, when all before it are in.
    A picture is known by its path, and has changed when its size or its time of change has.
    Raises ValueError for a folder without pictures, for a picture that cannot be read, and for a wrong embedding.
    """
    folders.check_pictures(folder)
    folder = os.path.abspath(folder)
    told = Told()
    snapshot = collection.Snapshot(writer.folder, writer.manifest)
    finder, seen = collection.Finder(snapshot), np.zeros(snapshot.count, bool)
    work = _changed(folder, snapshot, finder, seen, told)

    def load(item):
        path, stat, _ = item
        if isinstance(stat, OSError):
            raise stat
        return images.load_picture(path, side)

    loaded = images.load_ahead(load, work, batch)
    for chunk in iter(lambda: list(islice(loaded, batch)), []):
        _take(writer, [(*item, picture) for item, picture in chunk], embed, told, skip_bad)
        yield told
    gone = [row for row in np.flatnonzero(snapshot.live & ~seen) if _inside(snapshot.path(row), folder)]
    if prune and gone:
        writer.commit(np.empty((0, snapshot.dim)), [], [], gone)
        told.removed = len(gone)
    else:
        told.gone = len(gone)
    yield told


def _inside(path, folder):
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def _changed(folder, snapshot, finder, seen, told):
    """Yield (path, stat or error, row before or -1) of every new and changed picture; marks those `seen`."""
    for path in pictures_under(folder):
        told.found += 1
        row = finder.row(path)
        if row >= 0:
            seen[row] = True
        try:
            stat = os.stat(path)
        except OSError as error:  # a link to nothing, or gone since
            yield path, error, row
            continue
        before = snapshot.rows[row] if row >= 0 else None
        if before is not None and (before["size"], before["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns):
            told.same += 1
        else:
            yield path, stat, row


def _take(writer, chunk, embed, told, skip_bad):
    """Embed and commit the pictures of `chunk`; those that cannot be read are left out, or end it."""
    errors = [i for i, (*_, picture) in enumerate(chunk) if isinstance(picture, Exception)]
    end = len(chunk) if skip_bad or not errors else errors[0]
    good = [item for item in chunk[:end] if not isinstance(item[3], Exception)]
    bad = [item for item in chunk[:end] if isinstance(item[3], Exception)]
    vectors = (
        unit(embed([item[3] for item in good]), [item[0] for item in good])
        if good
        else np.empty((0, writer.manifest["dim"]))
    )
    dead = [row for _, _, row, _ in good + bad if row >= 0]  # what a picture was before it could not be read goes too
    if good or dead:
        writer.commit(vectors, [item[0] for item in good], [item[1] for item in good], dead)
    told.added += sum(row < 0 for _, _, row, _ in good)
    told.changed += sum(row >= 0 for _, _, row, _ in good)
    for path, _, _, error in bad:
        told.bad.append(sentence(path, error))
        log.warning("left out: %s", told.bad[-1])
    if end < len(chunk):
        path, _, _, error = chunk[end]
        raise ValueError(
            f"{sentence(path, error)}; the {told.added + told.changed:,} pictures before it are in the index. Mend or "
            "remove it and start again, or say --skip-bad to leave such pictures out"
        )


def sentence(path, error):
    """What is wrong with the picture `path`, naming it."""
    return str(error) if isinstance(error, ValueError) else f"{path}: {error.strerror or error}"


def unit(vectors, paths):
    """`vectors` (N, D) as float32 of unit length. Raises ValueError naming the picture for one without direction."""
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
    """(1, D): the mean of the pictures' unit embeddings, of unit length. Raises ValueError as `unit` does."""
    return unit(unit(embed(pictures), names).astype(np.float64).mean(axis=0, keepdims=True), names)
