"""One picture from its file, and batches for the network: decode, crop, resize; slice and flip; normalise."""

import contextlib
import io
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, Callable, Deque, Iterable, Iterator, Optional, Sequence, Tuple

import cv2
import numpy as np
from PIL import Image, ImageFile, ImageOps

from gluon_cgd.datasets import formats, jpeg, png, values
from gluon_cgd.datasets.records import Box, PathLike
from gluon_cgd.extensions import augmentation
from gluon_cgd.files.regular import open_regular
from gluon_cgd.machine import facts
from gluon_cgd.sampler import Crops, draw_crops

log = logging.getLogger(__name__)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB in [0, 1]
GET_ANNOTATIONS = "get annotations that belong to its pictures"
GREY = [128, 128, 128]  # with which a decoder of JPEG fills what is missing, and says nothing
SCANS = 20  # of the largest picture, at most; encoders make 10

cv2.setNumThreads(1)  # each core decodes a picture of its own


def decode(path: PathLike, most: Optional[int] = None) -> np.ndarray:
    """The picture in the file `path` as a person sees it: uint8 (H, W, 3), RGB.

    Turned upright (EXIF), 16 bits scaled to 8, transparency over white; the first of several pictures in the file. A
    JPEG that is whole but for its end mark is read with a warning, and so is a picture whose EXIF is damaged. Raises
    ValueError or OSError with a sentence that names the file, also for one of more than `most` pixels (default:
    `formats.PIXELS`), and MemoryError where there is too little memory for it.
    """
    with _lack_of_memory_told(path):
        return _decoded(path, formats.PIXELS if most is None else most)


@contextlib.contextmanager
def _lack_of_memory_told(path: PathLike) -> Iterator[None]:
    """Name `path` in a MemoryError, which OpenCV's own error becomes too: no sound picture is called damaged."""
    try:
        yield
    except (MemoryError, cv2.error) as error:
        if isinstance(error, cv2.error) and error.code != cv2.Error.STS_NO_MEM:
            raise
        remedy = "close other programs, or save it smaller"
        raise MemoryError(f"{path} needs more memory than there is to be decoded: {remedy}") from error


def _decoded(path: PathLike, most: int) -> np.ndarray:
    """As `decode`."""
    try:
        with open_regular(path, formats.BYTES) as file:
            head = file.read(formats.HEAD)
            if not head:
                raise ValueError(f"{path} is empty: get the picture again")
            kind = formats.format_of(head, path)
            if kind != "JPEG":
                return _by_pillow(file, head, kind, path, most)
            data = head + file.read()
    except IsADirectoryError as error:
        raise IsADirectoryError(f"{path} is a folder: name one picture in it") from error
    except OSError as error:
        raise type(error)(f"{path} cannot be read ({error.strerror}): check its name and permissions") from error
    return _jpeg(data, path, most)


def _jpeg(data: bytes, path: PathLike, most: int) -> np.ndarray:
    """The picture in the JPEG file `data`, of at most `most` pixels."""
    shape = jpeg.structure(data)
    cut = ValueError(f"{path} is cut off (a JPEG without an end): get the picture again")
    if shape is None:
        raise ValueError(f"{path} is not a picture that can be read (a JPEG without its size): get it again")
    formats.check_pixels((shape.width, shape.height), path, most)
    if not jpeg.can_hold(data, shape) or not shape.end:
        raise cut
    if shape.scans * shape.width * shape.height > SCANS * most:  # each takes as long as a picture
        raise ValueError(f"{path} has {shape.scans:,} scans, too many for its size: get it again, or save it anew")
    if not shape.marked:
        if not shape.complete or not jpeg.is_whole(data[: shape.end]):
            raise cut
        log.warning("%s has no end mark, but all of its picture: it is read", path)
        data = data[: shape.end] + jpeg.END
    elif not shape.complete:
        log.warning("%s lacks some of the scans of its picture, which may be blurred: check it", path)
    picture = None
    if shape.components in (1, 3):
        try:
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error as error:  # more pixels than OpenCV takes
            if error.code == cv2.Error.STS_NO_MEM:
                raise
    if picture is None:
        picture = _by_pillow(io.BytesIO(data), data[: formats.HEAD], "JPEG", path, most)
    else:
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=picture)  # in place; a reversed view is slow to resize
    grey = shape.components not in (1, 3) or any(picture[y, x].tolist() == GREY for y in (0, -1) for x in (0, -1))
    divided = shape.scans > 1 and not shape.progressive
    if shape.marked and (grey or divided) and not jpeg.is_filled(data[: shape.end]):
        raise cut
    return picture


def _by_pillow(file: BinaryIO, head: bytes, kind: str, path: PathLike, most: int) -> np.ndarray:
    """The picture in `file`, which begins with `head` and is of format `kind`, of at most `most` pixels."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # GluonCV sets it, and cut files would decode with a black rest
    file.seek(0)
    try:
        with formats.open_picture(file, head, kind, path, most) as image:
            image.load()
            if kind == "PNG" and _may_lack_rows(image) and not png.is_filled(file):
                raise formats.Refused(f"{path} is cut off (a PNG with fewer rows than it names): get it again")
            values.check(image, path)
            _turn(image, path)
            return values.as_seen(image)
    except (formats.Refused, MemoryError):
        raise
    except Image.DecompressionBombError as error:  # of a part of it, whatever size its header names
        raise ValueError(
            f"{path} has more pixels than its header names, and at most {most:,} are decoded: get it again"
        ) from error
    except Exception as error:  # Pillow raises many kinds for a broken file (SyntaxError among them)
        raise ValueError(f"{path} is not a picture that can be read ({type(error).__name__}): get it again") from error


def _turn(image: Image.Image, path: PathLike) -> None:
    """Turn `image` upright in place, as its EXIF says. One whose EXIF is damaged stays as it is, with a warning."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception as error:  # SyntaxError, struct.error and others
        log.warning("the EXIF of %s is damaged (%s): the picture is not turned, check it", path, type(error).__name__)


def _may_lack_rows(image: Image.Image) -> bool:
    """Whether the last row of a PNG is empty, as the rows are that its file lacks."""
    width, height = image.size
    return bool(image.info.get("interlace")) or not np.asarray(image.crop((0, height - 1, width, height))).any()


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
    with _lack_of_memory_told(path):
        return resized(crop(decode(path), box, path, remedy), side, out)


def resized(picture: np.ndarray, side: int, out: Optional[np.ndarray] = None) -> np.ndarray:
    """`picture` (H, W, 3) as uint8 (side, side, 3), without keeping its aspect; into `out` if that is an array."""
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
    pictures = np.asarray(pictures)  # slicing an np.memmap costs as much as copying a picture
    return cropped(pictures, indices, draw_crops(rng, len(indices), pictures.shape[1] - size), size, out)


def cropped(
    pictures: np.ndarray, indices: np.ndarray, crops: Crops, size: int, out: Optional[np.ndarray] = None
) -> np.ndarray:
    """`pictures[indices]` with their `crops` of `size`: uint8 (B, size, size, 3); into `out` if that is an array."""
    batch = np.empty((len(indices), size, size, 3), np.uint8) if out is None else out
    pictures = np.asarray(pictures)
    for picture, i, y, x, flip in zip(batch, np.asarray(indices).tolist(), *(part.tolist() for part in crops[:3])):
        crop_of_it = pictures[i, y : y + size, x : x + size]
        if flip:
            cv2.flip(crop_of_it, 1, dst=picture)
        else:
            cv2.copyTo(crop_of_it, None, dst=picture)
    for picture, factors in zip(batch, () if crops.factors is None else crops.factors):
        picture[:] = augmentation.jittered(picture, factors)
    augmentation.erase(batch, crops.patches)
    return batch


def parts(batch: np.ndarray, devices: Sequence) -> list:
    """`batch`, normalised, in one part on each of `devices`, in order; their sizes differ by at most one."""
    return [normalise(part, ctx) for part, ctx in zip(np.array_split(batch, len(devices)), devices)]


def normalise(batch: np.ndarray, ctx: Any) -> Any:
    """uint8 (B, H, W, 3) in NumPy -> float32 (B, 3, H, W) on device `ctx`, ImageNet's mean 0 and deviation 1."""
    import mxnet as mx

    return mx.nd.image.normalize(mx.nd.image.to_tensor(mx.nd.array(batch, ctx=ctx, dtype="uint8")), MEAN, STD)
