"""Colour jitter and random erasing of training pictures: what is drawn for a batch, and what becomes of its pictures.

NumPy only, and whole numbers only, so that another engine computes the same bytes (`engines.pictures`).
"""

import math
from typing import Any, List, NamedTuple, Sequence

import numpy as np

ONE, BITS = 256, 8  # a factor of 1: factors are counted in 256ths
GREY = (77, 150, 29)  # how much of red, green and blue is in grey, in 256ths (ITU-R BT.601)
AREAS = (0.02, 0.4)  # of an erased rectangle: its share of the picture (arXiv 1708.04896, section 4.1)
ASPECTS = (0.3, 1 / 0.3)  # its height by its width


class Patch(NamedTuple):
    """What an erased rectangle of a picture is replaced by."""

    picture: int  # its place in the batch
    top: int
    left: int
    pixels: np.ndarray  # uint8 (height, width, 3)


def draw_factors(rng: np.random.Generator, count: int, strength: float) -> np.ndarray:
    """Factors of brightness, contrast and saturation from 1 - strength to 1 + strength, in 256ths: (count, 3)."""
    reach = round(ONE * strength)
    return rng.integers(ONE - reach, ONE + reach + 1, size=(count, 3))


def draw_patches(rng: np.random.Generator, count: int, size: int, chance: float) -> List[Patch]:
    """The Patches of `count` pictures of side `size`, each of which gets one with a `chance` from 0 to 1.

    Random erasing (Zhong et al., arXiv 1708.04896, algorithm 1): area, aspect and corner are drawn until the rectangle
    lies inside the picture; each of its pixels is random.
    """
    patches = []
    for picture in np.flatnonzero(rng.random(count) < chance).tolist():
        height = width = top = left = size  # outside
        while top + height > size or left + width > size:
            area, aspect = rng.uniform(*AREAS) * size**2, rng.uniform(*ASPECTS)
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            top, left = rng.integers(size, size=2).tolist()
        patches.append(Patch(picture, top, left, rng.integers(256, size=(height, width, 3), dtype=np.uint8)))
    return patches


def mixed(values: Any, other: Any, factor: Any) -> Any:
    """`factor` of `values` and the rest of `other`, rounded, from 0 to 255: whole numbers in NumPy or PyTorch."""
    return ((values * factor + other * (ONE - factor) + ONE // 2) >> BITS).clip(0, 255)


def jittered(picture: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """`picture`, uint8 (H, W, 3), with another brightness, then contrast, then saturation, each by its factor.

    They mix the picture with black, with the mean of its grey, and with the grey of each pixel.
    """
    brightness, contrast, saturation = factors.tolist()
    levels, weights = np.arange(256), np.array(GREY)
    picture = mixed(levels, 0, brightness).astype(np.uint8)[picture]
    mean = int(picture.sum(axis=(0, 1), dtype=np.int64) @ weights) // (ONE * picture[..., 0].size)
    picture = mixed(levels, mean, contrast).astype(np.int32)[picture]
    grey = (picture @ weights.astype(np.int32) + ONE // 2) >> BITS  # (H, W)
    return mixed(picture, grey[..., None], saturation).astype(np.uint8)


def erase(batch: Any, patches: Sequence[Patch]) -> None:
    """Put the `patches` into their pictures of `batch`, uint8 (B, H, W, 3)."""
    for picture, top, left, pixels in patches:
        height, width, _ = pixels.shape
        batch[picture, top : top + height, left : left + width] = pixels
