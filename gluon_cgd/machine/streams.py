"""The standard streams of a command, also where they are closed, full, or cannot show every letter."""

import contextlib
import os
import select
import sys
import tempfile
from typing import Any, Callable, Iterator, List


def open_all() -> None:
    """Give this process the standard streams that it lacks (started with `2>&-`): what is written there is dropped.

    Without this the next file that is opened would become number 2, and receive what libraries write to stderr.
    A letter that the terminal cannot show (PYTHONIOENCODING=ascii) is printed as its escape.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 (for as long as the process runs)
    with contextlib.suppress(AttributeError, ValueError):  # a program that calls us has put something else there
        if sys.stdout.errors == "strict" or "utf" not in sys.stdout.encoding.lower():
            sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def say(text: object) -> None:
    """Print a line to stderr. Where that is impossible, the exit status alone says it."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def with_output(command: Callable[[], Any]) -> Any:
    """`command()`, after which all that it printed has arrived. Raises OSError where it cannot, as on a full disk."""
    try:
        return command()
    finally:  # also if it ends with SystemExit, as --help does
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            drop_unwritten()
            raise OSError(error.errno, error.strerror, "the output") from error


def is_closed() -> bool:
    """Whether the program that reads the output or the messages has closed its end, as `head` does."""
    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def drop_unwritten() -> None:
    """Drop what cannot be written, of which Python would complain when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)


@contextlib.contextmanager
def caught_stderr() -> Iterator[List[str]]:
    """Keep what this process writes to stderr, C libraries included; at the end the list holds it, as one text."""
    caught: List[str] = []
    before = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield caught
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            caught.append(file.read().decode(errors="replace"))
