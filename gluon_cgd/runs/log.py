"""A run's train.log: written during the run, and read again for the curves of its losses."""

import contextlib
import logging
import re
from pathlib import Path
from typing import Dict, Iterator

from gluon_cgd.machine import progress


@contextlib.contextmanager
def logged_to(file: Path) -> Iterator[None]:
    """Append what this package logs to `file`, whatever is shown on the terminal; not the lines that end a silence."""
    package, handler = logging.getLogger("gluon_cgd"), logging.FileHandler(file, encoding="utf-8")
    handler.addFilter(lambda record: record.name != progress.log.name)
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


def losses(file: Path) -> Dict[int, Dict[str, float]]:
    """The losses in a train.log: {iteration: {"ranking": mean since the line before, ...}}, in order; {} for no file.

    Iterations that were trained twice, after a kill or by an older run in the same folder, count as the last time.
    """
    means: Dict[int, Dict[str, float]] = {}
    resumed = False
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else ():
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
    return means
