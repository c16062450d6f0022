"""Archives, unpacked whole or not at all and only if they are harmless; what is unpacked already is left as it is."""

import contextlib
import errno
import json
import logging
import os
import re
import secrets
import shutil
import tempfile
import zlib
from pathlib import Path, PurePosixPath

import portalocker

from gluon_cgd.fetch.members import BLOCK, members
from gluon_cgd.files.regular import open_regular, read_json
from gluon_cgd.files.whole import LOCK, write_text
from gluon_cgd.machine.progress import each

log = logging.getLogger(__name__)

PREFIX = ".unpacking-"  # of the folder into which an archive is unpacked first
HELD = f"{PREFIX}lock"  # in that folder; no archive may have a name that begins so
DEPTH = 40  # folders inside each other
TAKEN = (FileExistsError, IsADirectoryError, NotADirectoryError)


def unpack(archive, folder, note=None, checksum=None):
    """Unpack a .zip or a tar archive, which may be compressed, into `folder`: all of it or nothing.

    A file that is there with the same content is left alone; one that was cut off is replaced. A process that is killed
    leaves whole files and a temporary folder, which the next call deletes.
    note: a file to write for `is_unpacked`, with the `checksum` of the archive. What differs from the archive although
    an earlier call has put it there, as the note says, is replaced too, with a warning.
    Raises ValueError for a broken archive, for one with a link, a device, a path that leads out of the folder, or more
    bytes than an archive of pictures has, and if another file is where one of the archive's belongs.
    """
    archive, folder = Path(archive), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    delete_abandoned(folder)
    with temporary_folder(folder) as temporary:
        files = {}  # path in the archive -> (size, CRC-32)
        for member in each(members(archive, checksum is not None), f"unpacking {archive.name}", unit="files"):
            _extract(member, temporary, archive, files)
        if not files:
            raise ValueError(f"{archive} holds no files: get it again")
        known = _noted(note, checksum) if note else {}
        compared = each(files.items(), f"comparing what is in {folder}", unit="files", bar=False)
        missing = [path for path, facts in compared if not _is_there(folder, path, facts, known, temporary)]
        if not known:
            _check_tops(folder, files)
        if note:
            write_text(note, json.dumps({"checksum": checksum, "files": files}))
        _move(missing, temporary, folder)


def is_unpacked(note, checksum, folder):
    """Whether all files that `unpack` has put into `folder` from the archive with `checksum` are there and whole.

    note: the file that it wrote. Every file is read and compared with its CRC-32.
    """
    files = _noted(note, checksum)
    compared = each(files.items(), f"comparing what is in {folder}", unit="files")
    return bool(files) and all(_facts(Path(folder) / path) == tuple(facts) for path, facts in compared)


def _noted(note, checksum):
    """{path: [size, CRC-32]} of the file `note`, empty if there is none for this `checksum` or it is damaged."""
    try:
        noted = read_json(note)
        files = noted["files"] if noted["checksum"] == checksum else {}
        return files if all(len(facts) == 2 for facts in files.values()) else {}
    except FileNotFoundError:
        return {}
    except (ValueError, OSError, KeyError, TypeError, AttributeError):
        log.warning("%s is damaged: the archive is unpacked again", note)
        return {}


def _facts(file):
    """(size, CRC-32) of a regular file, or None."""
    try:
        with open_regular(file) as handle:
            size = crc = 0
            for block in iter(lambda: handle.read(BLOCK), b""):
                size, crc = size + len(block), zlib.crc32(block, crc)
            return size, crc
    except (ValueError, OSError):  # not there, not a file, or not to be read
        return None


@contextlib.contextmanager
def temporary_folder(folder):
    """A new folder in `folder` that is deleted in the end; a file in it is locked, so that others see it is in use.

    A file, since NFS knows the lock of a folder only on the machine that has it.
    """
    while True:
        try:
            temporary = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(folder)) from error  # the name that people know
        with contextlib.suppress(FileNotFoundError):  # another process took it for an abandoned one, and tries again
            descriptor = _open_lock(temporary)
            try:
                portalocker.lock(descriptor, LOCK)
                is_own = (temporary / HELD).exists()
            except portalocker.LockException as error:  # not every file system has locks
                is_own = not isinstance(error, portalocker.AlreadyLocked)
            if is_own:
                break
            os.close(descriptor)
    try:
        yield temporary
    finally:
        os.close(descriptor)  # before it is deleted: NFS keeps a file that is open, and its folder
        shutil.rmtree(temporary, ignore_errors=True)


def delete_abandoned(folder):
    """Delete the temporary folders in `folder` that killed processes left."""
    for place in Path(folder).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, portalocker.LockException):
            if place.is_symlink():
                continue
            descriptor = _open_lock(place)
            try:
                portalocker.lock(descriptor, LOCK)
                left = place.rename(place.with_name(PREFIX + secrets.token_hex(4)))  # who makes it now tries again
            finally:
                os.close(descriptor)
            shutil.rmtree(left, ignore_errors=True)


def _open_lock(temporary):
    """A descriptor of the file in the folder `temporary` that is locked while somebody uses the folder."""
    return os.open(temporary / HELD, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)


def _extract(member, folder, archive, files):
    """Write `member` below `folder` if it is a file, and note its path, size and CRC-32 in `files`."""
    name = member.name.replace("\\", "/")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name):
        raise ValueError(f"{archive} holds the path {member.name!r}, which leads out of the folder: do not use it")
    if member.kind == "folder":
        return
    if member.kind != "file":
        raise ValueError(
            f"{archive} holds {member.name!r}, which is a link or a device and not a plain file: do not use it"
        )
    if "\0" in name or not path.parts or len(path.parts) > DEPTH or path.parts[0].startswith(PREFIX):
        raise ValueError(f"{archive} holds the path {member.name[:200]!r}, which is no usable name: do not use it")
    if member.size > shutil.disk_usage(folder).free:
        raise OSError(
            f"{folder.parent} has no room for the {member.size / 1e9:.1f} GB of {path} in {archive}: free some"
        )
    target = folder.joinpath(*path.parts)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        out = open(target, "xb")  # noqa: SIM115
    except TAKEN as error:
        raise ValueError(
            f"{archive} holds {member.name!r} twice, as a file and as a folder, or in capitals too: do not use it"
        ) from error
    except (OSError, UnicodeError) as error:
        if getattr(error, "errno", errno.EINVAL) not in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
            raise
        raise ValueError(
            f"{archive} holds {member.name[:200]!r}, a name that {folder.parent} cannot have: unpack it elsewhere"
        ) from error
    crc = 0
    try:
        with out:
            for block in member.blocks():
                out.write(block)
                crc = zlib.crc32(block, crc)
    except OSError as error:  # of the disk, whose errors name no file; those of the archive are ValueErrors
        raise OSError(error.errno, error.strerror, str(folder.parent / path)) from error
    files["/".join(path.parts)] = (member.size, crc)


def _is_there(folder, path, facts, known, temporary):
    """Whether `folder` holds the file `path` with these `facts` (size, CRC-32) already.

    Raises ValueError if something else is there that `unpack` has not put there.
    """
    target = folder / path
    for place in (target, *target.parents):
        if place == folder:
            break
        if place.is_symlink() or (place != target and place.exists() and not place.is_dir()):
            raise ValueError(f"{place} is there already and is a link or no folder: move it away, then start again")
    if not os.path.lexists(target):
        return False
    found = _facts(target)
    if found == facts:
        return True
    if found and (path in known or _is_beginning(target, temporary / path)):
        log.warning("%s was cut off or changed after it was unpacked: it is put there again", target)
        return False
    raise ValueError(f"{target} is there already and is another file: move it away, then start again")


def _check_tops(folder, files):
    """Raise ValueError if `folder` holds something by the name of a folder of the archive, but no file of it."""
    known = {PurePosixPath(path).parts[0] for path in files if os.path.lexists(folder / path)}
    for top in sorted({PurePosixPath(path).parts[0] for path in files} - known):
        if os.path.lexists(folder / top):
            raise ValueError(f"{folder / top} is there already: move it away, then start again")


def _is_beginning(file, whole):
    """Whether `file` holds the beginning of `whole` and then nothing or zeros, as an interrupted copy does."""
    with open_regular(file) as beginning, open_regular(whole) as full:
        while True:
            block, right = beginning.read(BLOCK), full.read(BLOCK)
            if block != right:
                rest = iter(lambda: beginning.read(BLOCK), b"")
                return right.startswith(block.rstrip(b"\0")) and not any(more.strip(b"\0") for more in rest)
            if not block:
                return True


def _move(paths, temporary, folder):
    """Move the files `paths` from the folder `temporary` to the same places in `folder`."""
    for top in sorted({PurePosixPath(path).parts[0] for path in paths}):
        if not os.path.lexists(folder / top):
            os.rename(temporary / top, folder / top)
    for path in paths:
        if (temporary / path).exists():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary / path, folder / path)
