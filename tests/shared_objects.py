"""Shared objects that say what they need and do nothing: a header, two segments, a dynamic section and its strings."""

import struct


def write(file, needed=(), runpath=""):
    """Write a 64-bit shared object to `file` that needs the libraries `needed`, and looks in `runpath` first.

    `ldd` reads it as it reads a compiled one.
    """
    strings, entries = b"\0", []
    for tag, text in [(14, file.name), *((1, name) for name in needed), *([(29, runpath)] if runpath else [])]:
        entries.append((tag, len(strings)))
        strings += text.encode() + b"\0"
    base, begin = 0x4000, 64 + 2 * 56  # the strings' address is not their place in the file
    entries += [(5, base + begin), (0, 0)]
    place = begin + len(strings)
    section = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    size = place + len(section)
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 4, 0, base, base, size, size, 4096)
    dynamic = struct.pack("<IIQQQQQQ", 2, 4, place, base + place, base + place, len(section), len(section), 8)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(head + load + dynamic + strings + section)
    return file
