"""The structure of a JPEG file (ITU T.81): its size, and where the coded data of its picture end."""

import hashlib
import io
import re
from typing import Dict, List, NamedTuple, Optional

import numpy as np
from PIL import JpegImagePlugin

START, END = b"\xff\xd8\xff", b"\xff\xd9"
# The marker after coded data, which themselves hold FF 00 for a byte FF, and the restart markers FF D0 to FF D7
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
IS_MARKER = np.array([MARKER.match(bytes((0xFF, second))) is not None for second in range(256)])
NEAR, FAR = 1 << 15, 1 << 20  # bytes that are searched by the expression, and at once by NumPy
SEGMENTS = 1 << 16  # of one file, at most
WITHOUT_LENGTH = (0x01, 0xD8)
FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
AFTER_DATA = {0xC4, 0xCC, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE}  # markers that can end coded data
SPARE = 16  # bytes at the end of coded data of which some change a pixel
PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}


class Structure(NamedTuple):
    """What the markers of a JPEG file say.

    width, height, components: of its frame; 1 component is grey, 3 colour, 4 print (CMYK).
    end: bytes up to the end of its last scan's data; 0 without a scan.  marked: whether the end mark follows them.
    complete: whether scans have begun for every coefficient of every component.
    scans: how many there are.  progressive: whether each refines the picture; else each holds components of it.
    """

    width: int
    height: int
    components: int
    end: int
    marked: bool
    complete: bool
    scans: int
    progressive: bool


def structure(data: bytes) -> Optional[Structure]:
    """The Structure of the JPEG file `data`; None if it has no whole frame header.

    Segments are skipped by their length, so that a thumbnail in one of them is not taken for the picture. What follows
    the first end mark is not looked at: phones append a film or a second picture there.
    """
    frame, progressive, scans, end, marked, place = b"", False, 0, 0, False, 2
    missing: Dict[int, List[int]] = {}  # component -> bits of each coefficient that no scan has had yet
    for _ in range(SEGMENTS):
        found = _find_marker(data, place)
        if found < 0:
            break
        marker, place = data[found + 1], found + 2
        if marker == END[1]:
            marked = True
            break
        if marker not in WITHOUT_LENGTH:
            length = int.from_bytes(data[place : place + 2], "big")  # of the segment, with these two bytes
            if length < 2 or place + length > len(data):  # cut inside of a segment
                break
            if marker in FRAMES and not frame:
                frame, progressive = data[place + 2 : place + length], marker in PROGRESSIVE
            elif marker == 0xDA:
                scans += 1
                _count(missing, data[place + 2 : place + length], progressive)
                end = _find_marker(data, place + length)
                if end < 0 or data[end + 1] not in AFTER_DATA:
                    end = len(data) if end < 0 else end
                    break
                length = end - place
            place += length
    while data[end - 1 : end] == b"\xff":  # fills the place before a marker, or is half of FF 00
        end -= 1
    count = frame[5] if len(frame) > 5 else 0
    if not count or len(frame) < 6 + 3 * count:
        return None
    height, width = (int.from_bytes(frame[at : at + 2], "big") for at in (1, 3))
    complete = all(not any(missing.get(component, [1])) for component in frame[6 : 6 + 3 * count : 3])
    return Structure(width, height, count, end, marked, complete, scans, progressive)


def _find_marker(data: bytes, place: int) -> int:
    """Where the first marker at `place` or behind it begins, or -1. Coded data of megabytes take milliseconds."""
    near = MARKER.search(data, place, place + NEAR)
    if near:
        return near.start()
    for start in range(place + NEAR - 1, len(data) - 1, FAR):
        part = np.frombuffer(data, np.uint8, min(FAR + 1, len(data) - start), start)
        at = np.flatnonzero(part[:-1] == 0xFF)
        at = at[IS_MARKER[part[at + 1]]]
        if len(at):
            return start + int(at[0])
    return -1


def _count(missing: Dict[int, List[int]], header: bytes, progressive: bool) -> None:
    """Enter into `missing` what the scan with this `header` brings."""
    for component in header[1 : 1 + 2 * header[0] : 2] if len(header) > 3 else b"":
        if progressive:
            first, last, bits = header[-3], min(header[-2], 63), header[-1] & 15
            missing.setdefault(component, [1] * 64)[first : last + 1] = [bits] * (last + 1 - first)
        else:
            missing[component] = []


def can_hold(data: bytes, shape: Structure) -> bool:
    """Whether `data` can be a picture of that size: each 32 x 32 pixels, the largest unit, have a bit at least."""
    return 8 * len(data) >= (shape.width // 32) * (shape.height // 32)


def is_whole(data: bytes) -> bool:
    """Whether the coded data at the end of `data`, a JPEG without its end mark, fill its picture and end with it."""
    return is_filled(data) and not is_filled(data[:-SPARE])  # what hides in zeros or in a film fills it earlier


def is_filled(data: bytes) -> bool:
    """Whether the coded data at the end of `data`, a JPEG without its end mark, reach the last pixel of its picture.

    Then whatever follows them changes no pixel. Restart markers are among what is tried: after a cut at one of them a
    decoder goes on at the next.
    """
    pictures = set()
    for seed in range(3):
        noise = np.random.default_rng(seed).integers(0, 255, (16, 128), np.uint8)  # never FF
        more = b"".join(part.tobytes() + bytes((0xFF, 0xD0 + number % 8)) for number, part in enumerate(noise))
        try:
            with JpegImagePlugin.JpegImageFile(io.BytesIO(data + more + END)) as image:
                pictures.add(hashlib.sha256(image.tobytes()).digest())
        except MemoryError:
            raise
        except Exception:  # Pillow raises many kinds
            return False
        if len(pictures) > 1:
            return False
    return True
