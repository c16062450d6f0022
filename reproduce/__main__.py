"""`python -m reproduce`, and what the scripts of this folder start: see command.py."""

import _signal  # `signal` takes longer to import than all that comes before

if __name__ == "__main__":
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # until the program runs, Ctrl-C ends it without a traceback

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the scripts start it by its name, from any folder

from gluon_cgd.machine import process  # noqa: E402

if __name__ == "__main__":
    sys.exit(process.run_module("reproduce.command", __file__))
