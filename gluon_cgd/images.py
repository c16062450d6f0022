"""From files to batches: decoded, cropped and resized once into a memory-mapped file, then only sliced and flipped."""

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

import cv2
import numpy as np
import portalocker
from PIL import Image, ImageOps
from tqdm import tqdm

from . import runtime
from .atomic import write_text

log = logging.getLogger(__name__)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB in [0, 1]
JPEG, SCAN, END = b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd9"

cv2.setNumThreads(1)  # the pictures are what is spread over the cores


def decode(path):
    """The picture in file `path` as a person sees it: uint8 (H, W, 3), RGB.

    Turned upright (EXIF), 16 bits scaled to 8, transparency over white. Raises ValueError or OSError naming the file.
    """
    data = Path(path).read_bytes()
    if not data:
        raise ValueError(f"{path} is empty: get the picture again")
    if data.startswith(JPEG):
        # A cut file decodes to a picture with a grey rest; the missing end mark tells (a thumbnail has one, earlier)
        if not data.endswith(END) and data.rfind(END) < data.rfind(SCAN):
            raise ValueError(f"{path} is cut off (a JPEG without an end): get the picture again")
        if jpeg_components(data) in (1, 3):
            bgr = None
            with contextlib.suppress(cv2.error):  # more pixels than it will decode: neither will Pillow, with a reason
                bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            if bgr is not None:
                return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr)  # in place; a reversed view is slow to resize
    try:
        with Image.open(path) as image:
            return np.asarray(as_seen(ImageOps.exif_transpose(image)))
    except Exception as error:  # Pillow raises many kinds for a broken file (SyntaxError among them)
        raise ValueError(f"{path} is not a picture that can be read ({type(error).__name__}): get it again") from error


def jpeg_components(data):
    """Number of colour components that a JPEG file declares: 1 grey, 3 colour, 4 print (CMYK); 0 when not found."""
    place = 2
    while place + 9 < len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame header
            return data[place + 9]
        place += 1 if marker == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return 0


def as_seen(image):
    """A Pillow image in any mode -> RGB, 16 bits scaled to 8, transparency over white."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float32)
        scale = 1 / 257 if values.max() > 255 else 255 if image.mode == "F" and values.max() <= 1 else 1
        return Image.fromarray((values * scale).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def crop(picture, box, path):
    """`picture` (H, W, 3) inside `box` (x1, y1, x2, y2), clipped at the border as naver/cgd's evaluation code does.

    Raises ValueError when the box is empty, or a tenth of it or more lies outside: it is another picture's.
    """
    if box is None:
        return picture
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = box
    inside = max(0, min(x2, width) - max(x1, 0)) * max(0, min(y2, height) - max(y1, 0))
    if x2 <= x1 or y2 <= y1 or inside <= 0.9 * (x2 - x1) * (y2 - y1):
        raise ValueError(
            f"box {tuple(box)} is empty or outside of {path}, which is {width} x {height} pixels: "
            "check that annotations and pictures belong together"
        )
    return picture[max(y1, 0) : min(y2, height), max(x1, 0) : min(x2, width)]


def load(record, side):
    """The picture of a `datasets.Record`, cropped to its box and resized: uint8 (side, side, 3), aspect not kept."""
    picture = crop(decode(record.path), record.box, record.path)
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR)


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
    with portalocker.Lock(
        str(file) + ".lock", flags=portalocker.LockFlags.EXCLUSIVE
    ):  # a second process waits and finds it done
        shape = (len(records), side, side, 3)
        if file.is_file():
            with contextlib.suppress(OSError, ValueError):  # a file that is cut off or something else is made again
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
        # Written, not mapped: half the cost, and a disk that fills up is an error and not a crash
        # Written, not mapped: half the cost, and a disk that fills up is an error and not a crash. A thread of its own
        # brings it to the disk meanwhile, so that no picture is noted that a power cut could take away.
        with open(temporary, "r+b") as out, ThreadPoolExecutor(1) as flusher:

            def fill(i):
                _put(out, load(records[i], side), head + i * (size // len(records)))

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
            crop(decode(record.path), record.box, record.path)
        except (ValueError, OSError) as error:
            return str(error)
        return None

    bar = tqdm(spread(problem, records), total=len(records), desc="verifying", unit="img", disable=not progress)
    return [sentence for sentence in bar if sentence]


def augment(pictures, indices, size, rng, out=None):
    """A training batch: random `size` crops of `pictures[indices]`, half of them flipped: uint8 (B, size, size, 3).

    Written into `out` where one is given: fresh memory costs more than the pictures.
    """
    batch = np.empty((len(indices), size, size, 3), np.uint8) if out is None else out
    pictures = np.asarray(pictures)  # the mapped memory itself: slicing an np.memmap costs as much as copying a picture
    tops, lefts = rng.integers(pictures.shape[1] - size + 1, size=(2, len(indices))).tolist()
    flips = rng.integers(2, size=len(indices)).tolist()
    for picture, i, y, x, flip in zip(batch, np.asarray(indices).tolist(), tops, lefts, flips):
        crop_of_it = pictures[i, y : y + size, x : x + size]
        if flip:
            cv2.flip(crop_of_it, 1, dst=picture)
        else:
            picture[:] = crop_of_it
    return batch


def normalise(batch, ctx):
    """uint8 (B, H, W, 3) in NumPy -> float32 (B, 3, H, W) on device `ctx`, ImageNet's mean 0 and deviation 1."""
    import mxnet as mx

    return mx.nd.image.normalize(mx.nd.image.to_tensor(mx.nd.array(batch, ctx=ctx, dtype="uint8")), MEAN, STD)
