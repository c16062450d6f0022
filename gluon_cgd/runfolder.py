"""A run's folder: one process at a time writes to it, and its log tells what happened there."""

import contextlib
import logging

import portalocker


@contextlib.contextmanager
def locked(folder, doing="training in"):
    """Hold the run in `folder` for this process. Raises ValueError while another one is `doing` something there."""
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


@contextlib.contextmanager
def logged_to(file):
    """Append what this package logs to `file`, whatever the caller shows."""
    package, handler = logging.getLogger("gluon_cgd"), logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    package.addHandler(handler)
    level = package.level
    package.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        package.setLevel(level)
        package.removeHandler(handler)
        handler.close()


def forget(file):
    """Delete `file` if it is there."""
    with contextlib.suppress(FileNotFoundError):
        file.unlink()
