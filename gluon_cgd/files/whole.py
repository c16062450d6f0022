"""Files that are written completely or not at all, their checksums, and locks on folders."""

import contextlib
import hashlib
import json
import os
from pathlib import Path

import portalocker


@contextlib.contextmanager
def replacing(file):
    """A context that gives a temporary path; the file written there becomes `file` unless something is raised."""
    temporary = f"{file}.part"
    try:
        yield temporary
        os.replace(temporary, file)
    finally:
        Path(temporary).unlink(missing_ok=True)


def write_text(file, text):
    """Write `text` to `file`, and wait until it is on the disk."""
    with replacing(file) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


def write_json(file, values):
    """Write `values` to `file` as JSON."""
    write_text(file, json.dumps(values, indent=1, ensure_ascii=False))


def digest(file, kind="sha256"):
    """The checksum of `file` in hexadecimal digits. kind: md5, sha1 or sha256."""
    checksum = hashlib.new(kind)
    with open(file, "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            checksum.update(block)
    return checksum.hexdigest()


@contextlib.contextmanager
def locked(folder, doing="training in"):
    """Lock the run in `folder` for this process. Raises ValueError if another process is `doing` something there."""
    flags = portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING
    try:
        lock = portalocker.Lock(str(folder / "lock"), flags=flags, timeout=0)
        lock.acquire()
    except portalocker.LockException as error:
        raise ValueError(f"another process is {doing} {folder}: wait for it, or choose another folder") from error
    try:
        yield
    finally:
        lock.release()
