"""CGD, "Combination of Multiple Global Descriptors for Image Retrieval" (arXiv 1903.10663), in MXNet Gluon."""

from . import runtime

if runtime.asks_doctor():  # who has to work where nothing below does
    from .doctor import main

    raise SystemExit(main())
try:
    runtime.prepare()  # before anything imports MXNet
    if runtime.command():
        (runtime.check_light if runtime.without_mxnet() else runtime.check_mxnet)()
except ImportError as error:
    if not runtime.command():
        raise
    runtime.go_on_in_project(error)

__version__ = "0.1.0"


def __getattr__(name):
    """GluonCV's two functions, imported when they are asked for: MXNet takes a second to import."""
    if name in ("get_model", "get_model_list"):
        from . import model_zoo

        return getattr(model_zoo, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
