"""MXNet's .params files, in NumPy: read, written to the bytes that MXNet writes, and checked before MXNet opens them.

What their headers claim is compared with their size before anything makes room for it.
"""

import math
import os
import struct
from typing import BinaryIO, Dict, List, Mapping, Tuple

import numpy as np

from gluon_cgd.files.regular import PathLike, open_regular

LIST = 0x112  # the number that begins a list of arrays
VERSION_1, VERSION_2 = 0xF993FAC8, 0xF993FAC9  # numbers that begin an array; before them its count of axes began it
SIZES = {0: 4, 1: 8, 2: 2, 3: 1, 4: 4, 5: 1, 6: 8}  # bytes of a value of float32, float64, float16, uint8, ...
TYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8"}  # as NumPy writes these types
DEVICES = (1, 2, 3, 5, 6)  # MXNet's numbers of cpu, gpu, cpu_pinned, cpu_shared and another name of it
LIMIT = 1 << 34  # bytes of a file
ARRAYS = 100_000
AXES = 32
NAME = 1024  # bytes


class WrongParameters(ValueError):
    """A file is not a whole .params file; the message says why, and leaves the file's name to the caller."""


def check_parameters(path: PathLike) -> None:
    """Raise WrongParameters unless `path` is a whole .params file: named arrays with all their values, and no more.

    MXNet asks for as much memory as a header claims, and can end the program. Raises OSError as `open_regular` does.
    """
    with open_regular(path, LIMIT) as file:
        _check(file, os.fstat(file.fileno()).st_size)


def read_values(path: PathLike) -> Dict[str, np.ndarray]:
    """{name: array} of a .params file. Raises as `check_parameters`."""
    with open_regular(path, LIMIT) as file:
        places = _check(file, os.fstat(file.fileno()).st_size)
        values = {}
        for name, (start, dimensions, flag) in places.items():
            file.seek(start)
            data = _take(file, math.prod(dimensions) * SIZES[flag])
            values[name] = np.frombuffer(data, TYPES[flag]).reshape(dimensions)
    return values


def write_values(path: PathLike, values: Mapping[str, np.ndarray]) -> None:
    """Write {name: array} to the file `path` as MXNet's `save` does for arrays on a CPU, to the byte."""
    flags = {np.dtype(kind): flag for flag, kind in TYPES.items()}
    with open(path, "wb") as file:
        file.write(struct.pack("<3Q", LIST, 0, len(values)))
        for array in values.values():
            shape = struct.pack(f"<2Ii{array.ndim}q", VERSION_2, 0, array.ndim, *array.shape)
            file.write(shape + struct.pack("<3i", 1, 0, flags[array.dtype]))
            file.write(np.ascontiguousarray(array).data)
        file.write(struct.pack("<Q", len(values)))
        for name in values:
            file.write(struct.pack("<Q", len(name.encode())) + name.encode())


def _check(file: BinaryIO, size: int) -> Dict[str, Tuple[int, Tuple[int, ...], int]]:
    """{name: (where its values begin, sizes of the axes, number of the type)} of a file of `size` bytes."""
    if _number(file, 8) != LIST:
        raise WrongParameters("it begins otherwise")
    _number(file, 8)
    count = _number(file, 8)
    if count > min(size // 16, ARRAYS):
        raise WrongParameters(f"it claims {count:,} arrays")
    places: List[Tuple[int, Tuple[int, ...], int]] = []
    for number in range(count):
        dimensions, flag = _header(file)
        values = math.prod(dimensions) * SIZES.get(flag, 0)
        left = size - file.tell()
        if not values or values > left:
            shape = " x ".join(map(str, dimensions))
            raise WrongParameters(f"array {number} claims {shape} values of type {flag}, and {left:,} bytes are left")
        places.append((file.tell(), dimensions, flag))
        file.seek(values, os.SEEK_CUR)
    names: List[str] = []
    named = _number(file, 8)
    if named != count:
        raise WrongParameters(f"{count:,} arrays have {named:,} names")
    for _ in range(count):
        length = _number(file, 8)
        if not 0 < length <= NAME:
            raise WrongParameters(f"a name has {length:,} bytes")
        try:
            names.append(_take(file, length).decode("utf-8"))
        except UnicodeDecodeError as error:
            raise WrongParameters("a name is not text") from error
    if len(set(names)) < count:
        raise WrongParameters("two arrays have one name")
    if file.tell() < size:
        raise WrongParameters("more follows its end")
    return dict(zip(names, places))


def _header(file: BinaryIO) -> Tuple[Tuple[int, ...], int]:
    """(sizes of the axes, number of the type) of the array that begins here."""
    axes, width = _number(file, 4), 4
    if axes in (VERSION_1, VERSION_2):
        if axes == VERSION_2 and _number(file, 4) != 0:
            raise WrongParameters("an array is sparse")
        axes, width = _number(file, 4), 8
    if not 1 <= axes <= AXES:
        raise WrongParameters(f"an array has {axes:,} axes")
    dimensions = tuple(_number(file, width) for _ in range(axes))
    device, index, flag = (_number(file, 4) for _ in range(3))
    if device not in DEVICES or index > 1000:
        raise WrongParameters(f"an array is on device {device} number {index}")
    return dimensions, flag


def _number(file: BinaryIO, length: int) -> int:
    return int.from_bytes(_take(file, length), "little")


def _take(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise WrongParameters("it is cut off")
    return data
