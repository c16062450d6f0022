"""From files to batches: decoded, cropped and resized once into a memory-mapped file, then only sliced and flipped."""

import errno
import hashlib
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import portalocker
from PIL import Image
from tqdm import tqdm

from . import runtime

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB in [0, 1]
JPEG, SCAN, END = b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd9"

cv2.setNumThreads(1)  # the pictures are what is spread over the cores


def decode(path):
    """The picture in file `path`: uint8 (H, W, 3), RGB. Raises ValueError or OSError naming the file."""
    data = Path(path).read_bytes()
    if not data:
        raise ValueError(f"{path} is empty: get the picture again")
    if data.startswith(JPEG):
        # A cut file decodes to a picture with a grey rest; the missing end mark tells (a thumbnail has one, earlier)
        if data.rfind(END) < data.rfind(SCAN):
            raise ValueError(f"{path} is cut off (a JPEG without an end): get the picture again")
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if bgr is not None:
            return bgr[..., ::-1]
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow raises many kinds for a broken file (SyntaxError among them)
        raise ValueError(f"{path} is not a picture that can be read ({type(error).__name__}): get it again") from error


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
    Raises ValueError or OSError naming the picture, or the space that is missing; then nothing half-made is left.
    """
    folder = Path(folder or runtime.cache_folder()) / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    stats = [os.stat(r.path) for r in records]
    rows = [(os.path.abspath(r.path), s.st_size, s.st_mtime_ns, r.box) for r, s in zip(records, stats)]
    file = folder / f"{hashlib.sha256(json.dumps([side, rows]).encode()).hexdigest()[:24]}-{side}.npy"
    with portalocker.Lock(
        str(file) + ".lock", flags=portalocker.LockFlags.EXCLUSIVE
    ):  # a second process waits and finds it done
        if not file.is_file():
            _fill(file, records, side, progress)
    return np.load(file, mmap_mode="r")


def _fill(file, records, side, progress):
    temporary = file.with_suffix(".part")
    try:
        pictures = _allocate(temporary, (len(records), side, side, 3))
        stopped = threading.Event()

        def fill(i):
            if not stopped.is_set():
                pictures[i] = load(records[i], side)

        with ThreadPoolExecutor(runtime.cores()) as pool:  # cv2 and Pillow let go of the interpreter while they decode
            try:
                for _ in tqdm(
                    pool.map(fill, range(len(records))),
                    total=len(records),
                    desc=f"pictures at {side}",
                    unit="img",
                    disable=not progress,
                ):
                    pass
            finally:
                stopped.set()  # on an error: what is still queued returns at once
        pictures.flush()
        os.replace(temporary, file)
    finally:
        if temporary.exists():
            temporary.unlink()


def _allocate(file, shape):
    """A new uint8 .npy file of `shape` whose bytes are really there: a full disk is an error now, not a crash later."""
    size = int(np.prod(shape, dtype=np.int64))
    try:
        pictures = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
        if hasattr(os, "posix_fallocate"):  # Linux; elsewhere the disk is trusted
            with open(file, "r+b") as handle:
                os.posix_fallocate(handle.fileno(), 0, os.path.getsize(file))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise OSError(
            f"{file.parent} has no room for {size / 1e9:.1f} GB of pictures: free some, or name another folder "
            "in GLUON_CGD_CACHE"
        ) from error
    return pictures


def augment(pictures, indices, size, rng):
    """A training batch: random `size` crops of `pictures[indices]`, half of them flipped: uint8 (B, size, size, 3)."""
    room = pictures.shape[1] - size + 1
    batch = np.empty((len(indices), size, size, 3), np.uint8)
    for out, i, y, x, flip in zip(
        batch,
        indices,
        rng.integers(room, size=len(indices)),
        rng.integers(room, size=len(indices)),
        rng.integers(2, size=len(indices)),
    ):
        out[:] = pictures[i, y : y + size, x : x + size][:, :: -1 if flip else 1]
    return batch


def normalise(batch, ctx):
    """uint8 (B, H, W, 3) in NumPy -> float32 (B, 3, H, W) on device `ctx`, ImageNet's mean 0 and deviation 1."""
    import mxnet as mx

    return mx.nd.image.normalize(mx.nd.image.to_tensor(mx.nd.array(batch, ctx=ctx, dtype="uint8")), MEAN, STD)
