"""Files that are mapped into memory, and what the system is told of them."""

import errno
import mmap
import os

import numpy as np

from gluon_cgd.files.regular import open_regular
from gluon_cgd.machine.sentences import sentence
from gluon_cgd.retrieval.manifest import Damaged


def is_no_file(error):
    """Whether the `error` of opening a file says that something else is in its place, not that the disk is at fault."""
    return isinstance(error, (ValueError, IsADirectoryError)) or error.errno == errno.ELOOP


def mapped(file, size):
    """The first `size` bytes of `file`, mapped into memory: uint8 (size,), read-only.

    Raises FileNotFoundError, and Damaged if there are fewer.
    """
    try:
        handle = open_regular(file)
    except (ValueError, OSError) as error:
        if not is_no_file(error):
            raise
        raise Damaged(f"{file} is damaged ({sentence(error)})", file.parent) from error
    with handle:
        there = os.fstat(handle.fileno()).st_size
        if there < size:
            raise Damaged(f"{file} is damaged ({there:,} bytes where {size:,} are counted)", file.parent)
        return opened(handle, size)


def opened(handle, size):
    """The first `size` bytes of an open file, mapped into memory: uint8 (size,), read-only."""
    if not size:
        return np.empty(0, np.uint8)
    return np.frombuffer(mmap.mmap(handle.fileno(), size, access=mmap.ACCESS_READ), np.uint8)


def release(array):
    """Let the system take back the memory of an array that shows a whole mapped file."""
    advise(array, "MADV_DONTNEED")


def advise(array, how):
    """Give the system an advice, the name of a constant of mmap, on an array that shows a whole mapped file."""
    while isinstance(array, np.ndarray):
        array = array.base
    file = array.obj if isinstance(array, memoryview) else array
    if isinstance(file, mmap.mmap) and hasattr(mmap, how):
        file.madvise(getattr(mmap, how))
