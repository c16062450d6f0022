"""CGD, "Combination of Multiple Global Descriptors for Image Retrieval" (arXiv 1903.10663), in MXNet Gluon."""

from . import runtime

runtime.prepare()  # before anything imports MXNet

__version__ = "0.1.0"
