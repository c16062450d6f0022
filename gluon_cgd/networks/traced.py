"""A network of any library as a backbone: its symbol, up to the last feature map."""

import contextlib
import io
import logging
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple

import mxnet as mx
from mxnet.gluon import Parameter, ParameterDict, SymbolBlock

from gluon_cgd.engines import graph as symbols
from gluon_cgd.engines.graph import Graph
from gluon_cgd.networks.last_map import INPUT, DownSampling, Shapes, cut, fed, last_map, map_of, without_stride
from gluon_cgd.networks.last_map import with_names_of_their_own as named

log = logging.getLogger(__name__)
SIDES = (224, 299, 331, 32)  # of the pictures for which published networks are made; a global pooling may be 7 x 7


class DoesNotFit(ValueError):
    """A network cannot take pictures of this size."""


class Traced(SymbolBlock):
    """The layers of a network up to its last map: pictures (B, 3, H, W), normalised -> features (B, C, h, w).

    name: of the backbone, for sentences.  graph: those layers; their input is "data".
    shapes: of the graph for pictures that fit the whole network.  parameters: {name by structure: its Parameter}.
    side: of the pictures that are to come.
    """

    def __init__(self, name: str, graph: Graph, shapes: Shapes, parameters: Mapping[str, Parameter], side: int):
        self.backbone, self.graph = name, graph
        used = {node.name for node in graph.nodes if node.op == "null"}
        kept = {key: parameter for key, parameter in parameters.items() if parameter.name in used}
        shared = ParameterDict()
        for parameter in kept.values():
            shared._params[parameter.name] = parameter
        super().__init__(symbols.write(graph), mx.sym.var(INPUT, dtype="float32"), params=shared)
        self._reg_params = kept  # Gluon counts its blocks: its own names say how many this process has made
        self.channels = map_of(graph, shapes, graph.heads[0].node)[0]
        self.down_sampling = DownSampling(graph, shapes)
        usual = shapes[INPUT][-1]
        self.side = usual if shapes_of(symbols.write(graph), usual) else side  # for which the map is told

    @property
    def keeps_stride(self) -> bool:
        """Whether the last down-sampling is none that section 3.1 removes, from a 16th of the side to a 32nd."""
        return not (self.down_sampling.sixteenth and self.strideless())

    def strideless(self) -> Optional[Graph]:
        """The graph without its last down-sampling, or None if it has none or its layers do not fit together then."""
        before = size_of(self.graph, self.side)
        for padded in (False, True) if self.down_sampling.nodes else ():
            changed = without_stride(self.graph, self.down_sampling.nodes, padded)
            after = size_of(changed, self.side)
            if before and after and after[1] > 1.6 * before[1]:
                return changed
        return None

    def remove_stride(self) -> None:
        """Set the strides of the last down-sampling to 1."""
        self._set(self.strideless())

    def freeze_batch_norms(self) -> None:
        """Keep statistics, scale and shift of all batch norms as they are. Raises ValueError if there are none."""
        norms = [node for node in self.graph.nodes if node.op == "BatchNorm"]
        if not norms:
            raise ValueError(f"frozen_batch_norm has no effect, since {self.backbone} has no batch norms: leave it out")
        for node in norms:
            node.attributes["use_global_stats"] = "True"
            for entry in node.inputs[1:]:
                self.params[self.graph.nodes[entry.node].name].grad_req = "null"
        self._set(self.graph)

    def _set(self, graph: Graph) -> None:
        """Compute `graph` from now on."""
        self.graph = graph
        self._cached_graph = self._cached_graph[0], symbols.write(graph)
        self._clear_cached_op()

    def about(self, removed: bool) -> str:
        """What was found and what the stride rule did, in a sentence. removed: whether the stride was removed."""
        name, (_, height, width) = self.graph.nodes[self.graph.heads[0].node].name, size_of(self.graph, self.side)
        found = f"the last map is {name}, {self.channels} channels, {height} x {width} at {self.side} pixels"
        nodes = self.down_sampling.nodes
        layers = ", ".join(nodes[:3]) + f" and {len(nodes) - 3} more" * (len(nodes) > 3)
        if removed:
            return f"{found}; the last down-sampling is removed (section 3.1): stride 1 in {layers}"
        if not self.down_sampling.sixteenth:
            return f"{found}; there is no down-sampling from a 16th to a 32nd of the side to remove"
        if self.strideless():
            return f"{found}; the last down-sampling stays: stride 2 in {layers}"
        return f"{found}; the last down-sampling stays, since the layers do not fit together without it"


def traced(
    name: str,
    trace: Callable[[int], Tuple[Graph, Dict[str, Parameter]]],
    features: str,
    sides: Sequence[int],
    side: int,
) -> Traced:
    """The Traced of a whole network.

    trace: a function of the pictures' side that returns the network's graph and its parameters.
    features: the name of the node whose output is the last map; "" finds it.
    sides: of pictures that may fit the whole network, in the order to try; side: of the pictures that are to come.
    Raises ValueError, with value, rule and remedy, for a network that is none for pictures or has no such map.
    """
    place = features
    shapes: Optional[Shapes] = None
    for at in sides:
        with contextlib.suppress(DoesNotFit):
            graph, _ = trace(at)
            shapes = shapes_of(symbols.write(graph), at)
        if shapes:
            break
    if not shapes:
        raise ValueError(
            f"backbone {name} does not take pictures (B, 3, H, W) of {', '.join(map(str, sides))} pixels: a backbone "
            "is a classification network for pictures; take another"
        )
    if not features:
        place = found_map(name, graph, shapes)
    try:
        whole, parameters = trace(side)
    except DoesNotFit as error:
        raise ValueError(f"input_size {side} does not go with backbone {name}, since {error}: take {at}") from error
    try:
        layers = cut(whole, place)
    except ValueError as error:
        raise ValueError(f"features {features!r} is no node of {name}: {suggestion(graph, shapes)}") from error
    reached = {node.name for node in layers.nodes}
    if INPUT not in reached or not map_of(layers, shapes, layers.heads[0].node):
        raise ValueError(f"features {features!r} of {name} is no map (B, C, h, w): {suggestion(graph, shapes)}")
    return Traced(name, layers, shapes, parameters, side)


def found_map(name: str, graph: Graph, shapes: Shapes) -> str:
    """The name of the node that puts out the last map. Raises ValueError if there is none, or if it is not certain."""
    try:
        found = last_map(graph, shapes)
    except ValueError as error:
        remedy = f"name a node with --features ({suggestion(graph, shapes)}), or take another network"
        raise ValueError(f"backbone {name} has no last map, since {error}: {remedy}") from error
    if len(found) > 1 and not name.startswith("onnx:"):
        return found[0]  # a library's network has a classifier
    if len(found) > 1:
        raise ValueError(
            f"backbone {name} ends with a convolution and a pooling, and a file does not say whether that convolution "
            f"is its classifier: if so, say --features {found[0]}, and if it has none, --features {found[1]}"
        )
    return found[0]


def suggestion(graph: Graph, shapes: Shapes) -> str:
    """Which nodes can be named, in words: the last three that put out a map."""
    between = [(graph.nodes[place].name, map_of(graph, shapes, place)) for place in fed(graph)[1:]]
    maps = [f"{name} {shape}" for name, shape in between if shape][-3:]
    return f"the last maps (channels, height, width) are {', '.join(maps)}" if maps else "it has no maps"


def shapes_of(symbol: Any, side: int) -> Optional[Shapes]:
    """The shapes inside `symbol` for a picture of `side` pixels, or None if its layers do not fit together then."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(mx.base.MXNetError, TypeError):
        return symbols.shapes(symbol, data=(1, 3, side, side))  # MXNet prints what it could not infer
    return None


def size_of(graph: Graph, side: int) -> Optional[Tuple[int, int, int]]:
    """(channels, height, width) of the graph's head for a picture of `side` pixels, or None if that is no map."""
    shapes = shapes_of(symbols.write(graph), side)
    return map_of(graph, shapes, graph.heads[0].node) if shapes else None


def graph_of(outputs: Any) -> Graph:
    """The Graph of the symbol that a network returned; of the first if it returned several."""
    while isinstance(outputs, (list, tuple)):
        outputs = outputs[0]
    return named(symbols.read(outputs))
