"""Files that are written completely or not at all, and their checksums."""

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import secrets
import time
from pathlib import Path

import portalocker

from gluon_cgd.files.regular import check_kind, open_regular

ORPHAN = 60  # seconds after which a temporary file that no process has locked is that of a killed one
LOCK = portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING


@contextlib.contextmanager
def replacing(file):
    """A context that gives a temporary path; the file written there becomes `file` unless something is raised.

    It is on the disk when the context ends. The path is new, of this process alone, and in the folder of `file`, so
    that any number of processes can write one file at once: the last one wins. What killed processes left is deleted.
    Raises ValueError or IsADirectoryError if `file` is there and is no regular file.
    """
    folder, name = os.path.split(os.fspath(file))
    check_target(file)
    stem = os.path.join(folder, f".{_short(name)}.")
    _delete_orphans(f"{glob.escape(stem)}*.part", ORPHAN)
    temporary = f"{stem}{secrets.token_hex(6)}.part"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(temporary, flags, 0o666)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, os.fspath(file)) from error  # the name that people know
    try:
        with contextlib.suppress(portalocker.LockException):  # not every file system has locks
            portalocker.lock(descriptor, LOCK)
        yield temporary
        with open(temporary, "rb+") as written:  # a library may have put another file there
            os.fsync(written.fileno())
        os.replace(temporary, file)
        sync_folder(folder or ".")
    except OSError as error:
        if error.errno and error.filename in (None, temporary):  # a full disk does not say of which file
            error.filename = os.fspath(file)
        raise
    finally:
        os.close(descriptor)
        Path(temporary).unlink(missing_ok=True)


def check_target(file):
    """Raise ValueError or an OSError if `file` cannot be written: it is no regular file, or its folder cannot be one.

    For commands that work long before they write.
    """
    if os.path.exists(file):
        check_kind(file, os.stat(file).st_mode)
    there = next(folder for folder in Path(os.path.abspath(file)).parents if os.path.lexists(folder))
    if there.is_symlink() and not os.path.exists(there):
        raise ValueError(f"{there} is a link that leads nowhere: delete it, or choose another name")
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(file))


def may_write(folder):
    """Whether this user may make files in `folder`."""
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _short(name):
    """`name`, shortened so that a longer one made of it is no longer than file systems allow (255 bytes)."""
    return os.fsdecode(os.fsencode(name)[:200])


def delete_temporaries(folder):
    """Delete what killed processes left of files in `folder`, for a process that has the lock of the folder."""
    _delete_orphans(os.path.join(glob.escape(os.fspath(folder)), f".*.{'[0-9a-f]' * 12}.part"), 1)


def _delete_orphans(pattern, seconds):
    """Delete the temporary files of this `pattern` that are older than `seconds` and that no process has locked."""
    for file in glob.glob(pattern):
        with contextlib.suppress(OSError, portalocker.LockException):
            if time.time() - os.lstat(file).st_mtime > seconds:
                descriptor = os.open(file, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
                try:
                    portalocker.lock(descriptor, LOCK)
                    os.unlink(file)
                finally:
                    os.close(descriptor)


def sync_folder(folder):
    """Wait until the names in `folder` are on the disk, as far as the system can do that."""
    with contextlib.suppress(OSError):  # some systems cannot open a folder, or sync it
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(file, text):
    """Write `text` to `file`, and wait until it is on the disk."""
    with replacing(file) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        handle.write(text)


def write_json(file, values):
    """Write `values` to `file` as JSON, in ASCII if they hold the name of a file that is not UTF-8."""
    text = json.dumps(values, indent=1, ensure_ascii=False)
    write_text(file, json.dumps(values, indent=1) if re.search("[\ud800-\udfff]", text) else text)


def digest(file, kind="sha256"):
    """The checksum of `file` in hexadecimal digits. kind: md5, sha1 or sha256."""
    checksum = hashlib.new(kind)
    with open_regular(file) as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            checksum.update(block)
    return checksum.hexdigest()
