"""A run's train.log: written during the run, and read again for the curves of its losses."""

import contextlib
import logging
import os
import re
import sys
from pathlib import Path
from typing import Dict, Iterator, Mapping, Optional

from gluon_cgd.files.regular import TEXT, check_kind, read_bytes
from gluon_cgd.machine import progress

log = logging.getLogger(__name__)
WRITTEN = "written_to_train_log"  # attribute of a record that another process has written to the file


@contextlib.contextmanager
def logged_to(file: Path) -> Iterator[None]:
    """Append what this package logs to `file`, whatever is shown on the terminal; not the lines that end a silence.

    Raises OSError, also from the call that logs, if the file cannot be written, and ValueError if it is a link.
    """
    package, handler = logging.getLogger("gluon_cgd"), _Appending(file, encoding="utf-8")
    handler.addFilter(lambda record: record.name != progress.log.name and not hasattr(record, WRITTEN))
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    package.addHandler(handler)
    level = package.level
    package.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        package.setLevel(level)
        package.removeHandler(handler)
        with contextlib.suppress(OSError):  # of a full disk, which `handleError` has told
            handler.close()


class _Appending(logging.FileHandler):
    """Appends to a regular file, from a new line on, and raises what hinders that: logging would print a traceback."""

    def _open(self):
        file = self.baseFilename
        if os.path.islink(file):
            raise ValueError(f"{file} is a link, and the log of a run must be a file: delete it")
        if os.path.exists(file):
            check_kind(file, os.stat(file).st_mode)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        # Names of files may hold bytes that are not UTF-8
        handle = os.fdopen(os.open(file, flags, 0o666), "a+", encoding=self.encoding, errors="backslashreplace")
        if not _ends_a_line(handle.buffer):
            handle.write("\n")
        return handle

    def handleError(self, record):
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, self.baseFilename) from error
        super().handleError(record)


def _ends_a_line(file):
    """Whether what is appended to the open `file` begins a line; a killed process or a power cut may leave a half."""
    if not file.seek(0, os.SEEK_END):
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def mend(file: Path, known: Mapping[int, Mapping[str, float]]) -> None:
    """Append to the train.log `file` those of the losses `known`, of a checkpoint, that it has lost; says so there."""
    found = losses(file)
    lost = {at: terms for at, terms in known.items() if found.get(at) != terms}
    if lost:
        log.warning("%s was damaged: losses of iterations up to %d are from the checkpoint", file, max(lost))
    for at, terms in lost.items():
        log.info("%s", step_line(0, at, None, terms, None))


def step_line(
    epoch: float, iteration: int, speed: Optional[float], losses: Mapping[str, float], rate: Optional[float]
) -> str:
    """A line of the log on the mean `losses` since the line before, in GluonCV's format; `losses` reads it again.

    speed: pictures a second.  rate: the learning rate.  None: unknown.
    """
    per_second = "unknown" if speed is None else f"{speed:.1f} samples/sec"
    terms = "\t".join(f"{name}={mean:.4f}" for name, mean in losses.items())
    at_rate = "unknown" if rate is None else f"{rate:g}"
    return f"Epoch[{int(epoch)}] Batch [{iteration}]\tSpeed: {per_second}\t{terms}\tlr={at_rate}"


def losses(file: Path) -> Dict[int, Dict[str, float]]:
    """The losses in a train.log: {iteration: {"ranking": mean since the line before, ...}}, in order; {} for no file.

    Iterations that were trained twice, after a kill or by an older run in the same folder, count as the last time.
    """
    means: Dict[int, Dict[str, float]] = {}
    resumed = False
    text = read_bytes(file, TEXT).decode("utf-8", "replace") if file.exists() else ""
    for line in text.splitlines():
        resumes = re.search(r" resumed at iteration (\d+) of ", line)
        step = re.search(r" Epoch\[\d+\] Batch \[(\d+)\]\t.*?((?:\t\w+=-?\d+\.\d+)+)\tlr=", line)
        if resumes:
            means = {at: terms for at, terms in means.items() if at <= int(resumes[1])}
            resumed = True
        elif re.search(r" \d+ iterations of \d+ pictures on ", line):
            means, resumed = means if resumed else {}, False
        elif step:
            terms = (term.split("=") for term in step[2].split())
            means[int(step[1])] = {name: float(value) for name, value in terms}
    return dict(sorted(means.items()))
