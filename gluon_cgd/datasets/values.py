"""From a Pillow image in any mode to red, green and blue in 8 bits."""

import logging

import numpy as np
from PIL import Image

from gluon_cgd.datasets import formats
from gluon_cgd.datasets.records import PathLike

log = logging.getLogger(__name__)

DARK = 1 << 12  # a picture of 16 bits whose values are all below this has 12 bits or fewer, or is nearly black
BAND = 1 << 24  # pixels that are converted at once


def check(image: Image.Image, path: PathLike) -> None:
    """Raise Refused for values of more than 8 bits that are no brightness: they would be black or white.

    Logs a warning if they are of so few bits that the picture is nearly black.
    """
    if not (image.mode.startswith("I") or image.mode == "F"):
        return
    largest = 0
    for part in _parts(image):
        values = np.asarray(image.crop(part))
        lowest, highest = values.min(), values.max()  # NaN if one is
        if not (lowest >= 0 and highest <= 65535):
            raise formats.Refused(
                f"{path} has values from {lowest:g} to {highest:g}, and those of a picture are from 0 to 1, 255 or "
                "65,535: scale them, and save it with 8 or 16 bits"
            )
        largest = max(largest, highest)
    if 255 < largest < DARK:
        log.warning(
            "%s is read nearly black: its largest value is %g of 65,535; scale its values if a camera of 10 or 12 bits "
            "made it",
            path,
            largest,
        )


def as_seen(image: Image.Image) -> np.ndarray:
    """A Pillow image in any mode -> uint8 (H, W, 3), RGB: 16 bits scaled to 8, transparency over white."""
    parts, (width, height) = _parts(image), image.size
    scale = 1.0
    if image.mode.startswith("I") or image.mode == "F":
        largest = max(np.asarray(image.crop(part), np.float32).max() for part in parts)
        scale = 1 / 257 if largest > 255 else 255 if image.mode == "F" and largest <= 1 else 1
    if len(parts) == 1:
        return np.asarray(_rgb(image, scale))
    picture = np.empty((height, width, 3), np.uint8)
    for part in parts:
        picture[part[1] : part[3]] = _rgb(image.crop(part), scale)
    return picture


def _parts(image):
    """Boxes that make up `image`: a large picture is converted in parts, since each step copies it."""
    width, height = image.size
    rows = max(1, BAND // max(1, width))
    return [(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]


def _rgb(image: Image.Image, scale: float) -> Image.Image:
    """`image` as RGB; the values of more than 8 bits times `scale`."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float32)
        return Image.fromarray((values * scale).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
