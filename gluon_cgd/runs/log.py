"""A run's folder: one process at a time writes to it, and its log tells what happened there."""

import contextlib
import logging
import re


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


def losses(file):
    """What a train.log says of the losses: {iteration: {"ranking": mean since the last such line, ...}}, in order.

    {} where there is none. Of what was trained twice, after a kill or in a folder of an older run, the last counts.
    """
    found, resumed = {}, False
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else ():
        resumes = re.search(r" resumed at iteration (\d+) of ", line)
        step = re.search(r" Epoch\[\d+\] Batch \[(\d+)\]\t.*?((?:\t\w+=-?\d+\.\d+)+)\tlr=", line)
        if resumes:
            found = {at: terms for at, terms in found.items() if at <= int(resumes[1])}
            resumed = True
        elif re.search(r" \d+ iterations of \d+ pictures on ", line):
            found, resumed = found if resumed else {}, False
        elif step:
            terms = (term.split("=") for term in step[2].split())
            found[int(step[1])] = {name: float(value) for name, value in terms}
    return found
