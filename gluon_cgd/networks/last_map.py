"""Where a classification network has its last feature map, and its last down-sampling, found in its graph."""

import math
from copy import deepcopy
from typing import Collection, Dict, List, Optional, Set, Tuple

from gluon_cgd.engines.graph import Entry, Graph, Node

INPUT = "data"  # the name of the pictures in a graph
SAME = ("Dropout", "BlockGrad", "_copy", "identity")  # operators whose output is their input, but in training
Shapes = Dict[str, Tuple[int, ...]]  # as `engines.graph.shapes` returns them


def with_names_of_their_own(graph: Graph) -> Graph:
    """The graph with a number behind the name of each operator that another node has too."""
    graph, taken = deepcopy(graph), {node.name for node in graph.nodes if node.op == "null"}
    for place, node in enumerate(graph.nodes):
        if node.op != "null":
            node.name += f"_{place}" if node.name in taken else ""
            taken.add(node.name)
    return graph


def ancestors(graph: Graph, place: int) -> Set[int]:
    """The places of the node at `place` and of all that it needs."""
    needed, waiting = set(), [place]
    while waiting:
        at = waiting.pop()
        if at not in needed:
            needed.add(at)
            waiting.extend(entry.node for entry in graph.nodes[at].inputs)
    return needed


def cut(graph: Graph, name: str) -> Graph:
    """The graph up to the first output of the node `name`. Raises ValueError if there is none."""
    places = [place for place, node in enumerate(graph.nodes) if node.name == name and node.op != "null"]
    if not places:
        raise ValueError(f"it has no node {name!r}")
    kept = sorted(ancestors(graph, places[0]))
    moved = {old: new for new, old in enumerate(kept)}
    nodes = [deepcopy(graph.nodes[place]) for place in kept]
    for node in nodes:
        node.inputs = [Entry(moved[entry.node], *entry[1:]) for entry in node.inputs]
    return Graph(nodes, [Entry(moved[places[0]], 0, 0)], graph.about)


def fed(graph: Graph) -> List[int]:
    """The places of the nodes between the input and the (first) head, both included, in order."""
    found: Dict[int, None] = {}  # a set in order
    for place in sorted(ancestors(graph, graph.heads[0].node)):
        node = graph.nodes[place]
        if node.op == "null" and node.name == INPUT or any(entry.node in found for entry in node.inputs):
            found[place] = None
    return list(found)


def trunk(graph: Graph) -> List[int]:
    """The places of the nodes through which every way from the input to the (first) head leads, in order."""
    between = fed(graph)
    last_use = {entry.node: place for place in between for entry in graph.nodes[place].inputs}
    found, open_until = [], -1
    for place in between:
        if open_until <= place:
            found.append(place)
        open_until = max(open_until, last_use.get(place, place))
    return found


def map_of(graph: Graph, shapes: Shapes, place: int) -> Optional[Tuple[int, int, int]]:
    """(channels, height, width) that the node at `place` puts out, or None if that is no map of several positions."""
    name = graph.nodes[place].name
    shape = shapes.get(name if graph.nodes[place].op == "null" else f"{name}_output", ())
    return shape[1:] if len(shape) == 4 and min(shape) > 0 and shape[2] * shape[3] > 1 else None


def has_weights(graph: Graph, shapes: Shapes, node: Node) -> bool:
    """Whether `node` is a layer with weights, and not only with a scale or a shift."""
    taken = [graph.nodes[entry.node] for entry in node.inputs]
    return any(one.op == "null" and one.name != INPUT and len(shapes.get(one.name, ())) > 1 for one in taken)


def last_map(graph: Graph, shapes: Shapes) -> List[str]:
    """The names of the nodes that can be the last map: one, or two where only people know which.

    The last layer with weights is the classifier; the map is the last one in front of it that is a map of several
    positions, through which all ways lead. A network that ends with a convolution, then a global pooling, may end with
    its classifier (SqueezeNet) or have none: then the map in front of it is the first name and its own the second.
    Raises ValueError for a network without such a map.
    """
    maps = [place for place in trunk(graph)[1:] if map_of(graph, shapes, place)]
    weighted = [place for place in fed(graph) if has_weights(graph, shapes, graph.nodes[place])]
    if not maps or not weighted:
        raise ValueError("no feature map (B, C, h, w) of several positions, through which all ways lead, is in it")
    if graph.heads[0].node == maps[-1]:  # it gives its features and nothing else
        return [graph.nodes[maps[-1]].name]
    before = [place for place in maps if place < weighted[-1]]
    last = [maps[-1]] if weighted[-1] <= maps[-1] or not before else []
    return [graph.nodes[_settled(graph, place)].name for place in (*before[-1:], *last)]


def _settled(graph: Graph, place: int) -> int:
    """The place in front of what does nothing but in training."""
    while graph.nodes[place].op in SAME:
        place = graph.nodes[place].inputs[0].node
    return place


class DownSampling:
    """The last down-sampling of a graph whose head is its last map.

    nodes: the names of the convolutions and poolings that halve the map, [] if none can be found.
    sixteenth: whether it leads from a 16th of the picture's side to a 32nd, as that between stages 3 and 4 of a ResNet.
    """

    def __init__(self, graph: Graph, shapes: Shapes):
        maps = [(place, map_of(graph, shapes, place)) for place in trunk(graph)]
        sides = [(place, shape[-1]) for place, shape in maps if shape]
        self.nodes: List[str] = []
        self.sixteenth = False
        for (before, large), (after, small) in zip(sides, sides[1:]):
            if large >= 1.5 * small:
                between = [place for place in fed(graph) if before < place <= after]
                self.nodes = [graph.nodes[place].name for place in between if _halves(graph.nodes[place])]
                self.sixteenth = round(math.log2(shapes[INPUT][-1] / small)) == 5


def _halves(node: Node) -> bool:
    settled = node.op in ("Convolution", "Pooling") and not node.value("global_pool", False)
    return settled and node.value("stride", (1, 1)) == (2, 2)


def without_stride(graph: Graph, names: Collection[str], padded: bool) -> Graph:
    """The graph in which the layers `names` have stride 1; no weight changes its shape.

    A pooling of an even kernel becomes that of one position. One of an odd kernel is padded to keep its size if
    `padded`; otherwise it loses its border, which fits beside convolutions that lose theirs. A convolution behind a
    layer that pads for it alone is padded alike on both sides.
    """
    graph = deepcopy(graph)
    for node in graph.nodes:
        if node.name not in names or node.op == "null":
            continue
        node.attributes["stride"] = "(1, 1)"
        kernel = node.value("kernel")
        if node.op == "Pooling" and kernel[0] % 2 == 0:
            node.attributes.update(kernel="(1, 1)", pad="(0, 0)")
        elif node.op == "Pooling" and padded:
            node.attributes["pad"] = str(tuple(side // 2 for side in kernel))
        elif node.op == "Convolution":
            before = graph.nodes[node.inputs[0].node]
            if before.op == "Pad" and before.value("mode") == "constant":
                around = [size for side in kernel for size in ((side - 1) // 2, side // 2)]
                before.attributes["pad_width"] = str((0, 0, 0, 0, *around))
    return graph
