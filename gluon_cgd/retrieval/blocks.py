"""Checksums of blocks of rows: an index is opened without being read, and a block is compared when it is first used.

A block is ROWS rows and their paths. blocks-G.crc has for each whole block the CRC-32 of its rows, that of its paths,
and where its paths end in the file of names. The manifest has the CRC-32 of that file, and those of the last block if
it is not whole yet. All of it can be computed again from rows and names: where it is missing or wrong, as in an index
of an earlier version, rows and names are compared as a whole when the index is opened, and the next writer makes it.
"""

import zlib
from pathlib import Path

import numpy as np

from gluon_cgd.files.regular import open_regular

ROWS = 1024
RECORD = np.dtype([("rows", "<u4"), ("names", "<u4"), ("end", "<i8")])
NONE = dict(rows=0, crc=0, last=[0, 0])  # what the manifest says of an empty index


def file_of(folder, generation):
    """The path of the file of checksums."""
    return Path(folder) / f"blocks-{generation}.crc"


def is_possible(known):
    """Whether `known`, what a manifest says of its blocks, can be read at all."""
    if not isinstance(known, dict) or set(known) != set(NONE) or not isinstance(known["last"], list):
        return False
    numbers = (known["rows"], known["crc"], *known["last"])
    return len(numbers) == 4 and all(type(number) is int and number >= 0 for number in numbers)


def added(known, start, rows, names):
    """(what the manifest says of the blocks, bytes to add to their file) when `rows` were added to those of `known`.

    start: where their paths begin in the file of names.  rows: records with the field "length".  names: their paths,
    one behind the other, as uint8 (n,).
    """
    count, crc, (of_rows, of_names) = known["rows"], known["crc"], known["last"]
    whole, first, before = [], 0, 0  # before: bytes of `names` that are counted
    while first < len(rows):
        part = rows[first : first + ROWS - count % ROWS]
        end = before + int(part["length"].sum())
        of_rows, of_names = zlib.crc32(part.view(np.uint8), of_rows), zlib.crc32(names[before:end], of_names)
        first, count, before = first + len(part), count + len(part), end
        if count % ROWS == 0:
            whole.append((of_rows, of_names, start + end))
            of_rows = of_names = 0
    data = np.array(whole, RECORD).tobytes()
    return dict(rows=count, crc=zlib.crc32(data, crc), last=[of_rows, of_names]), data


def place_of(known):
    """Where in the file the next checksums are written."""
    return known["rows"] // ROWS * RECORD.itemsize


def read(folder, manifest):
    """The RECORD of each block of the rows that `manifest` counts, the last one included; None if there is none."""
    known = manifest.get("blocks")
    if not known or known["rows"] != manifest["rows"]:  # an earlier version has added rows
        return None
    size = place_of(known)
    try:
        with open_regular(file_of(folder, manifest["generation"])) as file:
            data = file.read(size)
    except (OSError, ValueError):
        return None
    if len(data) < size or zlib.crc32(data) != known["crc"]:
        return None
    records = np.frombuffer(data, RECORD)
    if manifest["rows"] % ROWS:
        last = np.array([(*known["last"], manifest["names"])], RECORD)
        records = np.concatenate([records, last])
    return records
