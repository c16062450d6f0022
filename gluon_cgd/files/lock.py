"""Locks between processes: on a folder, where a second one is refused, and on a file, where it waits.

A lock is advice that ends with its process, however that ends; the file `lock` stays and says nothing.
"""

import contextlib
import errno
import logging
import os
from pathlib import Path
from typing import Iterator, Optional, Union

import portalocker

from gluon_cgd.files.regular import check_kind
from gluon_cgd.files.whole import delete_temporaries

log = logging.getLogger(__name__)
EXCLUSIVE, NON_BLOCKING = portalocker.LockFlags.EXCLUSIVE, portalocker.LockFlags.NON_BLOCKING
SHARED = portalocker.LockFlags.SHARED
# Some file systems of clusters have no locks (Lustre without -o flock, NFS without its lock daemon)
WITHOUT = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


@contextlib.contextmanager
def locked(folder: Union[str, Path], doing: str = "training in") -> Iterator[int]:
    """Lock `folder` for this process, and delete the temporary files that killed ones left in it.

    Yields the descriptor of the lock: a process that inherits it keeps the lock until it ends itself.

    Raises ValueError if another process is `doing` something there.
    """
    with _opened(Path(folder) / "lock") as descriptor:
        if _lock(descriptor, folder, EXCLUSIVE | NON_BLOCKING) is False:
            raise ValueError(f"another process is {doing} {folder}: wait for it, or choose another folder")
        delete_temporaries(folder)
        yield descriptor


@contextlib.contextmanager
def waiting(file: Union[str, Path], making: str) -> Iterator[None]:
    """Lock the file `file`, which is made if need be; waits while another process has it.

    making: what is made under the lock, for the line that is logged when another process makes it now.
    """
    with _opened(file) as descriptor:
        if _lock(descriptor, file, EXCLUSIVE | NON_BLOCKING) is False:
            log.info("another process is making %s: waiting for it", making)
            _lock(descriptor, file, EXCLUSIVE)
        yield


@contextlib.contextmanager
def _opened(file):
    """A descriptor of the lock `file`. Raises ValueError for a link or anything else that is no regular file."""
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if os.path.islink(file):
        raise ValueError(f"{file} is a link, and a lock must be a file: delete it")
    if os.path.exists(file):
        check_kind(file, os.stat(file).st_mode)
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | flags, 0o666)
    except OSError as error:  # another user's, who may write here too
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or not os.path.exists(file):
            raise
        descriptor = os.open(file, os.O_RDONLY | flags)
    try:
        check_kind(file, os.fstat(descriptor).st_mode)
        yield descriptor
    finally:
        os.close(descriptor)  # this unlocks


def _lock(descriptor, what, flags) -> Optional[bool]:
    """True if locked, False if another process has it, None, with a warning, where there are no locks."""
    try:
        portalocker.lock(descriptor, flags)
        return True
    except portalocker.AlreadyLocked:
        return False
    except portalocker.LockException as error:
        cause = error.args[0] if error.args else None
        number = getattr(cause, "errno", None)
        if number in (errno.EACCES, errno.EAGAIN):
            return False
        if number == errno.EBADF and flags & EXCLUSIVE:  # NFSv4 gives those who may only read a file no other lock
            return _lock(descriptor, what, flags & ~EXCLUSIVE | SHARED)
        if number not in WITHOUT and not isinstance(cause, EOFError):
            raise OSError(number, os.strerror(number) if number else str(error), str(what)) from error
        log.warning("the file system of %s has no locks: do not let two processes write there at once", what)
        return None
