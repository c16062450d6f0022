"""`python -m reproduce`, and what the scripts of this folder start: see command.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the scripts start it by its name, from any folder

from gluon_cgd.machine import process  # noqa: E402

if __name__ == "__main__":
    sys.exit(process.run_module("reproduce.command", __file__))
