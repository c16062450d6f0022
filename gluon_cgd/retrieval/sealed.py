"""A seal at the end of a file of another library: a checksum of all that is before it, and whose file it is.

FAISS believes what it reads: of a damaged file it gives wrong rows, or the process crashes.
"""

import hashlib
import os
import struct
import zlib

import numpy as np

from gluon_cgd.files.regular import open_regular
from gluon_cgd.retrieval import checksums

SEAL = struct.Struct("<8sIQ")  # a mark, the checksum, the owner
MARK = b"CGDseal1"
BLOCK, ROW = 2**23, 2**13  # bytes that are read at a time, and that have one sum


def seal(file, owner):
    """Append the seal to `file`. owner: a text, here the id of the collection."""
    with open(file, "rb+") as handle:
        checksum = _checksum(handle, os.fstat(handle.fileno()).st_size)
        handle.seek(0, os.SEEK_END)
        handle.write(SEAL.pack(MARK, checksum, _number(owner)))


def check(file, owner):
    """What is wrong with the seal of `file`, in words; "" if it is whole and the owner's."""
    with open_regular(file) as handle:
        size = os.fstat(handle.fileno()).st_size - SEAL.size
        handle.seek(max(0, size))
        last = handle.read(SEAL.size)
        if len(last) < SEAL.size or last[: len(MARK)] != MARK:
            return "is cut off, or of an earlier version,"
        _, checksum, number = SEAL.unpack(last)
        handle.seek(0)
        if checksum != _checksum(handle, size):
            return "is damaged (its checksum is another)"
        return "" if number == _number(owner) else "is of another index"


def _number(owner):
    return int.from_bytes(hashlib.blake2b(owner.encode(), digest_size=8).digest(), "little")


def _checksum(handle, size):
    """The checksum of the next `size` bytes, as fast as memory."""
    total = 0
    while size > 0:
        data = handle.read(min(BLOCK, size))
        if not data:
            return -1
        whole = len(data) // ROW * ROW
        rows = np.frombuffer(data[:whole], "<f4").reshape(-1, ROW // 4)
        total = zlib.crc32(data[whole:], zlib.crc32(checksums.sums(rows).tobytes(), total))
        size -= len(data)
    return total
