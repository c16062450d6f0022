"""Whether the file of a PNG holds all rows that its header names: Pillow fills the others with black in silence."""

import io
import zlib
from typing import BinaryIO, Iterator

SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of one pixel, by the type of its colours
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # Adam7
PIECE = 1 << 20  # bytes that are unpacked at once


def is_filled(file: BinaryIO) -> bool:
    """Whether the pixels in `file`, a PNG that Pillow could read, are as many as its header names."""
    file.seek(16)
    header = file.read(13)
    missing = _unpacked_size(header)
    unpacker = zlib.decompressobj()
    for data in _pixel_data(file):
        while data and missing > 0 and not unpacker.eof:
            try:
                missing -= len(unpacker.decompress(data, PIECE))
            except zlib.error:
                return False
            data = unpacker.unconsumed_tail
    return missing - len(unpacker.flush()) <= 0


def _unpacked_size(header):
    """The bytes of all rows, each with the byte that names its filter."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    bits = header[8] * SAMPLES.get(header[9], 1)
    passes = PASSES if header[12] else ((0, 0, 1, 1),)
    columns_and_rows = [(-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in passes]
    return sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in columns_and_rows if columns > 0 and rows > 0)


def _pixel_data(file: BinaryIO) -> Iterator[bytes]:
    """The contents of the IDAT chunks."""
    file.seek(8)
    while True:
        length, name = file.read(4), file.read(4)
        if len(name) < 4 or name == b"IEND":
            return
        size = int.from_bytes(length, "big")
        if name == b"IDAT":
            while size > 0:
                piece = file.read(min(size, PIECE))
                if not piece:
                    return
                yield piece
                size -= len(piece)
            file.seek(4, io.SEEK_CUR)
        else:
            file.seek(size + 4, io.SEEK_CUR)
