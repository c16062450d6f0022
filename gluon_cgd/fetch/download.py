"""Downloads that continue after broken connections, and archives that are unpacked only if they are harmless."""

import logging
import os
import shutil
import stat
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path, PurePosixPath

import requests

from gluon_cgd.files.whole import digest
from gluon_cgd.machine.progress import each, task

log = logging.getLogger(__name__)

TRIES = 5
TIMEOUT = 30  # seconds without a byte
BLOCK = 1 << 16  # bytes that a broken connection can cost
LARGEST = 20  # an archive of pictures may unpack to that many times its size: JPEGs hardly compress
CHECKSUMS = {32: "md5", 40: "sha1", 64: "sha256"}  # by their number of digits


def fetch(url, file, checksum, progress=False):
    """Download `url` to `file`; continues where a broken connection or an earlier call stopped.

    checksum: the file's md5, SHA-1 or SHA-256 in hexadecimal digits, or None if it is not known.
    A file that is there with this checksum is left alone. Raises ValueError, and deletes what was received, if it has
    another checksum; OSError if the server does not answer or breaks off TRIES times.
    """
    file, partial = Path(file), Path(f"{file}.part")
    kind = checksum and CHECKSUMS[len(checksum)]
    if file.is_file():
        if not checksum or digest(file, kind) == checksum:
            return
        raise ValueError(f"{file} is there but is not the file wanted (its {kind} is not {checksum}): move it away")
    file.parent.mkdir(parents=True, exist_ok=True)
    for left in reversed(range(TRIES)):
        try:
            _receive(url, partial, progress)
            break
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            if not left:
                size = partial.stat().st_size if partial.exists() else 0
                raise OSError(
                    f"{url} broke off {TRIES} times, {size:,} bytes are kept ({type(error).__name__}): start again to "
                    f"go on, or put the file there by hand as {file}"
                ) from error
            time.sleep(min(2 ** (TRIES - left), 30) / 10)
    received = checksum and digest(partial, kind)
    if received != checksum:
        partial.unlink()
        raise ValueError(
            f"{url} sent another file ({kind} {received}, not {checksum}): get it by hand and put it there as {file}"
        )
    os.replace(partial, file)


def stated_sha256(url):
    """The SHA-256 that a hub of models states for the file at `url` (X-Linked-Etag), or None."""
    try:
        answer = requests.head(url, timeout=TIMEOUT)
    except requests.RequestException as error:
        raise OSError(f"{url} cannot be reached ({type(error).__name__}): start again, or get it by hand") from error
    stated = answer.headers.get("X-Linked-Etag", "").strip('"')
    return stated if len(stated) == 64 else None


def _receive(url, partial, progress):
    """Append to `partial` the part of `url` that it lacks."""
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416 and have:  # nothing is left to send
            return
        if answer.status_code not in (200, 206):
            raise OSError(f"{url} answers {answer.status_code} {answer.reason}: get the file by hand")
        goes_on = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        length = int(answer.headers.get("Content-Length", 0))
        have = have if goes_on else 0
        if length > shutil.disk_usage(partial.parent).free:
            raise OSError(f"{partial.parent} has no room for the {length / 1e9:.1f} GB of {url}: free some")
        doing = task(partial.stem, length + have if length else None, "B", progress, have)
        with open(partial, "ab" if goes_on else "wb") as out, doing as bar:
            for block in answer.iter_content(BLOCK):
                out.write(block)
                bar.update(len(block))
        if length and partial.stat().st_size < length + have:
            raise requests.ConnectionError("the connection ended early")


def unpack(archive, folder):
    """Unpack a .zip, .tar or .tgz into `folder`: all of it or nothing.

    Raises ValueError for a broken archive, and for one with a link, a device, a path that leads out of the folder, or
    more bytes than an archive of pictures has.
    """
    archive, folder = Path(archive), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder))
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                plain = (0, stat.S_IFREG)  # some programs write no kind
                members = [
                    (m, m.filename, m.file_size, m.is_dir(), stat.S_IFMT(m.external_attr >> 16) in plain)
                    for m in opened.infolist()
                ]
                _extract(members, opened.open, temporary, archive)
        else:
            with tarfile.open(archive) as opened:
                members = [(m, m.name, m.size, m.isdir(), m.isfile()) for m in opened]
                _extract(members, opened.extractfile, temporary, archive)
        for entry in sorted(temporary.iterdir()):
            target = folder / entry.name
            if target.exists():
                raise ValueError(f"{target} is there already: move it away, then unpack {archive.name} again")
            os.rename(entry, target)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{archive} cannot be unpacked ({type(error).__name__}: {error}): get it again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _extract(members, opened, folder, archive):
    """Write the plain files of `members`, (member, name, size, is a folder, is a plain file) each, below `folder`."""
    total = sum(size for _, _, size, _, _ in members)
    if total > LARGEST * archive.stat().st_size + (1 << 20):
        raise ValueError(f"{archive} would unpack to {total / 1e9:.1f} GB, no archive of pictures does: get it again")
    if total > shutil.disk_usage(folder).free:
        raise OSError(f"{folder.parent} has no room for the {total / 1e9:.1f} GB of {archive}: free some")
    for member, name, size, is_folder, is_file in each(members, f"unpacking {archive.name}", unit="files"):
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[:1]:
            raise ValueError(f"{archive} holds the path {name!r}, which leads out of the folder: do not use it")
        if is_folder:
            continue
        if not is_file:
            raise ValueError(f"{archive} holds {name!r}, which is a link or a device and not a file: do not use it")
        target = folder.joinpath(*path.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with opened(member) as source, open(target, "wb") as out:
            for block in iter(lambda source=source: source.read(1 << 20), b""):
                size -= len(block)
                if size < 0:
                    raise ValueError(f"{archive} holds more of {name!r} than it declares: do not use it")
                out.write(block)
