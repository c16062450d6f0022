"""The file FILE.part, which holds what was received of FILE so far and which a later process continues."""

import contextlib
import hashlib
import logging
import os
import re
import stat
from pathlib import Path

import portalocker

from gluon_cgd.files.regular import check_kind, read_json
from gluon_cgd.files.whole import LOCK, sync_folder, write_json

log = logging.getLogger(__name__)
DATE = re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")


class Partial:
    """FILE.part, open and locked. Beside it, FILE.part.json says which version of which URL it is the beginning of."""

    def __init__(self, file, handle):
        self.file, self.handle = file, handle
        self.path, self.origin = paths(file)

    def size(self):
        """The bytes that are there; the next ones are written after them."""
        return self.handle.seek(0, os.SEEK_END)

    def clear(self):
        """Forget what was received."""
        self.handle.seek(0)
        self.handle.truncate()
        self.origin.unlink(missing_ok=True)

    def write(self, block):
        """Append `block`. Raises OSError that names the file."""
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[self.handle.write(rest) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def digest(self, kind):
        """The checksum of what is there."""
        checksum = hashlib.new(kind)
        self.handle.seek(0)
        for block in iter(lambda: self.handle.read(1 << 20), b""):
            checksum.update(block)
        return checksum.hexdigest()

    def version(self, url):
        """How the server marks the version of `url` that this is the beginning of, or None."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            noted = read_json(self.origin)
            if noted.get("url") == url and isinstance(noted.get("version"), str):
                return noted["version"]
        return None

    def begin(self, url, version):
        """Forget what was received, and note what comes now."""
        self.clear()
        if version:
            write_json(self.origin, {"url": url, "version": version})

    def finish(self):
        """Bring it to the disk and rename it to FILE. Raises OSError if another file has taken its place."""
        os.fsync(self.handle.fileno())
        if not _is_at(self.handle, self.path):
            raise OSError(f"{self.path} was moved away or replaced while it was received: start again")
        os.replace(self.path, self.file)
        sync_folder(self.file.parent)


def paths(file):
    """FILE.part and FILE.part.json."""
    return Path(f"{file}.part"), Path(f"{file}.part.json")


def forget(file):
    """Delete what was received of `file`, if anything."""
    for path in paths(file):
        path.unlink(missing_ok=True)


def version_of(headers):
    """How a server marks the version of a file that it sends: a strong ETag or else a date, or None."""
    tag, date = headers.get("ETag", ""), headers.get("Last-Modified", "")
    return tag if re.fullmatch('"[!-~]{1,500}"', tag) else date if DATE.fullmatch(date) else None


@contextlib.contextmanager
def opened(file):
    """The Partial of `file`; waits while another process has it.

    Its name is fixed, so that a later call goes on. Hence it is taken only if no link, symbolic or hard, could lead to
    another file; else it is begun anew.
    """
    path, flags = paths(file)[0], getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    while True:
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode):
                check_kind(path, status.st_mode)
            if not _is_own(status) or not os.access(path, os.R_OK | os.W_OK):
                os.unlink(path)
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666), "r+b", 0) as handle:
            _lock(handle, path)
            if _is_own(os.fstat(handle.fileno())) and _is_at(handle, path):  # else another process has renamed it
                try:
                    yield Partial(file, handle)
                finally:
                    if not os.fstat(handle.fileno()).st_size and _is_at(handle, path):
                        forget(file)
                return


def _lock(handle, path):
    with contextlib.suppress(portalocker.LockException):  # of the second try: a file system without locks
        try:
            portalocker.lock(handle, LOCK)
        except portalocker.LockException:
            log.info("another process is receiving %s: waiting for it", path)
            portalocker.lock(handle, portalocker.LockFlags.EXCLUSIVE)


def _is_own(status):
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def _is_at(handle, path):
    """Whether the open file `handle` is still the one at `path`."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle.fileno()), os.lstat(path))
    return False
