"""What a .zip or a tar archive holds, read so that no archive, however damaged or hostile, does more than raise."""

import bz2
import functools
import gzip
import lzma
import os
import stat
import struct
import tarfile
import zipfile
from typing import Any, Callable, Iterator, NamedTuple

from gluon_cgd.files.printable import printable
from gluon_cgd.files.regular import open_regular

BLOCK = 1 << 20  # bytes of a file that are in memory at once
LARGEST = 20  # an archive of pictures may unpack to that many times its size: JPEGs hardly compress
MOST = 500_000  # files; Stanford Online Products has 120,053
SMALLEST = 100  # bytes of an archive for each of its files, once they are more than 1,000
HEADERS = 1 << 16  # bytes that may describe one member of a tar archive: a path has 4,096 at most
RECORD = 10240  # bytes that tarfile reads at once
DIRECTORY = 64 << 20  # bytes of a zip's list of members, which is read at once
COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}  # by how the file begins


class Member(NamedTuple):
    """A file, a folder, or something that is neither, in an archive. `blocks()` gives its content, BLOCK bytes at once.

    size: of the content, as the archive declares it.
    """

    name: str
    size: int
    kind: str
    blocks: Callable[[], Iterator[bytes]]


def members(archive, compared=False) -> Iterator[Member]:
    """Yield each Member of a .zip, or of a .tar, which may be compressed. Its blocks are read before the next one.

    compared: whether the archive has the checksum that its publisher states. Then what is odd is no damage, such as
    data after the end of a tar, which some old programs left in its last block.
    Raises ValueError with a sentence for an archive that is damaged in any way, that has more than MOST members or that
    unpacks to more than an archive of pictures does. That it is whole is known only after the last member.
    """
    with open_regular(archive) as file:
        reader = _zip if _is_zip(file) else _tar
        total, most = 0, min(MOST, 1000 + os.stat(archive).st_size // SMALLEST)
        for number, member in enumerate(_decoded(archive, reader(archive, file, compared)), 1):
            total += max(member.size, 0)
            if total > most_bytes(archive):
                raise ValueError(
                    f"{archive} would unpack to {total / 1e9:.1f} GB, no archive of pictures does: get it again"
                )
            if number > most:
                raise ValueError(f"{archive} holds more than {most:,} files, no dataset of its size does: get it again")
            yield member._replace(blocks=functools.partial(_whole, archive, member))


def most_bytes(archive) -> int:
    """The bytes to which `archive` may unpack."""
    return LARGEST * os.stat(archive).st_size + (1 << 20)


def _decoded(archive, items) -> Iterator[Any]:
    """`items`, where every exception of a library that decodes is a ValueError with a sentence."""
    try:
        yield from items
    except Exception as error:  # zlib, lzma, bz2, struct, tarfile, zipfile and codecs have each their own
        reason = printable(f"{type(error).__name__}: {error}")[:200]
        raise ValueError(f"{archive} cannot be unpacked ({reason}): get it again") from error


def _whole(archive, member):
    """The blocks of `member`. Raises ValueError if they are more or fewer bytes than the archive declares."""
    left = member.size
    for block in _decoded(archive, member.blocks()):
        left -= len(block)
        if left < 0:
            break
        yield block
    if left:
        how = "more" if left < 0 else "less"
        raise ValueError(f"{archive} holds {how} of {member.name!r} than it declares: do not use it")


def _is_zip(file):
    """Whether the open `file` is a zip and not a tar, whose last file may be a zip."""
    start = file.read(512)
    if start.startswith(tuple(COMPRESSED)) or start[257:262] == b"ustar":
        return False
    return start.startswith(b"PK\3\4") or zipfile.is_zipfile(file)


def _zip(_, file, compared):
    entries = _entries(file)
    with zipfile.ZipFile(file) as opened:
        if not compared:
            _check_list(opened, entries)
        for info in opened.infolist():
            plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)  # some programs write no kind
            kind = "folder" if info.is_dir() else "file" if plain else "other"
            yield Member(info.orig_filename, info.file_size, kind, functools.partial(_content, opened.open, info))


def _check_list(opened, entries):
    """Raise BadZipFile if the list of members of the open zip lacks some of its `entries`, or contradicts itself."""
    infos = opened.infolist()
    if len(infos) not in (entries, entries + (len(infos) >> 16 << 16)):  # some programs count only to 65,535
        raise zipfile.BadZipFile(f"{len(infos):,} of its {entries:,} members are listed")
    order = sorted(infos, key=lambda info: info.header_offset)
    ends = [*(info.header_offset for info in order[1:]), opened.start_dir]
    for info, end in zip(order, ends):
        if info.header_offset + 30 + info.compress_size > end:
            raise zipfile.BadZipFile(f"{info.filename!r} overlaps what follows")
        if info.is_dir():
            if info.file_size:
                raise zipfile.BadZipFile(f"the folder {info.filename!r} has a content")
            opened.open(info).close()  # compares its name with the one in the list


def _entries(file):
    """How many members a zip says that it has. Raises BadZipFile if its list is too long to be read into memory."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - (1 << 16) - 22))
    end = file.read()
    place = end.rfind(b"PK\5\6")
    if place < 0 or len(end) - place < 22:
        raise zipfile.BadZipFile("it is cut off before its list of members")
    entries, listed = struct.unpack_from("<HL", end, place + 10)
    large = end.rfind(b"PK\6\6", 0, place)  # the same for more than 65,535 members or 4 GB
    if (entries == 0xFFFF or listed == 0xFFFFFFFF) and large >= 0 and len(end) - large >= 56:
        entries, listed = struct.unpack_from("<QQ", end, large + 32)
    if entries > MOST or min(listed, size) > DIRECTORY:
        raise zipfile.BadZipFile(f"it lists more than {MOST:,} files, and no dataset has so many")
    return entries


def _content(opened, member):
    with opened(member) as source:
        yield from iter(lambda: source.read(BLOCK), b"")


class _Strict(tarfile.TarInfo):
    """A member whose damaged header is an error; tarfile takes it for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tar):
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} after {tar.offset:,} bytes") from error


class _Bounded:
    """An open file of which no more may be read than `until`: tarfile reads a header of any size into memory."""

    def __init__(self, file):
        self.file, self.count, self.until = file, 0, 0

    def allow(self, size):
        """Let `size` bytes more be read, and what is read ahead."""
        self.until = self.count + size + 2 * RECORD

    def read(self, size):
        """Up to `size` bytes."""
        data = self.file.read(size)
        self.count += len(data)
        if self.count > self.until:
            raise tarfile.ReadError(f"what describes a member has more than {HEADERS:,} bytes")
        return data


def _tar(archive, file, compared):
    file.seek(0)
    start = file.read(6)
    file.seek(0)
    decompress = next((function for magic, function in COMPRESSED.items() if start.startswith(magic)), None)
    bounded = _Bounded(decompress(file) if decompress else file)
    bounded.allow(HEADERS)
    # As a stream, since a negative size would send a tar that can be wound back in a circle
    with tarfile.open(fileobj=bounded, mode="r|", tarinfo=_Strict, bufsize=RECORD) as opened:
        for member in iter(opened.next, None):
            if not 0 <= member.size <= most_bytes(archive) and not member.issparse():
                raise tarfile.ReadError(f"{member.name!r} has {member.size:,} bytes")
            plain = member.isfile() and not member.issparse()
            kind = "folder" if member.isdir() else "file" if plain else "other"
            bounded.allow(member.size * plain + HEADERS)
            yield Member(
                member.name, member.size * plain, kind, functools.partial(_content, opened.extractfile, member)
            )
            opened.members.clear()  # of 100,000 members, 100 MB
        # To the end, where a compressed file has its checksum; an empty header amid the archive ends it too early
        bounded.allow(most_bytes(archive))
        while True:
            rest = opened.fileobj.read(RECORD)
            if rest.strip(b"\0") and not compared:
                raise tarfile.ReadError("there are data after its end")
            if not rest:
                break
