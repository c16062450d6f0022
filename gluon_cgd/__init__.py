"""CGD, "Combination of Multiple Global Descriptors for Image Retrieval" (arXiv 1903.10663), in MXNet Gluon."""

from gluon_cgd.machine import prepare

prepare.prepare()  # before anything imports MXNet

__version__ = "0.2.0"


def __getattr__(name):
    """GluonCV's two functions, imported when they are asked for: MXNet takes a second to import."""
    if name in ("get_model", "get_model_list"):
        from gluon_cgd.models import zoo

        return getattr(zoo, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
