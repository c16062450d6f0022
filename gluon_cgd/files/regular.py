"""Reading of files that others may have made: regular files only, and never more bytes than are expected."""

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, Optional, Union

PathLike = Union[str, Path]
TEXT = 256 << 20  # bytes of a list of pictures or of a log; the longest list of the paper's datasets has 16 MB
JSON = 64 << 20  # bytes of a result or a manifest; ours have some 100 kB
KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def open_regular(path: PathLike, limit: Optional[int] = None) -> BinaryIO:
    """The file `path`, opened to read bytes. Links are followed.

    Raises IsADirectoryError for a folder, ValueError for a pipe, a device or a socket, which could block or never end,
    and for a file of more than `limit` bytes; other OSErrors are the system's own.
    """
    check_kind(path, os.stat(path).st_mode)  # before it is opened, since opening a device can have an effect
    # A pipe that has taken the file's place since then does not block
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        check_kind(path, status.st_mode)
        if limit is not None and status.st_size > limit:
            raise ValueError(
                f"{path} has {status.st_size:,} bytes, more than the {limit:,} that are read of such a file: "
                "check that it is the right one"
            )
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_kind(path: PathLike, mode: int) -> None:
    """Raise IsADirectoryError or ValueError unless `mode`, the st_mode of `path`, is that of a regular file."""
    kind = KINDS.get(stat.S_IFMT(mode))
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a folder: name a file in it")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is {kind or 'not a regular file'}: name a regular file")


def read_bytes(path: PathLike, limit: int) -> bytes:
    """The bytes of `path`. Raises as `open_regular`; a file that grows past `limit` meanwhile is refused too."""
    with open_regular(path, limit) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{path} has more than the {limit:,} bytes that are read of such a file: check it")
    return data


def read_text(path: PathLike, limit: int = TEXT) -> str:
    """The UTF-8 text of `path`, without a byte order mark. Raises as `open_regular`, and ValueError for other bytes."""
    data = read_bytes(path, limit)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text (byte {error.start:,} is {data[error.start]:#04x}): save it as UTF-8"
        ) from error


def read_json(path: PathLike, limit: int = JSON) -> Any:
    """What the JSON file `path` says. Raises as `read_text`, and ValueError for something that is not JSON."""
    text = read_text(path, limit)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # RecursionError: thousands of brackets inside each other
        reason = "its brackets are nested too deep" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"{path} is not JSON ({reason}): get it again") from error
