"""The formats of pictures that are read. A file's content says which it is: its name never does."""

import importlib
from typing import Any, BinaryIO, Dict, Tuple

from gluon_cgd.datasets.records import PathLike
from gluon_cgd.machine import facts
from gluon_cgd.machine.prepare import installed

PIXELS = 250_000_000  # of one picture: phones take 200 million; while it is decoded each needs 3 to 12 bytes
BYTES = 4 * PIXELS  # of one file
HEAD = 32  # bytes that tell the format

# Each format: how its files begin, and Pillow's reader. No other reader of Pillow is ever asked: some start programs
FORMATS: Dict[str, Tuple[Tuple[bytes, ...], str, str]] = {
    "JPEG": ((b"\xff\xd8\xff",), "PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ((b"\x89PNG\r\n\x1a\n",), "PIL.PngImagePlugin", "PngImageFile"),
    "BMP": ((b"BM",), "PIL.BmpImagePlugin", "BmpImageFile"),
    "GIF": ((b"GIF87a", b"GIF89a"), "PIL.GifImagePlugin", "GifImageFile"),
    "TIFF": ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "PIL.TiffImagePlugin", "TiffImageFile"),
    "WebP": ((b"RIFF",), "PIL.WebPImagePlugin", "WebPImageFile"),
    "PPM": ((b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf"), "PIL.PpmImagePlugin", "PpmImageFile"),
    "HEIC": ((), "pillow_heif", "HeifImageFile"),
    "AVIF": ((), "pillow_heif", "HeifImageFile"),  # its other reader left with version 1
}
BRANDS = {  # of HEIC and AVIF, which are one container
    "AVIF": {b"avif", b"avis"},
    "HEIC": {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"},
}


class Refused(ValueError):
    """A picture is of another format or too large; the message is a sentence."""


def format_of(head: bytes, path: PathLike) -> str:
    """The format of the file `path`, whose first HEAD bytes are `head`. Raises Refused for another kind of file."""
    if head[4:8] == b"ftyp":
        for name, brands in BRANDS.items():
            if head[8:12] in brands:
                return name
    for name, (beginnings, _, _) in FORMATS.items():
        if beginnings and head.startswith(beginnings) and (name != "WebP" or head[8:12] == b"WEBP"):
            return name
    raise Refused(
        f"{path} is not a picture that can be read (it begins with {head[:8]!r}, like none of {', '.join(FORMATS)}): "
        "get it again, or save it as one of these"
    )


def open_picture(file: BinaryIO, head: bytes, kind: str, path: PathLike, most: int = PIXELS) -> Any:
    """The Pillow image in `file`, of format `kind`: its header is read, nothing is decoded yet.

    Raises Refused for a picture of more than `most` pixels, and for one that needs pillow-heif where that is not
    installed; and Pillow's own errors, of many kinds.
    """
    if kind == "WebP":  # Pillow makes room for them at once
        check_pixels(webp_size(head), path, most // 2)  # in twice the memory of other formats, from 34 bytes
    _, module, reader = FORMATS[kind]
    if kind in BRANDS and not installed("pillow_heif"):
        raise Refused(
            f"{path} is a picture in {kind}, which needs the package pillow-heif: "
            f"{facts.install('requirements-extra.txt')}; or save it as JPEG"
        )
    image = getattr(importlib.import_module(module), reader)(file)
    check_pixels(image.size, path, most)
    if kind == "TIFF":
        _check_tiff(image, path, most)
    return image


def _check_tiff(image: Any, path: PathLike, most: int) -> None:
    """Raise Refused for tiles that are too large, and for missing parts, which Pillow leaves black or makes noise."""
    tags = image.tag_v2
    width, height, across, down = (int(tags.get(tag) or 0) for tag in (256, 257, 322, 323))
    check_pixels((across, down), path, most)  # a tile may be larger than its picture
    if 324 in tags:  # in tiles
        offsets, needed = tags[324], -(-width // max(1, across)) * -(-height // max(1, down))
    else:
        offsets, needed = tags.get(273, ()), -(-height // (int(tags.get(278) or 0) or height))
    offsets = offsets if isinstance(offsets, tuple) else (offsets,)
    planes = int(tags.get(277) or 1) if tags.get(284) == 2 else 1
    if sum(map(bool, offsets)) < needed * planes:
        raise Refused(f"{path} is cut off (a TIFF with fewer rows than it names): get it again")


def webp_size(head: bytes) -> Tuple[int, int]:
    """(width, height) of a WebP file that begins with `head`; (0, 0) if they are not there."""
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return 0, 0


def check_pixels(size: Tuple[int, int], path: PathLike, most: int = PIXELS) -> None:
    """Raise Refused for a picture of `size`, (width, height), if it has more than `most` pixels."""
    width, height = size
    if width * height > most:
        raise Refused(
            f"{path} has {width:,} x {height:,} pixels, and at most {most:,} are decoded: save it smaller, or get "
            "it again if it is not that large"
        )
