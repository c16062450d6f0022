"""The graph of an MXNet symbol as Python values, to be read, changed, run and made a symbol again."""

import ast
import json
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Dict, List, NamedTuple, Tuple


class Entry(NamedTuple):
    """One output of one node, as an input of another node or of the whole graph (a head)."""

    node: int  # its place in Graph.nodes
    output: int  # number of its output
    version: int = 0  # 1 for what the taking node changes: the running statistics of a batch norm


@dataclass
class Node:
    """An operator with its inputs; or a variable (data or a parameter), whose operator is "null"."""

    op: str
    name: str
    attributes: Dict[str, str]  # as MXNet writes them
    inputs: List[Entry]
    outputs: int  # how many it has

    def value(self, attribute: str, default: Any = None) -> Any:
        """An attribute as a number, bool, tuple or None, or as the word that it is; `default` where it is not given."""
        text = self.attributes.get(attribute)
        if text is None:
            return default
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return text


@dataclass
class Graph:
    """The nodes, each after its inputs, and the outputs of the whole."""

    nodes: List[Node]
    heads: List[Entry]
    about: Dict[str, Any]  # MXNet's version; without it MXNet takes the graph for one of version 0.8


def parse(text: str) -> Graph:
    """The Graph that an mx.sym.Symbol wrote as JSON. MXNet is not needed."""
    described = json.loads(text)
    first = described["node_row_ptr"]  # number of each node's first output among all outputs
    nodes = [
        Node(node["op"], node["name"], node.get("attrs", {}), [Entry(*entry) for entry in node["inputs"]], end - start)
        for node, start, end in zip(described["nodes"], first, first[1:])
    ]
    return Graph(nodes, [Entry(*entry) for entry in described["heads"]], described["attrs"])


def text_of(graph: Graph) -> str:
    """The Graph as JSON, which MXNet reads: the inverse of `parse`."""
    nodes = [dict(op=n.op, name=n.name, attrs=n.attributes, inputs=n.inputs) for n in graph.nodes]
    variables = [place for place, node in enumerate(graph.nodes) if node.op == "null"]
    first = list(accumulate((node.outputs for node in graph.nodes), initial=0))
    rows = dict(arg_nodes=variables, node_row_ptr=first)
    return json.dumps(dict(nodes=nodes, **rows, heads=graph.heads, attrs=graph.about))


def read(symbol: Any) -> Graph:
    """The Graph of an mx.sym.Symbol."""
    return parse(symbol.tojson())


def write(graph: Graph) -> Any:
    """The mx.sym.Symbol of a Graph: the inverse of `read`."""
    import mxnet as mx

    return mx.sym.load_json(text_of(graph))


def shapes(symbol: Any, **inputs: Tuple[int, ...]) -> Dict[str, Tuple[int, ...]]:
    """{name: shape} of all variables and outputs inside `symbol`, for inputs of the given shapes.

    A variable has its own name; the first output of an operator has the node's name with "_output" behind it.
    """
    inner = symbol.get_internals()
    return dict(zip(inner.list_outputs(), inner.infer_shape(**inputs)[1]))
