"""Mending of a damaged index: what is as it was written is kept, the rest is left out, to be embedded again."""

import logging
import os
import zlib
from pathlib import Path

import numpy as np

from gluon_cgd.files.lock import locked
from gluon_cgd.files.regular import open_regular
from gluon_cgd.retrieval import blocks, collection, compaction, stores
from gluon_cgd.retrieval.manifest import BEFORE, FORMAT, NAME, Damaged, read_manifest, write
from gluon_cgd.retrieval.mapping import is_no_file, opened
from gluon_cgd.retrieval.snapshot import FILES, ROWS, Snapshot, counted, data_file

log = logging.getLogger(__name__)
BLOCK = 2**26  # bytes of embeddings that are compared with their checksums at a time
LONG = 2**31  # bytes: above this it takes more than a moment


def mend(folder):
    """Compare every byte of the collection in `folder` with its checksum, and leave out what differs.

    A collection of an earlier version gets checksums. Returns the number of rows that were left out; nothing is done
    for a folder without a collection. Raises ValueError while another process writes, and if both manifests are lost.
    """
    folder = Path(folder)
    if not any(os.path.lexists(folder / name) for name in (NAME, BEFORE)):
        return 0
    with locked(folder, "writing to"):
        manifest = _find_manifest(folder)
        if counted(manifest)["vectors"] > LONG:
            log.info("%s: checking %s embeddings", folder, f"{manifest['rows']:,}")
        try:
            rows = Snapshot(folder, manifest)
            compare(rows)
        except (Damaged, FileNotFoundError) as error:
            log.warning("%s", error.what if isinstance(error, Damaged) else f"{error.filename} is missing")
            rows = _whole_before(folder, manifest) or Remains(folder, manifest)
        else:
            if manifest["format"] == FORMAT:
                return 0
            log.info("%s was made by an earlier version and gets checksums", folder)
        compaction.rewrite(rows)
        held = rows.manifest["rows"] - rows.manifest["dead"]
        lost = max(0, held - len(rows))
        if lost:
            message = "%s: %s of %s embeddings are lost; those of --images are made again, index your other folders too"
            log.warning(message, folder, f"{lost:,}", f"{held:,}")
        return lost


def _find_manifest(folder):
    """The manifest, or if it is damaged the one before it, which takes its place."""
    try:
        return read_manifest(folder)
    except Damaged as error:
        try:
            before = read_manifest(folder, BEFORE)
        except (ValueError, OSError) as other:
            raise ValueError(f"{error.what}, and neither can {BEFORE}: delete {folder}, and index again") from other
        log.warning("%s: %s takes its place", error.what, BEFORE)
        (folder / NAME).unlink(missing_ok=True)  # it may be a pipe
        write(folder, before)
        return before


def _before_of_another(folder, manifest):
    """The manifest BEFORE if it is of another index than `manifest`, as where a file was copied over; else None."""
    try:
        before = read_manifest(folder, BEFORE)
    except (ValueError, OSError):
        return None
    return before if before["id"] != manifest["id"] else None


def _whole_before(folder, manifest):
    """The Snapshot of the manifest BEFORE, if `manifest` is of another index and it is not; else None."""
    before = _before_of_another(folder, manifest)
    if not before:
        return None
    try:
        rows = Snapshot(folder, before)
        compare(rows)
    except (Damaged, FileNotFoundError):
        return None
    log.warning("%s is of another index: %s takes its place", folder / NAME, BEFORE)
    return rows


class Remains(Snapshot):
    """What can be used of a damaged collection: `live` rows have the embedding and the path that were written."""

    def __init__(self, folder, manifest):
        self.folder, self.manifest, self.dim = Path(folder), manifest, manifest["dim"]
        size, kind = counted(manifest), ROWS[manifest["format"]]
        there = {name: _remaining(data_file(folder, name, manifest["generation"]), size[name]) for name in FILES}
        width = stores.width_of(manifest)
        self.count = min(len(there["vectors"]) // width, len(there["rows"]) // kind.itemsize)
        self.stored = there["vectors"][: self.count * width].reshape(-1, width)
        self.vectors = stores.opened(self.stored, manifest)
        self._rows = there["rows"][: self.count * kind.itemsize].view(kind)
        self._blocks, self._known = None, np.ones(-(-self.count // blocks.ROWS), bool)  # each row is compared by itself
        self._names, self._checked = there["names"], np.zeros(self.count, bool)
        self.live = np.zeros(self.count, bool)
        for part in _parts(self):
            self.live[part] = self.intact(part)
            self.forget()
        embedded = self.live.all()
        for row in np.flatnonzero(self.live):
            self.live[row] = self._has_its_path(row)
        if embedded and self._may_be_of_another(there):
            log.warning("%s: its files are not of one index, so none of its embeddings is kept", folder)
            self.live[:] = False
        try:
            dead = self._dead(there["dead"][: len(there["dead"]) // 8 * 8])
        except Damaged:
            log.warning("%s: it is not known which pictures were removed: --prune removes them again", folder)
            self._keep_last()
        else:
            self.live[dead[dead < self.count]] = False

    def _may_be_of_another(self, there):
        """Whether the manifest may be of another index, with another model, than the embeddings, which are whole.

        So it is if the manifest before it has another id. Else the files tell: those of rows and names are not what
        the manifest names, or that of rows is not, and still all of its rows have their paths.
        """
        if self.manifest["format"] == 1 or not self.count:
            return False
        if _before_of_another(self.folder, self.manifest):
            return True
        rows, names = (zlib.crc32(there[name]) != self.manifest["crc"][name] for name in ("rows", "names"))
        return bool(rows and self.count == self.manifest["rows"] and (names or self.live.all()))

    def _has_its_path(self, row):
        """Whether the path of `row` is inside the file of names and has the hash that the row holds."""
        record = self._rows[row]
        start, length = int(record["start"]), int(record["length"])
        return (
            start >= 0 < length
            and start + length <= len(self._names)
            and collection.key_of(self.path(row)) == int(record["key"])
        )

    def _keep_last(self):
        """Leave only the last row of each path: the others were replaced."""
        rows = np.flatnonzero(self.live)
        self.live[rows] = False
        self.live[list({self.path(row): row for row in rows}.values())] = True


def _remaining(file, size):
    """As much as is there of the first `size` bytes of `file`."""
    try:
        with open_regular(file) as handle:
            there = min(size, os.fstat(handle.fileno()).st_size)
            return opened(handle, there)
    except (OSError, ValueError) as error:
        if not isinstance(error, FileNotFoundError) and not is_no_file(error):
            raise
        return np.empty(0, np.uint8)


def compare(snapshot):
    """Raise Damaged unless all rows, paths and embeddings of a Snapshot have their checksums, in constant memory."""
    for part in _parts(snapshot):
        snapshot.check(part)
        snapshot.forget()


def _parts(rows):
    """The rows as slices of about BLOCK bytes."""
    step = max(1, BLOCK // (4 * rows.dim))
    return [slice(start, min(start + step, rows.count)) for start in range(0, rows.count, step)]
