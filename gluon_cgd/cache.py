"""All pictures of a dataset, decoded once on all cores and kept in a memory-mapped file for every later run."""

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import portalocker
from tqdm import tqdm

from . import images, runtime
from .atomic import write_text

log = logging.getLogger(__name__)


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
    folder = Path(folder or runtime.cache_folder()) / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    stats = [os.stat(r.path) for r in records]
    rows = [(os.path.abspath(r.path), s.st_size, s.st_mtime_ns, r.box) for r, s in zip(records, stats)]
    file = folder / f"{hashlib.sha256(json.dumps([side, rows]).encode()).hexdigest()[:24]}-{side}.npy"
    # A second process waits and finds it done
    with portalocker.Lock(f"{file}.lock", flags=portalocker.LockFlags.EXCLUSIVE):
        shape = (len(records), side, side, 3)
        if file.is_file():
            # A file that is cut off or something else is made again
            with contextlib.suppress(OSError, ValueError, EOFError):
                pictures = np.load(file, mmap_mode="r")
                if pictures.shape == shape and pictures.dtype == np.uint8:
                    return pictures
            log.warning("%s is damaged and is made again", file)
        _fill(file, records, side, progress)
    return np.load(file, mmap_mode="r")


def _fill(file, records, side, progress):
    """Make `file`. How many pictures are whole is noted beside it, for a call that goes on after an interruption."""
    temporary, note = file.with_suffix(".part"), file.with_suffix(".count")
    shape = (len(records), side, side, 3)
    size = int(np.prod(shape, dtype=np.int64))
    try:
        whole = int(note.read_text()) if note.exists() and temporary.exists() else 0
        if not whole:
            if size > shutil.disk_usage(file.parent).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)  # the head; the rest is empty
        head = temporary.stat().st_size - size
        # Written, not mapped: half the cost, and a disk that fills up is an error and not a crash. A thread of its own
        # brings it to the disk meanwhile, so that no picture is noted that a power cut could take away.
        with open(temporary, "r+b") as out, ThreadPoolExecutor(1) as flusher:

            def fill(i):
                _put(out, images.load(records[i], side), head + i * (size // len(records)))

            bar = tqdm(total=len(records), initial=whole, desc=f"pictures at {side}", unit="img", disable=not progress)
            noted = flusher.submit(int)
            try:
                for _ in spread(fill, range(whole, len(records))):  # in order
                    whole += 1
                    bar.update()
                    if whole % 500 == 0 and noted.done():
                        noted = flusher.submit(_note, note, whole, out)
            except KeyboardInterrupt:
                flusher.submit(_note, note, whole, out)
                raise
            finally:
                bar.close()
            os.fsync(out.fileno())
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
    """Write to the file `note` that `whole` pictures of the open file `out` are on the disk."""
    os.fsync(out.fileno())
    write_text(note, str(whole))


def _put(file, data, offset):
    """Write all of `data` at `offset` of an open file, from any thread."""
    view = memoryview(data).cast("B")
    while view:
        written = os.pwrite(file.fileno(), view, offset)
        view, offset = view[written:], offset + written


def spread(function, items, block=32):
    """Yield function(item) for each of the sequence `items`, in order, from all cores; an error stops all.

    Threads: cv2 and Pillow let go of the interpreter while they decode. Blocks: a task has its cost too.
    """
    stopped = threading.Event()

    def work(start):
        return [None if stopped.is_set() else function(item) for item in items[start : start + block]]

    with ThreadPoolExecutor(runtime.cores()) as pool:
        try:
            for results in pool.map(work, range(0, len(items), block)):
                yield from results
        finally:
            stopped.set()  # what is still queued returns at once


def unreadable(records, progress=False):
    """Decode every picture of `records`; return a sentence for each that cannot be read or does not hold its box."""

    def problem(record):
        try:
            images.crop(images.decode(record.path), record.box, record.path)
        except (ValueError, OSError) as error:
            return str(error)
        return None

    bar = tqdm(spread(problem, records), total=len(records), desc="verifying", unit="img", disable=not progress)
    return [sentence for sentence in bar if sentence]
