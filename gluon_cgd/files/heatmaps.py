"""Heatmaps over photos that stay legible on dark, bright and busy ones.

The photo is made grey, its brightness evened out and dimmed, so that every colour and everything bright comes from the
heatmap. What adds or takes most covers the photo, what adds nothing leaves it visible, and a white line encloses the
positions that together make half of what is added.
"""

from typing import NamedTuple, Tuple

import numpy as np

SIDE = 640  # pixels of the longer side of a photo in a figure: matplotlib is slow on 40 megapixels
DIMMED = 20, 165  # the darkest and the brightest grey that a photo has below a heatmap
COVER = 0.3, 0.9  # how much a heatmap hides of the photo, where it is 0 and where it is strongest
LINE = 2  # width in pixels of the line around half of what is added
NOTHING = 1e-9  # what is not above it is rounding, as where a picture is compared with itself
FLATTEST = 10  # the longer side of a photo is drawn at most so many times as long as the shorter one


class Kind(NamedTuple):
    """A kind of heatmap: its colours, of matplotlib, and what a value is."""

    colours: str
    meaning: str


ALIKE = Kind("viridis", "adds to the cosine")
APART = Kind("inferno", "adds to 1 - cosine")


def limits(*maps: np.ndarray) -> Tuple[float, float]:
    """(lowest, highest) value of the colour scale of `maps`, (h, w) each: from 0 or below to above 0."""
    return min(0.0, *(heat.min() for heat in maps)), max(NOTHING, *(heat.max() for heat in maps))


def half(heat: np.ndarray) -> float:
    """The value of the map (h, w) above which the fewest positions make half of what is added, its positive sum.

    It lies in the middle between the lowest of these positions and the highest of the others.
    """
    values = np.sort(np.maximum(heat, 0), axis=None)[::-1]
    sums = np.cumsum(values)
    lowest = values[np.searchsorted(sums, sums[-1] / 2)]
    return float(lowest + max(values[values < lowest], default=0)) / 2


def overlay(photo: np.ndarray, heat: np.ndarray, scale: Tuple[float, float], colours: str = "viridis") -> np.ndarray:
    """`photo` under the map `heat` (h, w) in the `colours` of the `scale`, as of `limits`; uint8 (H, W, 3).

    photo: uint8 (H, W, 3) of any size; its longer side becomes SIDE pixels.
    """
    import cv2
    from matplotlib import colormaps

    low, high = scale
    grey = dimmed(photo)
    fine = cv2.resize(np.asarray(heat, np.float32), grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    strength = np.minimum(np.abs(fine) / max(high, -low), 1)
    cover = (COVER[0] + (COVER[1] - COVER[0]) * strength)[:, :, None]
    coloured = 255 * colormaps[colours]((fine - low) / (high - low))[:, :, :3]
    blended = np.ascontiguousarray(np.rint(cover * coloured + (1 - cover) * grey[:, :, None]).astype(np.uint8))
    if heat.max() > NOTHING:
        inside = (fine >= half(heat)).astype(np.uint8)
        lines, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(blended, lines, -1, (255, 255, 255), LINE, cv2.LINE_AA)
    return blended


def dimmed(photo: np.ndarray) -> np.ndarray:
    """`photo` (H, W, 3) in grey, float (H', W'), every part of it equally contrasted.

    Its longer side has SIDE pixels, and its shorter one as many as it needs to be seen.
    """
    import cv2

    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    size = [max(SIDE // FLATTEST, round(SIDE * side / max(height, width))) for side in (width, height)]
    grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if max(height, width) > SIDE else cv2.INTER_LINEAR)
    dark, bright = np.percentile(grey, (1, 99))
    stretched = np.clip((grey - dark) / max(bright - dark, 1) * 255, 0, 255).astype(np.uint8)
    even = cv2.createCLAHE(2.0, (4, 4)).apply(stretched)  # a dark part of a bright photo is seen too
    return DIMMED[0] + even / 255.0 * (DIMMED[1] - DIMMED[0])


def draw(grid, photos, maps, kind=ALIKE):
    """Draw each photo under its heatmap, all heatmaps with one colour scale; return what a colour bar needs.

    grid: matplotlib axes, one for each photo.  photos: uint8 (H, W, 3).  maps: (h, w), of any size.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = limits(*maps)
    for axes, photo, heat in zip(grid, photos, maps):
        height, width = photo.shape[:2]
        axes.imshow(overlay(photo, heat, scale, kind.colours), extent=(0, width, height, 0), aspect=stretch(photo))
    return ScalarMappable(Normalize(*scale), kind.colours)


def stretch(photo: np.ndarray) -> float:
    """How many times as high as wide a pixel of `photo` is drawn: 1, unless the photo is a strip too thin to see."""
    proportion = photo.shape[0] / photo.shape[1]
    return float(np.clip(proportion, 1 / FLATTEST, FLATTEST) / proportion)
