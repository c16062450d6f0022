"""The embedded benchmark: characters rendered from the fonts that matplotlib ships. Each character is a class.

Its images are the character's sixteen typefaces under rotation, shear, scale, colour, textured backgrounds, neighbours
cut off at the border, blur and noise. It needs no file, so it works on a closed machine; its numbers say nothing about
birds or cars.
"""

import contextlib
import logging
import os
import shutil
import zlib
from functools import lru_cache
from pathlib import Path
from typing import FrozenSet, List, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from gluon_cgd.datasets.records import PathLike
from gluon_cgd.files.lock import waiting
from gluon_cgd.files.regular import read_bytes
from gluon_cgd.files.whole import replacing
from gluon_cgd.machine.progress import each

log = logging.getLogger(__name__)
SIGNATURE = b"\x89PNG\r\n\x1a\n"  # with which a PNG file begins

# Drawn once, in random order, from the letters, digits and signs that all typefaces have. Of characters that most
# typefaces draw alike, whatever their size (Latin A and Greek Alpha, s and S), one is here; a test compares them all.
TRAIN = "τsϱyшĭȷvľƚBφāźẃωƕΪÓŷĒķɰϠWĮÃЦĥŤèQʜДŢzϐʥÍ€őʡęÇЮîŌʄё¥¶0ϞΝΗɦAÑåËɟrʇиKŵƪҐϵΓŭɥŝΫЭЪ#ÛơѣЌ5ђкщ®nЙɐςØŏϰiϘŦŘɻʎС"
TEST = "Ώųɴыʉ?ʈеżỲоòáüăΎІьúĪİδuąL6ΜɬɔƭзŗʅPŚɪɷɶĩϚψα4ʌɗɖħ2ðϒάƥĐƒÊɧƺʢŊјФĕɤcÆĵﬁXƐƫɩήÌʤűљßǂǾƾɚÞâЯίɢģΈлɮẄĆäόрʠɿʏJŉ"
TYPEFACES = tuple(
    family + style
    for family, styles in (
        ("DejaVuSans", ("", "-Bold", "-Oblique", "-BoldOblique")),
        ("DejaVuSansMono", ("", "-Bold", "-Oblique", "-BoldOblique")),
        ("DejaVuSerif", ("", "-Bold", "-Italic", "-BoldItalic")),
        ("STIXGeneral", ("", "Bol", "Italic", "BolIta")),
    )
    for style in styles
)
TRAIN_IMAGES, TEST_IMAGES = 40, 20  # of each class
MINI_IMAGES = 8  # of each training class in glyphs_mini, the first ones: the mini forms of the tables learn from them
SIDE = 48  # of a picture, in pixels
CANVAS = 96  # the side it is drawn at before it is turned and shrunk


@lru_cache(maxsize=None)
def characters_of(typeface: str) -> FrozenSet[str]:
    """All characters that one of TYPEFACES has."""
    from matplotlib.ft2font import FT2Font

    return frozenset(map(chr, FT2Font(font(typeface, 10).path).get_charmap()))


@lru_cache(maxsize=None)
def font(typeface: str, size: int) -> ImageFont.FreeTypeFont:
    """One of TYPEFACES at `size` pixels, from matplotlib's data folder."""
    import matplotlib

    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{typeface}.ttf"
    return ImageFont.truetype(str(file), size, layout_engine=ImageFont.Layout.BASIC)


def render(character: str, neighbours: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """One picture of `character` between two `neighbours`: uint8 (SIDE, SIDE, 3). Draws everything from `rng`."""
    typeface = font(TYPEFACES[rng.integers(len(TYPEFACES))], 52)
    ink = Image.new("L", (CANVAS, CANVAS))
    draw = ImageDraw.Draw(ink)
    left, top, right, bottom = draw.textbbox((0, 0), character, font=typeface)
    x, y = (CANVAS - left - right) / 2, (CANVAS - top - bottom) / 2  # the character's ink in the middle
    draw.text((x, y), character, font=typeface, fill=255)
    gap = rng.uniform(5, 12)
    for neighbour, side in zip(neighbours, (-1, 1)):
        n_left, _, n_right, _ = draw.textbbox((0, 0), neighbour, font=typeface)
        draw.text(
            (x + (left - gap - n_right if side < 0 else right + gap - n_left), y), neighbour, font=typeface, fill=255
        )
    blurred = turned(ink, max(right - left, bottom - top), rng).filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.9)))
    mask = np.asarray(blurred, np.float32)[..., None] / 255  # (SIDE, SIDE, 1)
    paper, pen = _colours(rng)
    picture = (paper + _texture(rng)) * (1 - mask) + (pen + 0.5 * _texture(rng)) * mask
    picture += rng.normal(0, rng.uniform(2, 8), picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def turned(ink: Image.Image, extent: int, rng: np.random.Generator) -> Image.Image:
    """`ink` (CANVAS, CANVAS) turned, sheared, scaled and shifted at random: (SIDE, SIDE). extent: of the letter."""
    return ink.transform((SIDE, SIDE), Image.Transform.AFFINE, _affine(extent, rng), Image.Resampling.BICUBIC)


def _affine(extent, rng):
    """PIL's six numbers, output pixel -> canvas pixel: a random turn, shear, scale and shift of ink `extent` wide."""
    angle, shear = rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2)  # radians, slope
    # Between the character's own size and filling 75 % of the picture, so that a full stop stays smaller than a W
    scale = rng.uniform(0.75, 1.1) * (max(extent, 24) / (0.75 * SIDE)) ** 0.8 * 1.15
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[1, shear], [0, 1]]) * scale
    shift = CANVAS / 2 - linear @ (np.full(2, SIDE / 2) + rng.uniform(-3, 3, 2))
    return (*linear[0], shift[0], *linear[1], shift[1])


def _colours(rng):
    """Two RGB colours at least 100 grey levels apart, as float32 (3,) each."""
    while True:
        paper, pen = rng.uniform(0, 255, (2, 3))
        if abs((paper - pen) @ (0.299, 0.587, 0.114)) >= 100:
            return paper.astype(np.float32), pen.astype(np.float32)


def _texture(rng):
    """A smooth random pattern around zero, float32 (SIDE, SIDE, 3)."""
    grain = int(rng.integers(3, 13))
    coarse = Image.fromarray(rng.integers(0, 256, (grain, grain, 3), dtype=np.uint8))
    return (np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32) - 128) * rng.uniform(
        0.05, 0.25
    )


def picture(label: int, index: int, seed: int = 0) -> np.ndarray:
    """Image `index` of class `label` (0 to 199, training classes first): uint8 (SIDE, SIDE, 3), always the same."""
    characters = TRAIN + TEST
    rng = np.random.default_rng((seed, label, index))
    neighbours = [characters[i] for i in rng.integers(len(characters), size=2)]
    return render(characters[label], neighbours, rng)


def is_whole(file: Path) -> bool:
    """Whether the PNG `file` is there, up to its end, and each part of it has the checksum that follows it."""
    try:
        data = read_bytes(file, 1 << 20)
    except (OSError, ValueError):
        return False
    place = len(SIGNATURE) if data.startswith(SIGNATURE) else len(data)
    while place + 12 <= len(data):  # length, kind, contents, checksum
        kind, end = data[place + 4 : place + 8], place + 12 + int.from_bytes(data[place : place + 4], "big")
        if end > len(data) or zlib.crc32(data[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return False
        if kind == b"IEND":
            return end == len(data)
        place = end
    return False


def _complete(folder, files):
    """Render `folder`, or those of its `files`, [(path, label, index), ...], that are damaged or missing."""
    temporary = Path(f"{folder}.part")
    if temporary.is_symlink():
        temporary.unlink()
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    lacking = [(path, *rest) for path, *rest in files if not is_whole(folder / path)]
    is_there = folder.is_dir()
    if is_there and lacking:
        log.warning("%d of %d files in %s are damaged and are rendered again", len(lacking), len(files), folder)
    try:
        for path, label, index in each(lacking, "rendering the letters", unit="pictures"):
            file = (folder if is_there else temporary) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) if is_there else contextlib.nullcontext(file) as rendered:
                Image.fromarray(picture(label, index)).save(rendered, "PNG", compress_level=1)
        if not is_there:
            os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write(folder: PathLike) -> Tuple[List[Tuple[str, int]], List[Tuple[str, int]]]:
    """Make sure that `folder` holds the benchmark as PNG files; return (training, test) lists of (path, label).

    Rendered into a temporary folder first, so that an interrupted or a second process leaves no half-made copy. A file
    that is damaged or missing is rendered again. Raises OSError where that is another user's folder.
    """
    folder = Path(folder)
    files = [
        (Path(split) / f"{label:03d}-U+{ord((TRAIN + TEST)[label]):04X}" / f"{index:02d}.png", label, index)
        for split, labels, images in (("train", range(100), TRAIN_IMAGES), ("test", range(100, 200), TEST_IMAGES))
        for label in labels
        for index in range(images)
    ]
    folder.parent.mkdir(parents=True, exist_ok=True)
    # First without the lock: the folder may be another user's
    if not folder.is_dir() or not all(is_whole(folder / path) for path, *_ in files):
        with waiting(f"{folder}.lock", "the pictures of letters"):
            _complete(folder, files)
    records = [(str(folder / path), label) for path, label, _ in files]
    return [r for r in records if r[1] < 100], [r for r in records if r[1] >= 100]
