"""Downloads that continue after broken connections and never take another file for the one that is wanted."""

import contextlib
import logging
import os
import re
import shutil
import time
from pathlib import Path
from typing import NamedTuple, Optional

import requests

from gluon_cgd.fetch import connection, partial
from gluon_cgd.fetch.archives import unpack  # noqa: F401  its name in version 0.1
from gluon_cgd.files.printable import printable
from gluon_cgd.files.regular import check_kind
from gluon_cgd.files.whole import digest
from gluon_cgd.machine.progress import task

log = logging.getLogger(__name__)

TRIES = 5
TIMEOUT = 30  # seconds without a byte
BLOCK = 1 << 15  # bytes that a broken connection can cost
PATIENCE = 30  # seconds that a block may take: less than about 1 kB a second is broken off
ROOM = 500 << 20  # bytes of the disk that stay free while a file of unknown size is received
LIMIT = 5 << 30  # bytes of an archive of pictures; Stanford Online Products has 3 GB
BUSY = (429, 500, 502, 503, 504)  # answers of a server that may have the file with the next try
CHECKSUMS = {32: "md5", 40: "sha1", 64: "sha256"}  # by their number of digits
PAGE = re.compile(rb"\s*(<!doctype html|<html|<head|<\?xml)", re.IGNORECASE)


class Wanted(NamedTuple):
    """A file on the network: its URL, its place here, its checksum if it is known, and the most bytes it may have."""

    url: str
    file: Path
    checksum: Optional[str]
    limit: int

    @property
    def kind(self):
        """Of the checksum: md5, sha1 or sha256."""
        return CHECKSUMS[len(self.checksum)]


def fetch(url, file, checksum, progress=False, limit=LIMIT):
    """Download `url` to `file`; continues where a broken connection or a killed process stopped.

    checksum: the file's md5, SHA-1 or SHA-256 in hexadecimal digits, or None if it is not known. Without one, what was
    received before is continued only if the server says that it still has the same file.
    A file that is there with this checksum is left alone. Raises ValueError, and deletes what was received, if it has
    another checksum, more than `limit` bytes, or is a web page; OSError if the server does not answer, or is busy,
    breaks off or sends next to nothing TRIES times. If two processes fetch one file, the second waits.
    """
    wanted = Wanted(url, Path(file), checksum and checksum.lower(), limit)
    with task(f"comparing {wanted.file.name} with its checksum", bar=False):
        if _is_there(wanted):
            return
    wanted.file.parent.mkdir(parents=True, exist_ok=True)
    with partial.opened(wanted.file) as received, task(f"fetching {wanted.file.name}", bar=False):
        if not _is_there(wanted):  # another process may have fetched it meanwhile
            _receive_whole(wanted, received, progress)
            received.finish()
        partial.forget(wanted.file)


def stated_sha256(url):
    """The SHA-256 that a hub of models states for the file at `url` (X-Linked-Etag), or None."""
    try:
        answer = connection.ask("HEAD", url, {}, TIMEOUT, BLOCK, PATIENCE, redirects=0)
    except (*connection.BROKEN, OSError, ValueError) as error:
        broken = isinstance(error, connection.BROKEN) and not isinstance(error, TimeoutError)
        reason = type(error).__name__ if broken else printable(error)[:200]
        raise OSError(f"{url} cannot be reached ({reason}): start again, or get it by hand") from error
    answer.blocks.close()
    stated = answer.headers.get("X-Linked-Etag", "").strip('"').lower()
    return stated if re.fullmatch("[0-9a-f]{64}", stated) else None


def _is_there(wanted):
    """Whether the file is there. Raises ValueError if it has another checksum, or is no regular file."""
    if not wanted.file.exists():
        return False
    check_kind(wanted.file, os.stat(wanted.file).st_mode)
    if wanted.checksum and digest(wanted.file, wanted.kind) != wanted.checksum:
        remedy = f"move it away, or, if it is the beginning of a download, rename it to {wanted.file.name}.part"
        reason = f"is there but is not the file wanted (its {wanted.kind} is not {wanted.checksum})"
        raise ValueError(f"{wanted.file} {reason}: {remedy}")
    return True


def _receive_whole(wanted, received, progress):
    """Receive the whole file. Raises ValueError if it has another checksum."""
    before = received.size()
    _receive_in_tries(wanted, received, progress)
    if not wanted.checksum:
        return
    checksum = received.digest(wanted.kind)
    if checksum != wanted.checksum and before:  # what was there before may have been the beginning of another file
        log.warning("%s is not the rest of what was received before: it is received anew", wanted.url)
        received.clear()
        _receive_in_tries(wanted, received, progress)
        checksum = received.digest(wanted.kind)
    if checksum != wanted.checksum:
        received.clear()
        raise _another(wanted, f"{wanted.kind} {checksum}")


def _another(wanted, what):
    but = f", not {wanted.checksum}" * bool(wanted.checksum)
    remedy = f"get it by hand and put it there as {wanted.file}"
    return ValueError(f"{wanted.url} sent another file ({what}{but}): {remedy}")


def _receive_in_tries(wanted, received, progress):
    """Receive what is missing, in up to TRIES connections."""
    for left in reversed(range(TRIES)):
        try:
            return _receive(wanted, received, progress)
        except connection.BROKEN as error:
            if not left:
                reason = str(error) if isinstance(error, (TimeoutError, _Busy)) else type(error).__name__
                raise OSError(
                    f"{wanted.url} broke off {TRIES} times, {received.size():,} bytes are kept ({reason}): start again "
                    f"to go on, or put the file there by hand as {wanted.file}"
                ) from error
            time.sleep(max(min(2 ** (TRIES - left), 30) / 10, getattr(error, "seconds", 0)))


class _Busy(ConnectionError):
    """A server that is busy, with its answer, and the seconds that it wants to be left alone, PATIENCE at most."""

    def __init__(self, answer):
        super().__init__(f"it answers {answer.status} {printable(answer.reason)[:80]}")
        wanted = answer.headers.get("Retry-After", "")
        self.seconds = min(int(wanted), PATIENCE) if re.fullmatch("[0-9]{1,9}", wanted) else 0


def _receive(wanted, received, progress):
    """Receive what is missing in one connection; all of it, where it is not sure to be of the same file."""
    have, version = received.size(), received.version(wanted.url)
    if have and not (wanted.checksum or version):
        received.clear()
        have = 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and version:
        headers["If-Range"] = version
    try:
        answer = connection.ask("GET", wanted.url, headers, TIMEOUT, BLOCK, PATIENCE)
    except connection.BROKEN:
        raise
    except (OSError, ValueError) as error:  # an error of requests is an OSError
        reason = printable(error)[:200]
        raise OSError(f"{wanted.url} cannot be fetched ({reason}): get it by hand as {wanted.file}") from error
    with contextlib.closing(answer.blocks):
        total = _total(answer, have)
        if answer.status == 416 and have:  # nothing is left to send, if it is the same file
            if not wanted.checksum and total != have:
                raise _begin_anew(received, f"it has {total} bytes now")
            return
        if answer.status in BUSY:
            raise _Busy(answer)
        if answer.status not in (200, 206):
            raise OSError(f"{wanted.url} answers {answer.status} {answer.reason}: get the file by hand")
        if answer.status == 206 and not _continues(answer, have, version):
            raise _begin_anew(received, "it sent another part")
        _check_size(wanted, received, total, have * (answer.status == 206))
        _append(wanted, received, answer, total, progress)


def _begin_anew(received, reason):
    received.clear()
    return requests.ConnectionError(reason)


def _total(answer, have):
    """The bytes of the whole file, as the server states them, or None."""
    if answer.status in (206, 416):
        stated = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+)", answer.headers.get("Content-Range", ""))
    else:
        stated = re.fullmatch(r"(\d+)", answer.headers.get("Content-Length", ""))
    return int(stated[1]) if stated else None


def _continues(answer, have, version):
    """Whether the part of a file that is sent (206) is the one that is missing, of the same version."""
    sent = partial.version_of(answer.headers)
    begins = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    return have > 0 and begins and not (version and sent and sent != version)


def _check_size(wanted, received, total, have):
    if total is None:
        return
    if total > wanted.limit:
        raise _too_large(wanted, received, total)
    folder = received.path.parent
    if total - have > shutil.disk_usage(folder).free:
        raise OSError(f"{folder} has no room for the {(total - have) / 1e9:.1f} GB of {wanted.url}: free some")


def _too_large(wanted, received, size):
    received.clear()
    return _another(wanted, f"{size:,} bytes or more, while such a file has {wanted.limit:,} at most")


def _append(wanted, received, answer, total, progress):
    """Write the body of `answer` to the end of what was received, or instead of it."""
    first = next(answer.blocks, b"")
    have = received.size()
    if answer.status == 200:
        if PAGE.match(first):  # before what is there is given up for it
            raise _another(wanted, "a web page")
        received.begin(wanted.url, partial.version_of(answer.headers))
        have = 0
    with task(wanted.file.name, total, "B", progress, have) as doing:
        for block in _and_rest(first, answer.blocks):
            have += len(block)
            if have > wanted.limit:
                raise _too_large(wanted, received, have)
            if total is None and shutil.disk_usage(received.path.parent).free < ROOM:
                received.clear()  # it may be without an end
                raise OSError(f"{received.path.parent} has no room for {wanted.url}, which states no size: free some")
            received.write(block)
            doing.update(len(block))
    if total is not None and have < total:
        raise requests.ConnectionError("the connection ended early")


def _and_rest(first, blocks):
    yield first
    yield from blocks
