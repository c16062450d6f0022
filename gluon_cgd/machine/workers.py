"""Processes that work for this one: they end when it does, and Ctrl-C reaches it alone."""

import contextlib
import os
import signal
from multiprocessing.connection import Connection
from typing import Iterator, Optional


@contextlib.contextmanager
def settings_of_a_worker(threads: Optional[int]) -> Iterator[None]:
    """A process that is started inside has `threads` threads (None: as many as this one); Ctrl-C does not reach it."""
    # Read once, when MXNet and NumPy are imported
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if threads is not None else ()
    before = {name: os.environ[name] for name in names if name in os.environ}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]
        os.environ.update(before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def end_with(watched: Connection) -> None:
    """End this process when the other end of the pipe `watched` is closed."""
    with contextlib.suppress(EOFError, OSError):
        watched.recv()
    os._exit(1)
