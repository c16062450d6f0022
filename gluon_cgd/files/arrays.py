"""Arrays in .npy and .npz files: written to the same bytes every time, read without trusting what they claim."""

import io
import math
import os
import struct
import zipfile
import zlib
from typing import Dict, Mapping, Optional, Sequence

import numpy as np

from gluon_cgd.files.regular import PathLike, open_regular
from gluon_cgd.files.whole import replacing

LIMIT = 1 << 30  # bytes of all arrays of a compressed file
END = struct.Struct("<4s4H2LH")  # of a zip archive without a comment
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, OverflowError)  # of a file that was cut off
NONSENSE = (
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    SyntaxError,
    MemoryError,
)  # and of one that is whole, but wrong


def array_of(data: bytes, kinds: str) -> np.ndarray:
    """The array that the bytes `data` of an .npy file hold. kinds: the letters of NumPy's kinds that it may have.

    Raises ValueError for anything else; a wrong header can raise any of NONSENSE.
    """
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array of it is of another version of NumPy")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.kind not in kinds or math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError("an array of it has another size or kind than it says")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order="F" if fortran else "C")


def write_stored(file: PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` to `file` as np.savez does, without compression."""
    with replacing(file) as temporary, open(temporary, "wb") as handle, zipfile.ZipFile(handle, "w") as members:
        for name, array in arrays.items():  # np.savez leaves its archive open where the disk is full
            with members.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read_stored(file: PathLike, kinds: str, names: Optional[Sequence[str]] = None) -> Dict[str, np.ndarray]:
    """{name: array} that `write_stored` wrote, of all arrays or of `names`; nothing in it is executed.

    What they say of their size is not trusted. Raises OSError, and DAMAGE or NONSENSE, for what is not such a file.
    """
    with open_regular(file) as handle, zipfile.ZipFile(handle) as members:
        entries = members.infolist()
        size = os.fstat(handle.fileno()).st_size
        if any(entry.compress_type or entry.file_size != entry.compress_size for entry in entries):
            raise ValueError("it is compressed, as checkpoints are not")
        if sum(entry.file_size for entry in entries) > size:
            raise ValueError("its parts overlap")
        chosen = [entry for entry in entries if names is None or entry.filename[: -len(".npy")] in names]
        if any(not 0 <= entry.header_offset < size for entry in entries):
            raise zipfile.BadZipFile("a part of it is said to be outside of it")
        return {entry.filename[: -len(".npy")]: array_of(_content(members, entry), kinds) for entry in chosen}


def write_compressed(file: PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` to `file`, which np.load reads: without dates, so that equal arrays are equal bytes."""
    with replacing(file) as temporary, open(temporary, "wb") as handle, zipfile.ZipFile(handle, "w") as members:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # its date is the first that there can be
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
            members.writestr(entry, stream.getvalue(), compresslevel=9)


def read_compressed(file: PathLike, kinds: str) -> Dict[str, np.ndarray]:
    """{name: array} of a file that `write_compressed` wrote; nothing in it is executed. kinds: as of `array_of`.

    Raises OSError if there is no such file, and ValueError, without the file's name, for one that is not such a file.
    """
    with open_regular(file, LIMIT) as handle:
        try:
            with zipfile.ZipFile(handle) as members:
                entries = members.infolist()
                if any(entry.compress_type not in METHODS or not entry.filename.endswith(".npy") for entry in entries):
                    raise ValueError("it is not a compressed file of arrays")
                if _count(handle) != len(entries):
                    raise ValueError("its list of arrays is damaged")
                if sum(entry.file_size for entry in entries) > LIMIT or len(set(members.namelist())) < len(entries):
                    raise ValueError("it claims more than such a file holds")
                return {entry.filename[: -len(".npy")]: array_of(_content(members, entry), kinds) for entry in entries}
        except (*DAMAGE, *NONSENSE) as error:
            raise ValueError(str(error).splitlines()[0] if str(error) else "it was cut off") from error


def _content(members, entry):
    """The bytes of a member. zipfile's message quotes what stands in place of its name, up to 65,535 bytes."""
    try:
        return members.read(entry)
    except zipfile.BadZipFile as error:
        raise zipfile.BadZipFile(str(error)[:200]) from error


def _count(handle):
    """How many members the zip archive `handle` says it has; -1 if its last bytes are not those of an archive."""
    handle.seek(-min(END.size, handle.seek(0, os.SEEK_END)), os.SEEK_END)
    end = handle.read()
    mark, _, _, _, count, *_ = END.unpack(end) if len(end) == END.size else (b"",) * 8
    return count if mark == b"PK\5\6" else -1
