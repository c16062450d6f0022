"""Embeddings on disk with the paths of their pictures. Can be read while it is written; survives any interruption.

Four files only grow: the embeddings (vectors), a record of each picture (rows), the paths (names), and the numbers of
rows that were replaced or removed (dead). collection.json says how much of each file counts; it is replaced as a whole
when the files are on the disk. So a reader sees one state, and a writer overwrites what an interrupted one left.
"""

import contextlib
import hashlib
import json
import os
import uuid
from pathlib import Path

import numpy as np

from gluon_cgd.files.lock import locked
from gluon_cgd.files.whole import write_json

FORMAT = 1
ROW = np.dtype([("key", "<u8"), ("start", "<i8"), ("length", "<i8"), ("size", "<i8"), ("mtime_ns", "<i8")])
FILES = ("vectors", "rows", "names", "dead")


class Snapshot:
    """A collection as it was when it was opened; later writes do not change it.

    vectors (N, D): read-only, memory-mapped, of unit length.  live (N,): False for replaced and removed pictures.
    """

    def __init__(self, folder, manifest):
        self.folder, self.manifest = Path(folder), manifest
        self.dim, self.count = manifest["dim"], manifest["rows"]
        size = counted(manifest)
        mapped = {name: _mapped(data_file(folder, name, manifest["generation"]), size[name]) for name in FILES}
        self.vectors = mapped["vectors"].view("<f4").reshape(-1, self.dim)
        self.rows, self._names = mapped["rows"].view(ROW), mapped["names"]
        self.live = np.ones(self.count, bool)
        self.live[mapped["dead"].view("<i8")] = False

    def path(self, row):
        """The path of the picture in `row`."""
        start, length = self.rows[row]["start"], self.rows[row]["length"]
        return os.fsdecode(self._names[start : start + length].tobytes())

    def __len__(self):
        return int(self.live.sum())


class Finder:
    """Finds the row of a path in a Snapshot, with 16 bytes of memory for each picture."""

    def __init__(self, snapshot):
        self._snapshot = snapshot
        rows = np.flatnonzero(snapshot.live)
        keys = snapshot.rows["key"][rows]
        order = np.argsort(keys, kind="stable")
        self._keys, self._rows = keys[order], rows[order]

    def row(self, path):
        """The row of the picture `path`, or -1 if it has none."""
        key = np.uint64(key_of(path))
        first, last = (np.searchsorted(self._keys, key, side) for side in ("left", "right"))
        return next((int(row) for row in self._rows[first:last] if self._snapshot.path(row) == path), -1)


def key_of(path):
    """64 bits of a hash of `path`."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=8).digest(), "little")


def counted(manifest):
    """{file: how many of its bytes count}."""
    vectors, rows = (manifest["rows"] * size for size in (4 * manifest["dim"], ROW.itemsize))
    return dict(vectors=vectors, rows=rows, names=manifest["names"], dead=manifest["dead"] * 8)


def data_file(folder, name, generation):
    """The path of the file `name`. Compacting begins files of a new generation."""
    return Path(folder) / f"{name}-{generation}.bin"


def _mapped(file, size):
    if file.stat().st_size < size:
        raise ValueError(
            f"{file} is damaged ({file.stat().st_size:,} bytes where {size:,} are counted): index into another folder"
        )
    return np.asarray(np.memmap(file, np.uint8, "r", shape=(size,))) if size else np.empty(0, np.uint8)


def read_manifest(folder):
    """collection.json as a dict. Raises FileNotFoundError if it is missing and ValueError if it is something else."""
    file = Path(folder) / "collection.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        counts = [manifest[name] for name in ("rows", "names", "dead", "generation", "dim")]
        kinds = isinstance(manifest["model"], dict) and isinstance(manifest["id"], str)
        if not kinds or not all(isinstance(count, int) and count >= 0 for count in counts):
            raise ValueError("not counts")
        if manifest["format"] != FORMAT or manifest["dim"] < 1:
            raise ValueError(f"format {manifest['format']}")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            f"{folder} is not an index: python -m gluon_cgd index --images DIR --checkpoint C --out {folder} makes one"
        ) from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"{file} cannot be read ({error}): index into another folder") from error
    return manifest


def read(folder):
    """The Snapshot of the collection in `folder`. Raises as `read_manifest` does, and ValueError for damaged files."""
    for _ in range(20):
        manifest = read_manifest(folder)
        try:
            return Snapshot(folder, manifest)
        except FileNotFoundError as error:  # compacted meanwhile: a new manifest names other files
            missing = error
    raise ValueError(f"{folder} is damaged ({missing.filename} is missing): index into another folder")


@contextlib.contextmanager
def writing(folder, dim, model):
    """`with writing(folder, dim, model) as writer`: the only Writer of the collection in `folder`, made if need be.

    model: a dict that describes what the embeddings come from. Raises ValueError while another process writes, and for
    a folder that holds something else.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: name a folder for the index")
    if folder.is_dir() and not (folder / "collection.json").exists():
        ours = {"lock", *(data_file("", name, 0).name for name in FILES)}
        names = (entry.name for entry in folder.iterdir() if not entry.match(".collection.json.*.part"))
        others = sorted(name for name in names if name not in ours)
        if others:
            raise ValueError(f"{folder} holds other files ({others[0]!r} among them): name a folder of its own")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "writing to"):
        if not (folder / "collection.json").exists():
            empty = dict(format=FORMAT, id=uuid.uuid4().hex, generation=0, dim=dim, rows=0, names=0, dead=0)
            for name in FILES:
                data_file(folder, name, 0).write_bytes(b"")
            _replace(folder, dict(empty, model=model))
        with contextlib.closing(Writer(folder, read_manifest(folder))) as writer:
            _delete_others(folder, writer.manifest["generation"])
            yield writer


class Writer:
    """Appends to a collection. A `commit` that returned survives a kill and a power cut; another leaves no trace."""

    def __init__(self, folder, manifest):
        self.folder, self.manifest = folder, manifest
        Snapshot(folder, manifest)  # raises for damaged files
        files = {name: data_file(folder, name, manifest["generation"]) for name in FILES}
        self.files = {name: open(file, "r+b", buffering=0) for name, file in files.items()}  # noqa: SIM115

    def commit(self, vectors, paths, stats, dead=()):
        """Append `vectors` (n, D) of the pictures `paths` with their os.stat_result, and mark the rows `dead`.

        All of it or nothing. Raises OSError, naming the folder, if it cannot be written.
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
                f"{self.folder} cannot be written to ({error.strerror}): mend that and start again; what was reported "
                "as indexed is kept"
            ) from error

    def append(self, vectors, paths, sizes, times, dead=()):
        """Write rows to the files; they count after `publish`. sizes, times: of the pictures' files, times in ns."""
        encoded, counts = [os.fsencode(path) for path in paths], counted(self.manifest)
        rows = np.empty(len(paths), ROW)
        rows["key"], rows["size"], rows["mtime_ns"] = [key_of(path) for path in paths], sizes, times
        rows["length"] = [len(name) for name in encoded]
        rows["start"] = self.manifest["names"] + np.cumsum(rows["length"]) - rows["length"]
        data = dict(vectors=np.ascontiguousarray(vectors, "<f4").tobytes(), rows=rows.tobytes())
        data.update(names=b"".join(encoded), dead=np.asarray(dead, "<i8").tobytes())
        for name in FILES:
            self.files[name].seek(counts[name])  # overwrites what an interrupted commit left
            _write(self.files[name], data[name])
        added = dict(rows=len(paths), names=len(data["names"]), dead=len(dead))
        self.manifest = dict(self.manifest, **{name: self.manifest[name] + count for name, count in added.items()})

    def publish(self):
        """Bring the files to the disk and let all that was appended count."""
        for file in self.files.values():
            os.fsync(file)
        _replace(self.folder, self.manifest)

    def describe(self, model):
        """Replace the description of the model."""
        self.manifest = dict(self.manifest, model=model)
        _replace(self.folder, self.manifest)

    def close(self):
        """Close the files."""
        for file in self.files.values():
            file.close()


def compact(folder, block=4096):
    """Write new files without the dead rows, to free disk space; returns how many rows those were."""
    folder = Path(folder)
    read_manifest(folder)
    with locked(folder, "writing to"):
        before = read(folder)
        rows, generation = np.flatnonzero(before.live), before.manifest["generation"] + 1
        if len(rows) < before.count:
            for name in FILES:
                data_file(folder, name, generation).write_bytes(b"")
            empty = dict(before.manifest, generation=generation, rows=0, names=0, dead=0)
            with contextlib.closing(Writer(folder, empty)) as writer:
                for start in range(0, len(rows), block):
                    part = rows[start : start + block]
                    paths, records = [before.path(row) for row in part], before.rows[part]
                    writer.append(before.vectors[part], paths, records["size"], records["mtime_ns"])
                writer.publish()
            _delete_others(folder, generation)
        return before.count - len(rows)


def _delete_others(folder, generation):
    """Delete the data files of all other generations."""
    kept = {data_file(folder, name, generation) for name in FILES}
    for file in {file for name in FILES for file in folder.glob(f"{name}-*.bin")} - kept:
        file.unlink()


def _write(file, data):
    """Write all of `data` into an unbuffered file."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _replace(folder, manifest):
    """Write collection.json; from now on its counts hold."""
    write_json(folder / "collection.json", manifest)
