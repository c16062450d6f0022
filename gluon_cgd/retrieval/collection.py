"""Embeddings on disk with the paths of their pictures. Can be read while it is written; survives any interruption.

Four files only grow: the embeddings (vectors), a record of each picture (rows), the paths (names), and the numbers of
rows that were replaced or removed (dead). collection.json says how much of each file counts; it is replaced as a whole
when the files are on the disk. So a reader sees one state, and a writer overwrites what an interrupted one left.
It also holds the checksums of rows, names and dead; each row holds that of its embedding. They are compared when what
they are of is used; those of rows and names are of blocks (see `blocks`).
"""

import contextlib
import os
import uuid
import zlib
from pathlib import Path

import numpy as np

from gluon_cgd.files.lock import locked
from gluon_cgd.retrieval import blocks, checksums, stores
from gluon_cgd.retrieval.finding import Finder, key_of, stamp_of  # noqa: F401
from gluon_cgd.retrieval.manifest import CHECKED, FORMAT, NAME, Damaged, keep_copy, read_manifest, replace_manifest
from gluon_cgd.retrieval.snapshot import FILES, ROW, Snapshot, counted, data_file

FOLDERS = 1000  # that were indexed are remembered, the latest ones


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
        ours = {"lock", blocks.file_of("", 0).name, *(data_file("", name, 0).name for name in FILES)}
        names = (entry.name for entry in folder.iterdir() if not entry.match(".collection.json.*.part"))
        others = sorted(name for name in names if name not in ours)
        if others:
            raise ValueError(f"{folder} holds other files ({others[0]!r} among them): name a folder of its own")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "writing to"):
        if not os.path.lexists(folder / NAME):
            about = dict(format=FORMAT, id=uuid.uuid4().hex, dim=dim, model=model, folders=[])
            replace_manifest(folder, emptied(folder, about, 0))
        with contextlib.closing(Writer(folder, read_manifest(folder))) as writer:
            delete_others(folder, writer.manifest["generation"])
            yield writer
            keep_copy(folder, writer.manifest)


def emptied(folder, manifest, generation):
    """The manifest of a collection without rows, whose empty files it makes."""
    for file in (*(data_file(folder, name, generation) for name in FILES), blocks.file_of(folder, generation)):
        file.unlink(missing_ok=True)
        open(file, "xb").close()  # never through a link that somebody put there
    none = dict(rows=0, names=0, dead=0, crc=dict.fromkeys(CHECKED, 0), blocks=blocks.NONE)
    return dict(manifest, format=FORMAT, generation=generation, **none)


class Writer:
    """Appends to a collection. A `commit` that returned survives a kill and a power cut; another leaves no trace."""

    def __init__(self, folder, manifest):
        if manifest["format"] != FORMAT:
            raise Damaged(f"{folder} was made by an earlier version of gluon_cgd", folder)
        self.folder, self.manifest = folder, manifest
        try:
            snapshot = Snapshot(folder, manifest)
        except FileNotFoundError as error:
            raise Damaged(f"{folder} is damaged ({error.filename} is missing)", folder) from error
        self._gone = bytearray((~snapshot.live).tobytes())  # a byte for each row
        files = {name: data_file(folder, name, manifest["generation"]) for name in FILES}
        files["blocks"] = blocks.file_of(folder, manifest["generation"])
        for file in files.values():
            if file.is_symlink():
                raise ValueError(f"{file} is a link, through which nothing is written: put the file itself there")
        if not snapshot.has_blocks:
            files["blocks"].unlink(missing_ok=True)
            open(files["blocks"], "xb").close()
        self.files = {name: open(file, "r+b", buffering=0) for name, file in files.items()}  # noqa: SIM115
        self._written = set()  # names of files that are not on the disk yet
        if not snapshot.has_blocks:
            self._add_blocks(snapshot)

    def _add_blocks(self, snapshot):
        """Compute the checksums of the blocks of an index that has none. They count after the next `publish`."""
        known, step = blocks.NONE, 64 * blocks.ROWS
        for start in range(0, snapshot.count, step):
            records = snapshot.records(slice(start, start + step))
            names = b"".join(snapshot.encoded(slice(start, start + step)))
            place = blocks.place_of(known)
            known, data = blocks.added(known, int(records["start"][0]), records, np.frombuffer(names, np.uint8))
            self._put("blocks", place, data)
            snapshot.forget()
        self.manifest = dict(self.manifest, blocks=known)

    def commit(self, vectors, paths, stats, dead=()):
        """Append `vectors` (n, D) of the pictures `paths` with their os.stat_result, and mark the rows `dead`.

        All of it or nothing. Raises OSError, naming the folder, if it cannot be written, and ValueError for vectors of
        another length than 1 and for rows that are not there.
        """
        if np.shape(vectors) != (len(paths), self.manifest["dim"]) or len(stats) != len(paths):
            raise ValueError(f"{len(paths)} pictures have embeddings of shape {np.shape(vectors)}")
        before = self.manifest
        try:
            stamps = np.array([stamp_of(stat) for stat in stats], np.int64).reshape(-1, 2)
            self.append(vectors, paths, *stamps.T, dead)
            self.publish()
        except OSError as error:
            self.manifest = before
            del self._gone[before["rows"] :]
            self._mark([row for row in dead if row < before["rows"]], 0)
            raise OSError(
                f"{self.folder} cannot be written to ({error.strerror or error}): mend that and start again; what was "
                "reported as indexed is kept"
            ) from error

    def append(self, vectors, paths, sizes, times, dead=()):
        """Write rows to the files; they count after `publish`. sizes, times: of the pictures' files, times in ns."""
        rows, encoded = np.zeros(len(paths), ROW), [os.fsencode(path) for path in paths]
        rows["key"], rows["size"], rows["mtime_ns"] = [key_of(path) for path in paths], sizes, times
        rows["length"] = [len(name) for name in encoded]
        self._append(vectors, rows, b"".join(encoded), np.asarray(dead, "<i8"))

    def copy(self, snapshot, rows, convert=None):
        """As `append`, of the `rows` (n,) of another collection. convert: of embeddings (n, D), before that."""
        snapshot.check(rows)
        records, copied = snapshot.records(rows), np.zeros(len(rows), ROW)
        for field in ("key", "size", "mtime_ns", "length"):
            copied[field] = records[field]
        vectors = convert(snapshot.vectors[rows]) if convert else snapshot.vectors[rows]
        same = not convert and stores.store_of(snapshot.manifest) == stores.store_of(self.manifest)
        stored = snapshot.stored[rows] if same else None
        self._append(vectors, copied, b"".join(snapshot.encoded(rows)), np.empty(0, "<i8"), stored)

    def _append(self, vectors, rows, names, dead, stored=None):
        """Write `rows` (n,) that lack their places and sums, with their `names` one behind the other.

        stored: the bytes of `vectors` where they are known.
        """
        vectors, before = np.ascontiguousarray(vectors, "<f4"), self.manifest
        rows["start"] = before["names"] + np.cumsum(rows["length"]) - rows["length"]
        self._check(vectors, rows, names, dead)
        stored = stores.encoded(vectors, before) if stored is None else stored
        rows["sum"] = checksums.sums(stored.view("<f4"))
        known, sums = blocks.added(before["blocks"], before["names"], rows, np.frombuffer(names, np.uint8))
        arrays = dict(vectors=stored, rows=rows, names=np.frombuffer(names, np.uint8), dead=dead)
        data = {name: array.ravel().view(np.uint8) for name, array in arrays.items()}
        for name, start in counted(before).items():
            self._put(name, start, data[name])  # overwrites what an interrupted commit left
        self._put("blocks", blocks.place_of(before["blocks"]), sums)
        added = dict(rows=len(rows), names=len(names), dead=len(dead))
        counts = {name: before[name] + count for name, count in added.items()}
        crc = {name: zlib.crc32(data[name], before["crc"][name]) for name in CHECKED}
        self.manifest = dict(before, **counts, crc=crc, blocks=known)
        self._gone += bytes(len(rows))
        self._mark(dead, 1)

    def _put(self, name, place, data):
        """Write bytes at `place` into the file `name`."""
        if len(data):
            self.files[name].seek(place)
            self._written.add(name)
            _write(self.files[name], data)

    def _mark(self, dead, value):
        if len(dead):
            np.frombuffer(self._gone, np.uint8)[np.asarray(dead, np.int64)] = value

    def _check(self, vectors, rows, names, dead):
        unit = checksums.are_unit(vectors)
        if not unit.all():
            wrong, first = rows[np.argmin(unit)], self.manifest["names"]
            path = os.fsdecode(names[wrong["start"] - first :][: wrong["length"]])
            length = float(checksums.lengths(vectors)[np.argmin(unit)]) ** 0.5
            raise ValueError(
                f"the embedding of {path} has length {length:.3g} and must have length 1: take another checkpoint"
            )
        before, count = self.manifest["rows"], self.manifest["rows"] + len(rows)
        if len(dead) and (dead.min() < 0 or dead.max() >= count or len(np.unique(dead)) < len(dead)):
            raise ValueError(f"a row that is not there, or one twice, is to be removed, of {count:,}")
        if any(self._gone[row] for row in dead[dead < before].tolist()):
            raise ValueError("a row is to be removed that was removed before")

    def publish(self):
        """Bring the files to the disk and let all that was appended count."""
        for name in sorted(self._written):
            os.fsync(self.files[name])
        self._written.clear()
        replace_manifest(self.folder, self.manifest)

    def describe(self, model, folder=None):
        """Replace the description of the model, and remember that the pictures of `folder` are indexed."""
        folders = self.manifest["folders"]
        if folder is not None and not any(is_in(folder, other) for other in folders):
            folders = [*(other for other in folders if not is_in(other, folder)), str(folder)][-FOLDERS:]
        self.manifest = dict(self.manifest, model=model, folders=folders)
        self.publish()

    def close(self):
        """Close the files."""
        for file in self.files.values():
            file.close()


def is_in(path, folder):
    """Whether the absolute `path` is `folder` or in it."""
    return path == folder or path.startswith(os.path.join(folder, ""))


def delete_others(folder, generation):
    """Delete the data files of all other generations."""
    kept = {*(data_file(folder, name, generation) for name in FILES), blocks.file_of(folder, generation)}
    patterns = (*(f"{name}-*.bin" for name in FILES), "blocks-*.crc")
    for file in {file for pattern in patterns for file in folder.glob(pattern)} - kept:
        with contextlib.suppress(IsADirectoryError, PermissionError):  # it is not one of ours
            file.unlink()


def _write(file, data):
    """Write all of `data` into an unbuffered file."""
    view = memoryview(data)
    while len(view):
        view = view[file.write(view) :]
