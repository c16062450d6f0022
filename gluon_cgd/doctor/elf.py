"""Which libraries a shared object needs, read from its file without loading it, and which of them are not there.

The dynamic section of the ELF format (System V ABI, chapter 5), as `readelf -d` prints it.
"""

import ctypes
import os
import struct
from itertools import takewhile
from pathlib import Path

NEEDED, STRTAB, RPATH, RUNPATH = 1, 5, 15, 29  # tags of the dynamic section
LOAD, DYNAMIC = 1, 2  # types of segments


def dynamic(file):
    """(names, folders): the libraries that `file` names as needed, and where it says to look for them first.

    Raises ValueError for a file that is no whole 64-bit little-endian shared object.
    """
    try:
        with open(file, "rb") as opened:
            return _dynamic(opened, Path(file).resolve().parent)
    except (struct.error, StopIteration) as error:
        raise ValueError(f"{file} is not a whole shared object: install its package again") from error


def _dynamic(file, origin):
    def read(offset, size):
        file.seek(offset)
        return file.read(size)

    head = read(0, 64)
    if head[:6] != b"\x7fELF\2\1":
        raise struct.error
    (table,), (size, count) = struct.unpack_from("<Q", head, 32), struct.unpack_from("<HH", head, 54)
    # (type, flags, offset in the file, address, physical address, size in the file)
    segments = [struct.unpack_from("<IIQQQQ", read(table + i * size, size)) for i in range(count)]
    _, _, offset, _, _, length = next(segment for segment in segments if segment[0] == DYNAMIC)
    entries = list(takewhile(lambda entry: entry[0], struct.iter_unpack("<QQ", read(offset, length))))
    address = next(value for tag, value in entries if tag == STRTAB)
    strings = next(s[2] + address - s[3] for s in segments if s[0] == LOAD and s[3] <= address < s[3] + s[5])

    def string(place):
        text, found = b"", b""
        while b"\0" not in text:
            found = read(strings + place + len(text), 256)
            if not found:
                raise struct.error
            text += found
        return text.partition(b"\0")[0].decode()

    names = [string(value) for tag, value in entries if tag == NEEDED]
    paths = [part for tag, value in entries if tag in (RPATH, RUNPATH) for part in string(value).split(":") if part]
    folders = [part.replace("${ORIGIN}", str(origin)).replace("$ORIGIN", str(origin)) for part in paths]
    return names, [Path(os.path.normpath(folder)) for folder in folders]


def missing(file, provided=()):
    """{library: the file that needs it} of what `file` needs and nobody has, also through the libraries beside it.

    provided: names of libraries that will have been loaded before.
    """
    queue, seen, lacking = [Path(file)], {Path(file).name, *provided}, {}
    while queue:
        current = queue.pop()
        names, folders = dynamic(current)
        for name in names:
            if name in seen:
                continue
            seen.add(name)
            beside = [folder / name for folder in folders if (folder / name).is_file()]
            if beside:
                queue.append(beside[0])
            elif not of_system(name):
                lacking[name] = current.name
    return lacking


def of_system(name):
    """Whether the loader finds library `name` by itself."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
