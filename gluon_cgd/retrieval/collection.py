"""Embeddings on disk with the paths of their pictures. Can be read while it is written; survives any interruption.

Four files only grow: the embeddings (vectors), a record of each picture (rows), the paths (names), and the numbers of
rows that were replaced or removed (dead). collection.json says how much of each file counts; it is replaced as a whole
when the files are on the disk. So a reader sees one state, and a writer overwrites what an interrupted one left.
It also holds the checksums of rows, names and dead, which are compared whenever a collection is opened; each row holds
that of its embedding, which is compared when the embedding is read.
"""

import contextlib
import hashlib
import os
import uuid
import zlib
from pathlib import Path

import numpy as np

from gluon_cgd.files.lock import locked
from gluon_cgd.retrieval import checksums
from gluon_cgd.retrieval.manifest import CHECKED, FORMAT, NAME, Damaged, keep_copy, read_manifest, replace_manifest
from gluon_cgd.retrieval.snapshot import FILES, ROW, Snapshot, counted, data_file

FOLDERS = 1000  # that were indexed are remembered, the latest ones


class Finder:
    """Finds the row of a path in a Snapshot, with 16 bytes of memory for each picture.

    It looks first behind the row that it found last: a folder is mostly gone through in the order of the rows.
    """

    def __init__(self, snapshot):
        self._snapshot = snapshot
        rows = np.flatnonzero(snapshot.live)
        keys = snapshot.rows["key"][rows]
        order = np.argsort(keys, kind="stable")
        self._keys, self._rows, self._next = keys[order], rows[order], 0

    def row(self, path):
        """The row of the picture `path`, or -1 if it has none."""
        snapshot, row = self._snapshot, self._next
        if not (row < snapshot.count and snapshot.live[row] and snapshot.path(row) == path):
            row = next((int(row) for row in self.rows_of(key_of(path)) if snapshot.path(row) == path), -1)
        if row >= 0:
            self._next = row + 1
        return row

    def rows_of(self, key):
        """The rows of the pictures whose path has this `key`: none or one, unless two paths have one hash."""
        first, last = (np.searchsorted(self._keys, np.uint64(key), side) for side in ("left", "right"))
        return self._rows[first:last]


def key_of(path):
    """64 bits of a hash of `path`."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=8).digest(), "little")


def read(folder):
    """The Snapshot of the collection in `folder`. Raises as `read_manifest` does, and ValueError for damaged files."""
    for _ in range(20):
        manifest = read_manifest(folder)
        try:
            return Snapshot(folder, manifest)
        except FileNotFoundError as error:  # compacted meanwhile: a new manifest names other files
            missing = error
    raise Damaged(f"{folder} is damaged ({missing.filename} is missing)", folder)


@contextlib.contextmanager
def writing(folder, dim, model):
    """`with writing(folder, dim, model) as writer`: the only Writer of the collection in `folder`, made if need be.

    model: a dict that describes what the embeddings come from. Raises ValueError while another process writes, and for
    a folder that holds something else.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: name a folder for the index")
    if folder.is_dir() and not os.path.lexists(folder / NAME):
        ours = {"lock", *(data_file("", name, 0).name for name in FILES)}
        names = (entry.name for entry in folder.iterdir() if not entry.match(".collection.json.*.part"))
        others = sorted(name for name in names if name not in ours)
        if others:
            raise ValueError(f"{folder} holds other files ({others[0]!r} among them): name a folder of its own")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "writing to"):
        if not os.path.lexists(folder / NAME):
            about = dict(format=FORMAT, id=uuid.uuid4().hex, dim=dim, model=model, folders=[])
            replace_manifest(folder, _emptied(folder, about, 0))
        with contextlib.closing(Writer(folder, read_manifest(folder))) as writer:
            _delete_others(folder, writer.manifest["generation"])
            yield writer
            keep_copy(folder, writer.manifest)


def _emptied(folder, manifest, generation):
    """The manifest of a collection without rows, whose empty files it makes."""
    for name in FILES:
        file = data_file(folder, name, generation)
        file.unlink(missing_ok=True)
        open(file, "xb").close()  # never through a link that somebody put there
    none = dict(rows=0, names=0, dead=0, crc=dict.fromkeys(CHECKED, 0))
    return dict(manifest, format=FORMAT, generation=generation, **none)


class Writer:
    """Appends to a collection. A `commit` that returned survives a kill and a power cut; another leaves no trace."""

    def __init__(self, folder, manifest):
        if manifest["format"] != FORMAT:
            raise Damaged(f"{folder} was made by an earlier version of gluon_cgd", folder)
        self.folder, self.manifest = folder, manifest
        try:
            self._live = Snapshot(folder, manifest).live
        except FileNotFoundError as error:
            raise Damaged(f"{folder} is damaged ({error.filename} is missing)", folder) from error
        files = {name: data_file(folder, name, manifest["generation"]) for name in FILES}
        for file in files.values():
            if file.is_symlink():
                raise ValueError(f"{file} is a link, through which nothing is written: put the file itself there")
        self.files = {name: open(file, "r+b", buffering=0) for name, file in files.items()}  # noqa: SIM115

    def commit(self, vectors, paths, stats, dead=()):
        """Append `vectors` (n, D) of the pictures `paths` with their os.stat_result, and mark the rows `dead`.

        All of it or nothing. Raises OSError, naming the folder, if it cannot be written, and ValueError for vectors of
        another length than 1 and for rows that are not there.
        """
        if np.shape(vectors) != (len(paths), self.manifest["dim"]) or len(stats) != len(paths):
            raise ValueError(f"{len(paths)} pictures have embeddings of shape {np.shape(vectors)}")
        before = self.manifest
        try:
            self.append(vectors, paths, [s.st_size for s in stats], [s.st_mtime_ns for s in stats], dead)
            self.publish()
        except OSError as error:
            self.manifest = before
            raise OSError(
                f"{self.folder} cannot be written to ({error.strerror or error}): mend that and start again; what was "
                "reported as indexed is kept"
            ) from error
        self._live = np.append(self._live, np.ones(len(paths), bool))
        self._live[np.asarray(dead, np.int64)] = False

    def append(self, vectors, paths, sizes, times, dead=()):
        """Write rows to the files; they count after `publish`. sizes, times: of the pictures' files, times in ns."""
        vectors, dead = np.ascontiguousarray(vectors, "<f4"), np.asarray(dead, "<i8")
        self._check(vectors, paths, dead)
        encoded, counts = [os.fsencode(path) for path in paths], counted(self.manifest)
        rows = np.empty(len(paths), ROW)
        rows["key"], rows["size"], rows["mtime_ns"] = [key_of(path) for path in paths], sizes, times
        rows["length"] = [len(name) for name in encoded]
        rows["start"] = self.manifest["names"] + np.cumsum(rows["length"]) - rows["length"]
        rows["sum"] = checksums.sums(vectors)
        data = dict(vectors=vectors.tobytes(), rows=rows.tobytes(), names=b"".join(encoded), dead=dead.tobytes())
        for name in FILES:
            self.files[name].seek(counts[name])  # overwrites what an interrupted commit left
            _write(self.files[name], data[name])
        added = dict(rows=len(paths), names=len(data["names"]), dead=len(dead))
        sums = {name: zlib.crc32(data[name], self.manifest["crc"][name]) for name in CHECKED}
        counts = {name: self.manifest[name] + count for name, count in added.items()}
        self.manifest = dict(self.manifest, **counts, crc=sums)

    def _check(self, vectors, paths, dead):
        unit = checksums.are_unit(vectors)
        if not unit.all():
            length = float(checksums.lengths(vectors)[np.argmin(unit)]) ** 0.5
            raise ValueError(
                f"the embedding of {paths[np.argmin(unit)]} has length {length:.3g} and must have length 1: take "
                "another checkpoint"
            )
        live = np.append(self._live, np.ones(len(paths), bool))
        if len(dead) and (dead.min() < 0 or dead.max() >= len(live) or len(np.unique(dead)) < len(dead)):
            raise ValueError(f"a row that is not there, or one twice, is to be removed, of {len(live):,}")
        if not live[dead].all():
            raise ValueError("a row is to be removed that was removed before")

    def publish(self):
        """Bring the files to the disk and let all that was appended count."""
        for file in self.files.values():
            os.fsync(file)
        replace_manifest(self.folder, self.manifest)

    def describe(self, model, folder=None):
        """Replace the description of the model, and remember that the pictures of `folder` are indexed."""
        folders = self.manifest["folders"]
        if folder is not None and not any(is_in(folder, other) for other in folders):
            folders = [*(other for other in folders if not is_in(other, folder)), str(folder)][-FOLDERS:]
        self.manifest = dict(self.manifest, model=model, folders=folders)
        replace_manifest(self.folder, self.manifest)

    def close(self):
        """Close the files."""
        for file in self.files.values():
            file.close()


def is_in(path, folder):
    """Whether the absolute `path` is `folder` or in it."""
    return path == folder or path.startswith(os.path.join(folder, ""))


def compact(folder, block=4096):
    """Write new files without the dead rows, to free disk space; returns how many rows those were."""
    folder = Path(folder)
    read_manifest(folder)
    with locked(folder, "writing to"):
        before = read(folder)
        if not before.live.all():
            rewrite(before, block)
        return before.count - len(before)


def rewrite(before, block=4096, convert=None, **changes):
    """Write the live rows of a Snapshot into files of a new generation, which take the place of those there are.

    convert: a function of embeddings (n, D) that returns the ones to write.  changes: other values of the manifest.
    """
    folder, rows = before.folder, np.flatnonzero(before.live)
    generation = before.manifest["generation"] + 1
    kept = dict(before.manifest, folders=before.manifest.get("folders", []))
    empty = _emptied(folder, dict(kept, **changes), generation)
    with contextlib.closing(Writer(folder, empty)) as writer:
        for start in range(0, len(rows), block):
            part = rows[start : start + block]
            before.check(part)
            paths, records = [before.path(row) for row in part], before.rows[part]
            vectors = convert(before.vectors[part]) if convert else before.vectors[part]
            writer.append(vectors, paths, records["size"], records["mtime_ns"])
        writer.publish()
        keep_copy(folder, writer.manifest)  # it must not name the old files, which go now
    _delete_others(folder, generation)


def _delete_others(folder, generation):
    """Delete the data files of all other generations."""
    kept = {data_file(folder, name, generation) for name in FILES}
    for file in {file for name in FILES for file in folder.glob(f"{name}-*.bin")} - kept:
        with contextlib.suppress(IsADirectoryError, PermissionError):  # it is not one of ours
            file.unlink()


def _write(file, data):
    """Write all of `data` into an unbuffered file."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
