"""What commands and scripts print for people. JSON is printed with `print`, exactly as it is."""

import sys

from gluon_cgd.files.printable import printable


def say(text, flush=False, to_stderr=False):
    """Print `text`, which may hold names of files and values from files, with nothing that controls a terminal."""
    print(printable(text, lines=True), flush=flush, file=sys.stderr if to_stderr else None)
