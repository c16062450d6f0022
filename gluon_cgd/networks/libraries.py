"""Backbones by the names that other libraries have for their networks: gluoncv:NAME, gluoncv2:NAME and onnx:FILE."""

import contextlib
import difflib
import inspect
from typing import Any, Callable, Dict, Tuple

import mxnet as mx
from mxnet.gluon import HybridBlock

from gluon_cgd.networks import onnx_network, traced
from gluon_cgd.networks.last_map import INPUT


def maker_of(backbone: str, features: str = "") -> Callable[[int], Tuple[Any, list, list]]:
    """The function of the input size that `backbones.Recipe.make` is, for a `backbone` LIBRARY:NAME.

    features: as of `traced.traced`. That function raises ValueError for a network that is not there, and as `traced`.
    """
    library, _, name = backbone.partition(":")
    if library == "onnx":
        return lambda side: _ended(onnx_network.read(backbone, name, features, side))
    return lambda side: _ended(*_of_zoo(library, name, features, side))


def _ended(layers, whole=None):
    """What `Recipe.make` returns: parameter files of a zoo are of the `whole` network."""
    return whole or layers, [layers], [layers] if layers.strideless() else []


def _of_zoo(library, name, features, side):
    """(the Traced, the whole network) of a network of GluonCV or gluoncv2."""
    backbone, constructor = f"{library}:{name}", networks_of(library)[name]
    try:
        with _fresh_names():
            net = _made(constructor, side)
            graph = traced.graph_of(net(mx.sym.var(INPUT)))
    except Exception as error:  # each network has kinds of its own for what it cannot do
        reason = " ".join(str(error).split())[:120]
        raise ValueError(
            f"backbone {backbone} cannot be a backbone ({type(error).__name__}: {reason}): take a classification "
            f"network of {library} that can be hybridized and needs no download to be made"
        ) from error
    parameters = net._collect_params_with_prefix()
    sides = (*traced.SIDES, side) if side not in traced.SIDES else traced.SIDES
    return traced.traced(backbone, lambda _: (graph, parameters), features, sides, side), net


def networks_of(library: str) -> Dict[str, Callable[..., HybridBlock]]:
    """{name: constructor} of a library's networks, in its own order."""
    if library == "gluoncv":
        from gluoncv.model_zoo.model_zoo import _models
    else:
        from gluoncv2.model_provider import _models
    return _models


def has_parameters(library: str, name: str) -> bool:
    """Whether `library` published ImageNet parameters of its network `name`. Raises ValueError if it has none such."""
    constructors = networks_of(library)
    if name not in constructors:
        near = difflib.get_close_matches(name, constructors, 3) or list(constructors)[:3]
        raise ValueError(f"{library} has no network {name!r}: take {', '.join(near)}, or another of its names")
    if library == "gluoncv":
        from gluoncv.model_zoo.model_store import _model_sha1
    else:
        from gluoncv2.models.model_store import _model_sha1
    return name in _model_sha1


def _made(constructor, side):
    """The network, without parameters, for pictures of `side` pixels if it can be told."""
    names = inspect.signature(constructor).parameters
    told = {"pretrained_base": False} if "pretrained_base" in names else {}
    with contextlib.suppress(Exception):  # gluoncv2's take the size for what they pad or enlarge; GluonCV's do not
        return constructor(in_size=(side, side), **told)
    return constructor(**told)


@contextlib.contextmanager
def _fresh_names():
    """Let Gluon count its blocks from 0, so that a network's nodes have the same names in every process."""
    with mx.name.NameManager():
        yield
