"""All pictures of a dataset, decoded once on all cores and kept in a memory-mapped file for later runs."""

import errno
import hashlib
import json
import logging
import math
import os
import shutil
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import List, Optional, Sequence

import numpy as np

from gluon_cgd.datasets import images
from gluon_cgd.datasets.records import PathLike, Record
from gluon_cgd.files import stand_in
from gluon_cgd.files.lock import waiting
from gluon_cgd.files.regular import open_regular, read_json
from gluon_cgd.files.whole import sync_folder, write_json
from gluon_cgd.machine import facts
from gluon_cgd.machine.progress import each, task

log = logging.getLogger(__name__)
# Pictures that one thread decodes and that are written at once: a task has its cost too. Each has a checksum, so that
# another number makes all caches again
BLOCK = 32
PIECE = 1 << 22  # bytes that are read at once to check them
FOREIGN = (errno.EACCES, errno.EPERM, errno.EROFS)  # errors of a place that may be read, but not written


def fingerprint(records: Sequence[Record]) -> str:
    """A hash of file names, sizes, labels and boxes: equal for two copies of one dataset.

    That of a rehearsal's made-up pictures says so.
    """
    rows = [(os.path.basename(r.path), os.path.getsize(r.path), int(r.label), r.box) for r in records]
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
    return stand_in.marked(digest, any(stand_in.is_picture(r.path) for r in records))


def cached(
    records: Sequence[Record], side: int, folder: Optional[PathLike] = None, progress: bool = False
) -> np.ndarray:
    """All pictures of `records`, cropped and resized: read-only, memory-mapped uint8 (N, side, side, 3).

    Written under `folder` (by default the cache folder) on first use, and reused until a picture's file changes. Its
    checksum is in its name and is compared with all of its bytes, by all cores, each time (a second for about 3 GB and
    core, if it is in memory); a damaged file is made again. Another user's file is read without being written to.
    Raises ValueError or OSError that names the picture, or the missing disk space, and leaves no half-written file.
    After Ctrl-C the pictures that are done are kept, and the next call goes on from there.
    """
    folder = facts.made(Path(folder or facts.cache_folder()) / "pictures")
    stats = [os.stat(r.path) for r in records]
    rows = [(os.path.abspath(r.path), s.st_size, s.st_mtime_ns, r.box) for r, s in zip(records, stats)]
    stem = folder / f"{hashlib.sha256(json.dumps([side, rows]).encode()).hexdigest()[:24]}-{side}"
    shape = (len(records), side, side, 3)
    file = _whole(stem, shape)  # before the lock: the folder may be another user's
    if file is None:
        try:
            with waiting(f"{stem}.uint8.lock", f"the pictures in {folder}"):  # a second process then finds the file
                file = _whole(stem, shape, mend=True) or _fill(stem, records, side, progress)
        except OSError as error:
            if error.errno not in FOREIGN or Path(str(error.filename)).parent != folder:
                raise
            what = f"the cache {folder} lacks these pictures and may not be written by this user"
            raise OSError(f"{what}: {facts.OWN_CACHE}") from error
    return np.memmap(file, np.uint8, "r", shape=shape)


def _whole(stem, shape, mend=False):
    """The file whose name begins with `stem` that holds pictures of this `shape`; None if there is none, or a damaged.

    mend: say what is damaged, and delete it.
    """
    size = math.prod(shape)
    files = [*stem.parent.glob(f"{stem.name}-*.uint8"), stem.with_suffix(".uint8")]
    for file in files:  # the last, of an earlier version, has no checksum in its name
        if file.is_file():
            fits = file.stat().st_size == size
            if fits and (file == files[-1] or file == _named(stem, _checksums(file, size // shape[0], shape[0]))):
                return file
            if mend:
                log.warning("%s is damaged and is made again", file)
                file.unlink()
    return None


def _named(stem, checksums):
    """The file of pictures with these `checksums`."""
    return Path(f"{stem}-{hashlib.sha256(json.dumps(checksums).encode()).hexdigest()[:16]}.uint8")


def _checksums(file, picture, count):
    """The CRC-32 of each BLOCK of the first `count` pictures in `file`, of `picture` bytes each; by all cores.

    Raises OSError where the disk reports a fault, which would end the process if the file were mapped.
    """
    with open_regular(file) as handle, ThreadPoolExecutor(facts.cores()) as pool:

        def checksum(first):
            value, end = 0, picture * min(first + BLOCK, count)
            for place in range(picture * first, end, PIECE):
                value = zlib.crc32(os.pread(handle.fileno(), min(PIECE, end - place), place), value)
            return value

        return list(pool.map(checksum, range(0, count, BLOCK)))


def _fill(stem, records, side, progress):
    """Write and return the file. What is finished is noted beside it, for a call after an interruption."""
    temporary, note = stem.with_suffix(".part"), stem.with_suffix(".count")
    picture = side * side * 3
    size = picture * len(records)
    try:
        checksums = _half_done(temporary, note, picture, len(records))
        whole = min(len(checksums) * BLOCK, len(records))
        if size - whole * picture > shutil.disk_usage(stem.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        doing = task(f"pictures at {side}", len(records), "img", progress, whole)
        with _opened(temporary, whole * picture) as out, doing as bar:
            try:
                for pictures in _decoded(records[whole:], side):
                    out.write(pictures)
                    checksums.append(zlib.crc32(pictures))
                    bar.update(len(pictures))
                    if len(checksums) % 16 == 0:
                        _note(note, checksums, out)
            except KeyboardInterrupt:
                _note(note, checksums, out)
                raise
            out.flush()
            os.fsync(out)
        if _checksums(temporary, picture, len(records)) != checksums:
            raise OSError(f"{temporary} does not hold what was written to it: check its disk")
        os.replace(temporary, _named(stem, checksums))
        sync_folder(stem.parent)
        return _named(stem, checksums)
    except Exception as error:  # not Ctrl-C: then the next call goes on
        temporary.unlink(missing_ok=True)
        if getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        needed = f"{stem.parent} has no room for {size / 1e9:.1f} GB of pictures"
        raise OSError(f"{needed}: free some, or name another folder in GLUON_CGD_CACHE") from error
    finally:
        if not temporary.exists():
            note.unlink(missing_ok=True)


def _half_done(temporary, note, picture, count):
    """The checksums of the pictures that an interrupted call left in `temporary`; [] if there are none, or damaged."""
    if not (temporary.is_file() and note.is_file()):
        return []
    try:
        checksums = read_json(note)
        blocks = len(checksums) if isinstance(checksums, list) else 0
        fits = 0 < blocks <= -(-count // BLOCK)
        if fits and _checksums(temporary, picture, min(blocks * BLOCK, count)) == checksums:
            return checksums
    except ValueError:  # the note itself
        pass
    log.warning("%s is damaged and is made again", temporary)
    return []


def _opened(temporary, place):
    """The file `temporary`, cut off at `place` and open to write there; a link in its place is deleted first."""
    if temporary.is_symlink():
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    out = os.fdopen(descriptor, "wb")
    out.truncate(place)
    out.seek(place)
    return out


def _note(note, checksums, out):
    """Bring the open file `out` to the disk, then write into the file `note` the checksums of what it holds."""
    out.flush()
    os.fsync(out)
    write_json(note, checksums)


def _decoded(records, side):
    """Yield the pictures of `records` in order, uint8 (b, side, side, 3) with b up to BLOCK, decoded on all cores."""

    def load(block):
        pictures = np.empty((len(block), side, side, 3), np.uint8)
        for record, picture in zip(block, pictures):
            images.load_picture(record.path, side, record.box, picture)
        return pictures

    blocks = (records[start : start + BLOCK] for start in range(0, len(records), BLOCK))
    for _, pictures in images.load_ahead(load, blocks, facts.cores() + 2):
        if isinstance(pictures, ValueError):
            raise ValueError(f"{pictures} (`data --verify` names all pictures that cannot be used)") from pictures
        if isinstance(pictures, Exception):
            raise pictures
        yield pictures


def unreadable(records: Sequence[Record], progress: bool = False) -> List[str]:
    """A sentence for each picture of `records` that cannot be read or does not hold its box; decodes every one."""

    def check(record):
        images.crop(images.decode(record.path), record.box, record.path)

    checked = images.load_ahead(check, records, 4 * facts.cores())
    return [str(error) for _, error in each(checked, "verifying", len(records), "img", progress) if error]
