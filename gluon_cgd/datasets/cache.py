"""All pictures of a dataset, decoded once on all cores and kept in a memory-mapped file for every later run."""

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import math
import mmap
import os
import shutil
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import portalocker
from tqdm import tqdm

from gluon_cgd.datasets import images
from gluon_cgd.files.whole import write_text
from gluon_cgd.machine import facts

log = logging.getLogger(__name__)
BLOCK = 32  # pictures that are decoded by one thread and written at once
DIRECT = getattr(os, "O_DIRECT", 0)


def fingerprint(records):
    """A hash of what the records say (file names, sizes, labels, boxes): equal for two copies of one dataset."""
    rows = [(os.path.basename(r.path), os.path.getsize(r.path), int(r.label), r.box) for r in records]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def cached(records, side, folder=None, progress=False):
    """All pictures of `records` at `side`: a read-only memory-mapped uint8 (N, side, side, 3).

    Made on first use under `folder` (by default the cache folder) and reused while the files stay as they are.
    Raises ValueError or OSError naming the picture, or the space that is missing; then nothing half-made is left. After
    an interruption what was done is kept, and the next call goes on from there.
    """
    folder = Path(folder or facts.cache_folder()) / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    stats = [os.stat(r.path) for r in records]
    rows = [(os.path.abspath(r.path), s.st_size, s.st_mtime_ns, r.box) for r, s in zip(records, stats)]
    file = folder / f"{hashlib.sha256(json.dumps([side, rows]).encode()).hexdigest()[:24]}-{side}.uint8"
    shape = (len(records), side, side, 3)
    # A second process waits and finds it done
    with portalocker.Lock(f"{file}.lock", flags=portalocker.LockFlags.EXCLUSIVE):
        if file.is_file() and file.stat().st_size != np.prod(shape, dtype=np.int64):
            log.warning("%s is damaged and is made again", file)
            file.unlink()
        if not file.is_file():
            _fill(file, records, side, progress)
    return np.memmap(file, np.uint8, "r", shape=shape)


def _fill(file, records, side, progress):
    """Make `file`. How many pictures are whole is noted beside it, for a call that goes on after an interruption."""
    temporary, note = file.with_suffix(".part"), file.with_suffix(".count")
    picture = side * side * 3
    size = picture * len(records)
    try:
        whole = int(note.read_text()) if note.exists() and temporary.exists() else 0
        if size - whole * picture > shutil.disk_usage(file.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        bar = tqdm(total=len(records), initial=whole, desc=f"pictures at {side}", unit="img", disable=not progress)
        with _open(temporary) as out, bar:
            try:
                for pictures, count in _decoded(records[whole:], side):
                    _write(out, pictures, whole * picture)
                    whole += count
                    bar.update(count)
                    if whole % (16 * BLOCK) == 0:
                        _note(note, whole, out)
            except KeyboardInterrupt:
                _note(note, whole, out)
                raise
            out.truncate(size)  # the last block was written whole
            os.fsync(out)
        os.replace(temporary, file)
    except Exception as error:  # not an interruption, which goes on later
        temporary.unlink(missing_ok=True)
        if getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise OSError(
            f"{file.parent} has no room for {size / 1e9:.1f} GB of pictures: free some, or name another folder "
            "in GLUON_CGD_CACHE"
        ) from error
    finally:
        if not temporary.exists():
            note.unlink(missing_ok=True)


def _note(note, whole, out):
    """Write to the file `note` that `whole` pictures of the open file `out` are where no power cut takes them away."""
    os.fsync(out)
    write_text(note, str(whole))


def _open(file):
    """Open `file` for writing past the system's page cache, which would cost a third of the decoding, if it can be."""

    def unbuffered(flags):
        return open(file, "r+b", buffering=0, opener=lambda name, mode: os.open(name, mode | os.O_CREAT | flags, 0o666))

    with contextlib.suppress(OSError):  # a file system that does not know it; what else is wrong, the next line says
        return unbuffered(DIRECT)
    return unbuffered(0)


def _write(out, data, offset):
    """Write all of `data` at `offset` of the open file `out`."""
    view = memoryview(data).cast("B")
    while view:
        try:
            written = os.pwrite(out.fileno(), view, offset)
        except OSError as error:
            mode = fcntl.fcntl(out, fcntl.F_GETFL)
            if error.errno != errno.EINVAL or not mode & DIRECT:
                raise
            fcntl.fcntl(out, fcntl.F_SETFL, mode & ~DIRECT)  # pieces that are no whole blocks of this disk
            continue
        view, offset = view[written:], offset + written


def _decoded(records, side):
    """Yield (pictures, count), blocks of pictures of `records` in order, decoded on all cores; an error stops all.

    pictures: uint8 (BLOCK, side, side, 3), of which the first `count` are filled; good until the next is asked for.
    Threads: cv2 and Pillow let go of the interpreter while they decode. Blocks: a task has its cost too.
    """

    def work(start, buffer):
        block = records[start : start + BLOCK]
        for record, picture in zip(block, buffer):
            images.load(record, side, picture)
        return buffer, len(block)

    shape = (BLOCK, side, side, 3)  # of memory that begins a page, as direct writing needs it
    free = [np.frombuffer(mmap.mmap(-1, math.prod(shape)), np.uint8).reshape(shape) for _ in range(facts.cores() + 2)]
    pending = deque()
    with ThreadPoolExecutor(facts.cores()) as pool:
        for start in range(0, len(records), BLOCK):
            if not free:
                done = pending.popleft().result()
                yield done
                free.append(done[0])
            pending.append(pool.submit(work, start, free.pop()))
        for future in pending:
            yield future.result()


def unreadable(records, progress=False):
    """Decode every picture of `records`; return a sentence for each that cannot be read or does not hold its box."""

    def problem(record):
        try:
            images.crop(images.decode(record.path), record.box, record.path)
        except (ValueError, OSError) as error:
            return str(error)
        return None

    with ThreadPoolExecutor(facts.cores()) as pool:
        found = pool.map(problem, records)
        bar = tqdm(found, total=len(records), desc="verifying", unit="img", disable=not progress)
        return [sentence for sentence in bar if sentence]
