"""CGD, "Combination of Multiple Global Descriptors for Image Retrieval" (arXiv 1903.10663), in MXNet Gluon."""

import os
import sys

from . import runtime

try:
    runtime.prepare()  # before anything imports MXNet
except ImportError as error:
    if not sys.argv[:1] or os.path.basename(sys.argv[0]) not in ("-m", "__main__.py"):
        raise
    print(error, file=sys.stderr)  # of `python -m gluon_cgd` and `python -m reproduce`: a sentence for a person
    raise SystemExit(2) from None

__version__ = "0.1.0"


def __getattr__(name):
    """GluonCV's two functions, imported when they are asked for: MXNet takes a second to import."""
    if name in ("get_model", "get_model_list"):
        from . import model_zoo

        return getattr(model_zoo, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
