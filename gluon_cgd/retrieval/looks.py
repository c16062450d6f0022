"""What a picture looks like without a model: a small grey copy to compare with others, its contrast, its blur."""

import hashlib
import os
from typing import NamedTuple

import cv2
import numpy as np

from gluon_cgd.datasets import images

SIDE = 64  # of the copy
SCALES = (1, 0.94, 0.88, 0.8)  # by which one picture can be a part of the other
BORDER = 0.06  # of the smaller one that is left out on each side, so that it can be shifted in the other
SHARP = 256  # pixels of the longer side at which blur is measured
FLAT = 4.0  # a picture whose grey values have a smaller standard deviation, of 256 values, shows nothing


class Look(NamedTuple):
    """grey: uint8 (SIDE, SIDE).  contrast: the standard deviation of the grey values.  blur: see `blur_of`.

    digest: a hash of size and pixels.  bytes: the size of the file.
    """

    grey: np.ndarray
    contrast: float
    blur: float
    digest: bytes
    width: int
    height: int
    bytes: int


def look_at(path) -> Look:
    """The Look of the picture in the file `path`. Raises ValueError or OSError as `images.decode`."""
    return look_of(images.decode(path), path)


def look_of(picture, path) -> Look:
    """The Look of `picture`, uint8 (H, W, 3), which is in the file `path`."""
    height, width = picture.shape[:2]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    digest = hashlib.blake2b(
        np.ascontiguousarray(picture), digest_size=16, person=f"{width}x{height}".encode()
    ).digest()
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return Look(small, float(small.std()), blur_of(grey), digest, width, height, os.path.getsize(path))


def blur_of(grey) -> float:
    """How blurred a picture uint8 (H, W) is, from 0 to 1, whatever its size: see Crete et al., SPIE 6492 (2007).

    It is blurred once more, in one direction. The steps between the pixels of a sharp picture become much smaller,
    those of a blurred one hardly. The worse of both directions counts.
    """
    factor = min(1, SHARP / max(grey.shape))
    if factor < 1:
        size = [max(1, round(factor * side)) for side in grey.shape[::-1]]  # a thin strip keeps a row
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    grey, worst = grey.astype(np.float32), 0.0
    for axis, kernel in ((0, (1, 9)), (1, (9, 1))):
        before, after = (np.abs(np.diff(each, axis=axis)) for each in (grey, cv2.blur(grey, kernel)))
        total = float(before.sum())
        worst = max(worst, 1 - float(np.maximum(0, before - after).sum()) / total if total else 1.0)
    return worst


def likeness(first: Look, second: Look) -> float:
    """How much two pictures look the same, from -1 to 1: the correlation of their grey copies, in the best place.

    One may be the other with a border cut off, of another size, brightness or compression. 1 for the same pixels.
    """
    if first.digest == second.digest:
        return 1.0
    if min(first.contrast, second.contrast) < FLAT:
        return 0.0
    return min(1.0, max(_found(first.grey, second.grey), _found(second.grey, first.grey)))


def _found(whole, part):
    """The best correlation of `part`, without its border, with a place in `whole`."""
    best = -1.0
    for scale in SCALES:
        side = round(scale * SIDE)
        border = round(BORDER * side)
        copy = cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)[
            border : side - border, border : side - border
        ]
        if copy.std() >= 1:  # the correlation with one colour is not defined
            best = max(best, float(cv2.matchTemplate(whole, copy, cv2.TM_CCOEFF_NORMED).max()))
    return best
