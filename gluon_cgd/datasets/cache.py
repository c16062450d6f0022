"""All pictures of a dataset, decoded once on all cores and kept in a memory-mapped file for later runs."""

import errno
import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import List, Optional, Sequence

import numpy as np
import portalocker

from gluon_cgd.datasets import images
from gluon_cgd.datasets.records import PathLike, Record
from gluon_cgd.files.whole import write_text
from gluon_cgd.machine import facts
from gluon_cgd.machine.progress import each, task

log = logging.getLogger(__name__)
BLOCK = 32  # pictures that one thread decodes and that are written at once: a task has its cost too


def fingerprint(records: Sequence[Record]) -> str:
    """A hash of file names, sizes, labels and boxes: equal for two copies of one dataset."""
    rows = [(os.path.basename(r.path), os.path.getsize(r.path), int(r.label), r.box) for r in records]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def cached(
    records: Sequence[Record], side: int, folder: Optional[PathLike] = None, progress: bool = False
) -> np.ndarray:
    """All pictures of `records`, cropped and resized: read-only, memory-mapped uint8 (N, side, side, 3).

    Written under `folder` (by default the cache folder) on first use, and reused until a picture's file changes.
    Raises ValueError or OSError that names the picture, or the missing disk space, and leaves no half-written file.
    After Ctrl-C the pictures that are done are kept, and the next call goes on from there.
    """
    folder = facts.made(Path(folder or facts.cache_folder()) / "pictures")
    stats = [os.stat(r.path) for r in records]
    rows = [(os.path.abspath(r.path), s.st_size, s.st_mtime_ns, r.box) for r, s in zip(records, stats)]
    file = folder / f"{hashlib.sha256(json.dumps([side, rows]).encode()).hexdigest()[:24]}-{side}.uint8"
    shape = (len(records), side, side, 3)
    # A second process waits, and then finds the file
    with portalocker.Lock(f"{file}.lock", flags=portalocker.LockFlags.EXCLUSIVE):
        if file.is_file() and file.stat().st_size != np.prod(shape, dtype=np.int64):
            log.warning("%s is damaged and is made again", file)
            file.unlink()
        if not file.is_file():
            _fill(file, records, side, progress)
    return np.memmap(file, np.uint8, "r", shape=shape)


def _fill(file, records, side, progress):
    """Write `file`. The number of finished pictures is kept beside it, for a call after an interruption."""
    temporary, note = file.with_suffix(".part"), file.with_suffix(".count")
    picture = side * side * 3
    size = picture * len(records)
    try:
        whole = int(note.read_text()) if note.exists() and temporary.exists() else 0
        if size - whole * picture > shutil.disk_usage(file.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        doing = task(f"pictures at {side}", len(records), "img", progress, whole)
        with open(temporary, "r+b" if whole else "wb") as out, doing as bar:
            out.seek(whole * picture)
            try:
                for pictures in _decoded(records[whole:], side):
                    out.write(pictures)
                    whole += len(pictures)
                    bar.update(len(pictures))
                    if whole % (16 * BLOCK) == 0:
                        _note(note, whole, out)
            except KeyboardInterrupt:
                _note(note, whole, out)
                raise
            out.truncate(size)  # of what an interrupted version before this one wrote; it flushes
            os.fsync(out)
        os.replace(temporary, file)
    except Exception as error:  # not Ctrl-C: then the next call goes on
        temporary.unlink(missing_ok=True)
        if getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        needed = f"{file.parent} has no room for {size / 1e9:.1f} GB of pictures"
        raise OSError(f"{needed}: free some, or name another folder in GLUON_CGD_CACHE") from error
    finally:
        if not temporary.exists():
            note.unlink(missing_ok=True)


def _note(note, whole, out):
    """Bring the open file `out` to the disk, then write into the file `note` that it holds `whole` pictures."""
    out.flush()
    os.fsync(out)
    write_text(note, str(whole))


def _decoded(records, side):
    """Yield the pictures of `records` in order, uint8 (b, side, side, 3) with b up to BLOCK, decoded on all cores."""

    def load(block):
        pictures = np.empty((len(block), side, side, 3), np.uint8)
        for record, picture in zip(block, pictures):
            images.load_picture(record.path, side, record.box, picture)
        return pictures

    blocks = (records[start : start + BLOCK] for start in range(0, len(records), BLOCK))
    for _, pictures in images.load_ahead(load, blocks, facts.cores() + 2):
        if isinstance(pictures, Exception):
            raise pictures
        yield pictures


def unreadable(records: Sequence[Record], progress: bool = False) -> List[str]:
    """A sentence for each picture of `records` that cannot be read or does not hold its box; decodes every one."""

    def check(record):
        images.crop(images.decode(record.path), record.box, record.path)

    checked = images.load_ahead(check, records, 4 * facts.cores())
    return [str(error) for _, error in each(checked, "verifying", len(records), "img", progress) if error]
