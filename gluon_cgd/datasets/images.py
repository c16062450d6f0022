"""One picture from its file, and batches for the network: decode, crop, resize; slice and flip; normalise."""

import contextlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Deque, Iterable, Iterator, Optional, Sequence, Tuple

import cv2
import numpy as np
from PIL import Image, ImageFile, ImageOps

from gluon_cgd.datasets.records import Box, PathLike
from gluon_cgd.machine import facts

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB in [0, 1]
GET_ANNOTATIONS = "get annotations that belong to its pictures"
JPEG, SCAN, END = b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd9"

cv2.setNumThreads(1)  # each core decodes a picture of its own


def decode(path: PathLike) -> np.ndarray:
    """The picture in the file `path` as a person sees it: uint8 (H, W, 3), RGB.

    Turned upright (EXIF), 16 bits scaled to 8, transparency over white. Raises ValueError or OSError with a
    sentence that names the file.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read()
    except IsADirectoryError as error:
        raise IsADirectoryError(f"{path} is a folder: name one picture in it") from error
    except OSError as error:
        raise type(error)(f"{path} cannot be read ({error.strerror}): check its name and permissions") from error
    if not data:
        raise ValueError(f"{path} is empty: get the picture again")
    if data.startswith(JPEG):
        # A cut file decodes with a grey rest; its end mark is missing (a thumbnail has one too, but earlier)
        if not data.endswith(END) and data.rfind(END) < data.rfind(SCAN):
            raise ValueError(f"{path} is cut off (a JPEG without an end): get the picture again")
        if jpeg_components(data) in (1, 3):
            bgr = None
            with contextlib.suppress(cv2.error):  # too many pixels: Pillow refuses them too, with a reason
                bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            if bgr is not None:
                return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr)  # in place; a reversed view is slow to resize
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # GluonCV sets it, and cut files would decode with a black rest
    try:
        with Image.open(path) as image:
            return np.asarray(as_seen(ImageOps.exif_transpose(image)))  # type: ignore[arg-type]
    except Exception as error:  # Pillow raises many kinds for a broken file (SyntaxError among them)
        raise ValueError(f"{path} is not a picture that can be read ({type(error).__name__}): get it again") from error


def jpeg_components(data: bytes) -> int:
    """The number of colour components of a JPEG file: 1 grey, 3 colour, 4 print (CMYK); 0 if it is not declared."""
    place = 2
    while place + 9 < len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame header
            return data[place + 9]
        place += 1 if marker == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return 0


def as_seen(image: Image.Image) -> Image.Image:
    """A Pillow image in any mode -> RGB, 16 bits scaled to 8, transparency over white."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float32)
        scale = 1 / 257 if values.max() > 255 else 255 if image.mode == "F" and values.max() <= 1 else 1
        return Image.fromarray((values * scale).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def crop(picture: np.ndarray, box: Optional[Box], path: PathLike, remedy: str = GET_ANNOTATIONS) -> np.ndarray:
    """`picture` (H, W, 3) inside `box` (x1, y1, x2, y2), for CUB200 and CARS196 (section 4.1).

    The box is clipped at the picture's border, as naver/cgd's evaluation code does.
    Raises ValueError if the box is empty, or if a tenth of it or more lies outside: then it is another picture's.
    remedy: how to mend that, the end of the message.
    """
    if box is None:
        return picture
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = box
    inside = max(0, min(x2, width) - max(x1, 0)) * max(0, min(y2, height) - max(y1, 0))
    if x2 <= x1 or y2 <= y1 or inside <= 0.9 * (x2 - x1) * (y2 - y1):
        raise ValueError(
            f"box {tuple(box)} is empty or outside of {path}, which is {width} x {height} pixels: {remedy}"
        )
    return picture[max(y1, 0) : min(y2, height), max(x1, 0) : min(x2, width)]


def load_picture(
    path: PathLike,
    side: int,
    box: Optional[Box] = None,
    out: Optional[np.ndarray] = None,
    remedy: str = GET_ANNOTATIONS,
) -> np.ndarray:
    """The picture in the file `path`, or its `box`, resized to uint8 (side, side, 3) without keeping its aspect.

    252 to train and 224 to test in the paper (section 4.2).
    Written into `out` if that is an array. Raises ValueError or OSError, both naming the file.
    remedy: see `crop`.
    """
    picture = crop(decode(path), box, path, remedy)
    return cv2.resize(picture, (side, side), dst=out, interpolation=cv2.INTER_LINEAR)


def load_ahead(load_one: Callable[[Any], Any], items: Iterable, count: int) -> Iterator[Tuple[Any, Any]]:
    """Yield (item, load_one(item)) for each of `items`, in order; (item, error) after a ValueError or an OSError.

    While the caller uses one result, threads on all cores work on the next `count` items: cv2 and Pillow release the
    interpreter's lock while they decode. `items` may be a generator; it is read `count` items ahead and no further.
    """

    def attempt(item):
        try:
            return item, load_one(item)
        except (ValueError, OSError) as error:
            return item, error

    pending: Deque[Any] = deque()
    with ThreadPoolExecutor(facts.cores()) as pool:
        try:
            for item in items:
                pending.append(pool.submit(attempt, item))
                if len(pending) == count:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def augment(
    pictures: np.ndarray,
    indices: np.ndarray,
    size: int,
    rng: np.random.Generator,
    out: Optional[np.ndarray] = None,
) -> np.ndarray:
    """A training batch: random `size` crops of `pictures[indices]`, half of them flipped: uint8 (B, size, size, 3).

    Section 4.2: from 252 to 224, then a random horizontal flip.
    Written into `out` if that is an array: new memory would cost more time than the pictures.
    """
    batch = np.empty((len(indices), size, size, 3), np.uint8) if out is None else out
    pictures = np.asarray(pictures)  # slicing an np.memmap costs as much as copying a picture
    tops, lefts = rng.integers(pictures.shape[1] - size + 1, size=(2, len(indices))).tolist()
    flips = rng.integers(2, size=len(indices)).tolist()
    for picture, i, y, x, flip in zip(batch, np.asarray(indices).tolist(), tops, lefts, flips):
        crop_of_it = pictures[i, y : y + size, x : x + size]
        if flip:
            cv2.flip(crop_of_it, 1, dst=picture)
        else:
            cv2.copyTo(crop_of_it, None, dst=picture)
    return batch


def parts(batch: np.ndarray, devices: Sequence) -> list:
    """`batch`, normalised, in one part on each of `devices`, in order; their sizes differ by at most one."""
    return [normalise(part, ctx) for part, ctx in zip(np.array_split(batch, len(devices)), devices)]


def normalise(batch: np.ndarray, ctx: Any) -> Any:
    """uint8 (B, H, W, 3) in NumPy -> float32 (B, 3, H, W) on device `ctx`, ImageNet's mean 0 and deviation 1."""
    import mxnet as mx

    return mx.nd.image.normalize(mx.nd.image.to_tensor(mx.nd.array(batch, ctx=ctx, dtype="uint8")), MEAN, STD)
