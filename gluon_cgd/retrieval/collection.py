"""Embeddings on disk with the pictures that they are of: appended to, read at any time, whole after any interruption.

Four files only grow: rows of float32 (vectors), what each is of (rows), the paths (names), and the numbers of the rows
that were replaced or removed (dead). collection.json says how much of each counts, and is replaced as a whole after
they are on the disk. So a reader sees one state, and what an interrupted writer left beyond the counts is written over.
"""

import contextlib
import hashlib
import json
import os
import uuid
from pathlib import Path

import numpy as np

from gluon_cgd.files.whole import locked, write_json

FORMAT = 1
ROW = np.dtype([("key", "<u8"), ("start", "<i8"), ("length", "<i8"), ("size", "<i8"), ("mtime_ns", "<i8")])
FILES = ("vectors", "rows", "names", "dead")


class Snapshot:
    """A collection as it was when it was opened, whatever is written to it since.

    vectors (N, D): read-only, memory-mapped, of unit length.  live (N,): False for what was replaced or removed.
    """

    def __init__(self, folder, manifest):
        self.folder, self.manifest = Path(folder), manifest
        self.dim, self.count = manifest["dim"], manifest["rows"]
        size = counted(manifest)
        mapped = {name: _mapped(self._file(name), size[name]) for name in FILES}
        self.vectors = mapped["vectors"].view("<f4").reshape(-1, self.dim)
        self.rows, self._names = mapped["rows"].view(ROW), mapped["names"]
        self.live = np.ones(self.count, bool)
        self.live[mapped["dead"].view("<i8")] = False

    def _file(self, name):
        return data_file(self.folder, name, self.manifest["generation"])

    def path(self, row):
        """The path of the picture in `row`."""
        start, length = self.rows[row]["start"], self.rows[row]["length"]
        return os.fsdecode(self._names[start : start + length].tobytes())

    def __len__(self):
        """Number of pictures."""
        return int(self.live.sum())


class Finder:
    """Looks paths up in a Snapshot, with 16 bytes of memory a picture."""

    def __init__(self, snapshot):
        self._snapshot = snapshot
        rows = np.flatnonzero(snapshot.live)
        keys = snapshot.rows["key"][rows]
        order = np.argsort(keys, kind="stable")
        self._keys, self._rows = keys[order], rows[order]

    def row(self, path):
        """The row of the picture `path`, or -1 where it has none."""
        key = np.uint64(key_of(path))
        for place in range(np.searchsorted(self._keys, key, "left"), np.searchsorted(self._keys, key, "right")):
            if self._snapshot.path(self._rows[place]) == path:
                return int(self._rows[place])
        return -1


def key_of(path):
    """64 bits of a hash of `path`."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=8).digest(), "little")


def counted(manifest):
    """Bytes of each file that count."""
    rows = manifest["rows"]
    vectors = rows * manifest["dim"] * 4
    return dict(vectors=vectors, rows=rows * ROW.itemsize, names=manifest["names"], dead=manifest["dead"] * 8)


def data_file(folder, name, generation):
    """The file `name` of the given generation: a compacted collection begins new ones."""
    return Path(folder) / f"{name}-{generation}.bin"


def _mapped(file, size):
    if file.stat().st_size < size:
        raise ValueError(
            f"{file} is damaged ({file.stat().st_size:,} bytes where {size:,} are counted): index into another folder"
        )
    return np.asarray(np.memmap(file, np.uint8, "r", shape=(size,))) if size else np.empty(0, np.uint8)


def read_manifest(folder):
    """What a collection holds, a dict. Raises FileNotFoundError where there is none, and ValueError for others."""
    file = Path(folder) / "collection.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        counts = [manifest[name] for name in ("rows", "names", "dead", "generation", "dim")]
        if not all(isinstance(count, int) and count >= 0 for count in counts) or not isinstance(
            manifest["model"], dict
        ):
            raise ValueError("not counts")
        if manifest["format"] != FORMAT or counts[-1] < 1 or not isinstance(manifest["id"], str):
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
        except FileNotFoundError as error:  # compacted between the two lines: the manifest names other files now
            missing = error
    raise ValueError(f"{folder} is damaged ({missing.filename} is missing): index into another folder")


@contextlib.contextmanager
def writing(folder, dim, model):
    """`with writing(folder, dim, model) as writer`: the one Writer that the collection in `folder` has at a time.

    A collection is made where there is none. model: a dict that describes what the embeddings come from.
    Raises ValueError while another process writes, and for a folder that holds something else.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: name a folder for the index")
    if folder.is_dir() and not (folder / "collection.json").exists():
        ours = {"lock", "collection.json.part", *(data_file("", name, 0).name for name in FILES)}
        others = sorted(entry.name for entry in folder.iterdir() if entry.name not in ours)
        if others:
            raise ValueError(f"{folder} holds other files ({others[0]!r} among them): name a folder of its own")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "writing to"):
        if not (folder / "collection.json").exists():
            for name in FILES:
                data_file(folder, name, 0).write_bytes(b"")
            empty = dict(format=FORMAT, id=uuid.uuid4().hex, generation=0, dim=dim, rows=0, names=0, dead=0)
            _replace(folder, dict(empty, model=model))
        with contextlib.closing(Writer(folder)) as writer:
            yield writer


class Writer:
    """Appends to a collection. What `commit` returned from is there after a kill or a power cut; the rest is not."""

    def __init__(self, folder):
        self.folder, self.manifest = folder, read_manifest(folder)
        self.files = {}
        generation = self.manifest["generation"]
        Snapshot(folder, self.manifest)  # says what is damaged
        for name in FILES:
            self.files[name] = open(data_file(folder, name, generation), "r+b", buffering=0)  # noqa: SIM115
        _forget_others(folder, generation)

    def commit(self, vectors, paths, stats, dead=()):
        """Append `vectors` (n, D) of the pictures `paths` with their os.stat_result, and take the rows `dead` out.

        All of it or nothing. Raises OSError naming the folder where the disk is full.
        """
        encoded = [os.fsencode(path) for path in paths]
        rows = np.empty(len(paths), ROW)
        rows["key"] = [key_of(path) for path in paths]
        rows["length"] = [len(name) for name in encoded]
        rows["start"] = self.manifest["names"] + np.cumsum(rows["length"]) - rows["length"]
        rows["size"], rows["mtime_ns"] = [s.st_size for s in stats], [s.st_mtime_ns for s in stats]
        if np.shape(vectors) != (len(paths), self.manifest["dim"]) or len(stats) != len(paths):
            raise ValueError(f"{len(paths)} pictures have embeddings of shape {np.shape(vectors)}")
        added = dict(vectors=np.ascontiguousarray(vectors, "<f4").tobytes(), rows=rows.tobytes())
        added.update(names=b"".join(encoded), dead=np.asarray(dead, "<i8").tobytes())
        changed = dict(
            rows=self.manifest["rows"] + len(paths),
            names=self.manifest["names"] + len(added["names"]),
            dead=self.manifest["dead"] + len(dead),
        )
        try:
            for name, data in added.items():
                if data:
                    self.files[name].seek(counted(self.manifest)[name])  # over what a commit that did not end left
                    _write(self.files[name], data)
                    os.fsync(self.files[name])
            _replace(self.folder, dict(self.manifest, **changed))
        except OSError as error:
            raise OSError(
                f"{self.folder} cannot be written to ({error.strerror}): mend that and start again; what was said to "
                "be indexed is kept"
            ) from error
        self.manifest = dict(self.manifest, **changed)

    def describe(self, model):
        """Replace what the collection says of its model."""
        if model != self.manifest["model"]:
            self.manifest = dict(self.manifest, model=model)
            _replace(self.folder, self.manifest)

    def close(self):
        """Close the files."""
        for file in self.files.values():
            file.close()


def compact(folder, block=4096):
    """Give the room of dead rows back to the disk, as new files; returns how many rows those were."""
    folder = Path(folder)
    read_manifest(folder)
    with locked(folder, "writing to"), contextlib.ExitStack() as stack:
        before, names = read(folder), 0
        rows, generation = np.flatnonzero(before.live), before.manifest["generation"] + 1
        if len(rows) == before.count:
            return 0
        files = [stack.enter_context(open(data_file(folder, name, generation), "wb")) for name in FILES]
        for start in range(0, len(rows), block):
            part = rows[start : start + block]
            kept = np.array(before.rows[part])
            kept["start"] = names + np.cumsum(kept["length"]) - kept["length"]
            names += int(kept["length"].sum())
            paths = b"".join(os.fsencode(before.path(row)) for row in part)
            for file, data in zip(files, (before.vectors[part].tobytes(), kept.tobytes(), paths)):
                file.write(data)
        for file in files:
            file.flush()
            os.fsync(file)
        _replace(folder, dict(before.manifest, generation=generation, rows=len(rows), names=names, dead=0))
        _forget_others(folder, generation)
        return before.count - len(rows)


def _forget_others(folder, generation):
    """Delete the data files of every generation but this one."""
    kept = {data_file(folder, name, generation) for name in FILES}
    for file in {file for name in FILES for file in folder.glob(f"{name}-*.bin")} - kept:
        file.unlink()


def _write(file, data):
    """Write all of `data` into an unbuffered file."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _replace(folder, manifest):
    """Write collection.json: from here on the new counts hold."""
    write_json(folder / "collection.json", manifest)
    with contextlib.suppress(OSError):  # a system that cannot do that to a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
