"""An index is written anew without the rows of replaced and removed pictures, in files of a new generation.

The manifest names the new files when they are on the disk, and the old ones are deleted after that: killed at any
moment, it leaves a whole index. Memory holds a block of embeddings, and three bytes a row.
"""

import contextlib
from pathlib import Path

import numpy as np

from gluon_cgd.files.lock import locked
from gluon_cgd.retrieval import collection, stores
from gluon_cgd.retrieval.manifest import keep_copy, read_manifest
from gluon_cgd.retrieval.snapshot import ROW


def compact(folder, block=4096):
    """Write new files without the dead rows, to free disk space; returns how many rows those were."""
    folder = Path(folder)
    read_manifest(folder)
    with locked(folder, "writing to"):
        before = collection.read(folder)
        if not before.live.all():
            rewrite(before, block)
        return before.count - len(before)


def rewrite(before, block=4096, convert=None, **changes):
    """Write the live rows of a Snapshot into files of a new generation, which take the place of those there are.

    convert: a function of embeddings (n, D) that returns the ones to write.  changes: other values of the manifest.
    Raises OSError, naming the folder and the bytes that it takes, if they cannot be written; what ends it before the
    new files count deletes them.
    """
    folder, generation = before.folder, before.manifest["generation"] + 1
    kept = dict(before.manifest, folders=before.manifest.get("folders", []), **changes)
    try:
        empty = collection.emptied(folder, kept, generation)
        with contextlib.closing(collection.Writer(folder, empty)) as writer:
            for start in range(0, before.count, block):
                writer.copy(before, start + np.flatnonzero(before.live[start : start + block]), convert)
                before.forget()
            writer.publish()
            keep_copy(folder, writer.manifest)  # it must not name the old files, which go now
    except (Exception, KeyboardInterrupt) as error:
        if read_manifest(folder)["generation"] != generation - 1:  # the new files count already
            raise
        collection.delete_others(folder, generation - 1)
        if not isinstance(error, OSError):
            raise
        needed = len(before) * (stores.width_of(kept) + ROW.itemsize) + before.manifest["names"]
        raise OSError(
            f"{folder} cannot be written anew ({error.strerror or error}): that takes about {needed:,} bytes beside "
            "the files that are there; make room and start again; the index is as it was"
        ) from error
    collection.delete_others(folder, generation)
