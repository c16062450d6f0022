"""A network in an ONNX file as MXNet's symbol and parameters, whoever wrote the file."""

import contextlib
import io
import os
import re
from importlib.util import find_spec
from typing import Any, Dict, List, NoReturn, Optional, Tuple

import mxnet as mx
import numpy as np
from mxnet.gluon import Constant, Parameter

from gluon_cgd.datasets.records import PathLike
from gluon_cgd.engines.graph import Graph
from gluon_cgd.files.regular import read_bytes
from gluon_cgd.machine import facts
from gluon_cgd.models import onnx_file
from gluon_cgd.networks import traced
from gluon_cgd.networks.last_map import INPUT
from gluon_cgd.networks.onnx_operators import OPERATORS

# What a random start gives each kind of parameter; None: what `backbones` draws
STARTS = {"weight": None, "bias": "zeros", "gamma": "ones", "beta": "zeros", "running_mean": "zeros"}
STARTS.update(running_var="ones", slope=mx.init.Constant(0.25))
EXTENDING = "make it a named backbone of your own (docs/extending.md)"


class CannotRead(ValueError):
    """A network has an operator, or one in a form, that this package does not know."""


class Node:
    """An operator of an ONNX graph. name: of its first output."""

    def __init__(self, node: Any, file: PathLike):
        from onnx import helper

        self.op, self.inputs, self.outputs, self.file = node.op_type, list(node.input), list(node.output), file
        self.name, self.proto = self.outputs[0], node
        self.attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}

    def get(self, attribute: str, default: Any = None) -> Any:
        """The value of an attribute, `default` where it is not given."""
        return self.attributes.get(attribute, default)

    def refuse(self, how: str) -> NoReturn:
        """Raise CannotRead for what this package does not know of the operator."""
        raise CannotRead(
            f"{self.file} has an operator {self.op} {how} (output {self.name}), which cannot be read: if the last map "
            f"is in front of it, name that with --features, otherwise {EXTENDING}"
        )


class Reader:
    """Makes a symbol of an ONNX graph for pictures of one size.

    opset: the version of the operators.  parameters: {name: its Parameter}; values: {name: its value}, float32.
    """

    def __init__(self, side: int, opset: int):
        self.side, self.opset = side, opset
        self.parameters: Dict[str, Parameter] = {}
        self.values: Dict[str, np.ndarray] = {}
        self.variables: Dict[Tuple[str, str], Any] = {}

    def parameter(self, tensor: str, value: np.ndarray, role: str) -> Any:
        """The variable of a parameter or of a constant. role: a key of STARTS, or "constant"."""
        if (tensor, role) not in self.variables:
            # PyTorch has no dots or slashes in names; and MXNet draws a weight by the end of its name
            name = re.sub(r"\W+", "_", tensor) + (f"_{role}" if not tensor.endswith(role) else "")
            while name in self.values:
                name = f"_{name}"
            self.values[name] = np.ascontiguousarray(value, np.float32)
            self.variables[tensor, role] = mx.sym.var(name)
            if role == "constant":
                made = Constant(name, self.values[name])
                made._allow_deferred_init = True
            else:
                kept = "null" if role.startswith("running") else "write"
                made = Parameter(name, kept, value.shape, init=STARTS[role], allow_deferred_init=True)
            self.parameters[name] = made
        return self.variables[tensor, role]

    def shape(self, symbol: Any) -> Tuple[int, ...]:
        """The shape of `symbol` for one picture."""
        shapes = {name: value.shape for name, value in self.values.items()}
        used = {name: shapes[name] for name in symbol.list_inputs() if name in shapes}
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                return symbol.infer_shape(data=(1, 3, self.side, self.side), **used)[1][0]
            except (mx.base.MXNetError, TypeError):
                self.does_not_fit("its layers do not fit together")

    def does_not_fit(self, reason: str) -> NoReturn:
        """Raise DoesNotFit for pictures of this size."""
        raise traced.DoesNotFit(f"for pictures of {self.side} pixels {reason}")


def read(backbone: str, file: PathLike, features: str = "", side: int = 224) -> traced.Traced:
    """The Traced of the network in an ONNX `file`, whose `values` are those of its parameters.

    features: the name of an output or of a node, or "" to find the last map.  side: of the pictures that are to come.
    Raises ValueError for a file that is none or has another network than one of pictures, and as `traced.traced`.
    """
    model = load(file)
    nodes = [Node(node, file) for node in model.graph.node]
    outputs = {name: name for node in nodes for name in node.outputs}
    outputs = {**{node.proto.name: node.name for node in nodes}, **outputs}
    outputs.pop("", None)
    features = outputs.get(features, features)
    target = features if features in outputs else model.graph.output[0].name
    declared = picture_side(model, file)
    values = {}

    def trace(at):
        graph, parameters, read_values = converted(model, nodes, target, at)
        values.update(read_values)
        return graph, parameters

    usual, *rest = traced.SIDES  # first, since at a small side the last map may have one position only
    sides = [*dict.fromkeys((usual, *([declared] if declared else []), *rest, side))]
    layers = traced.traced(backbone, trace, features, sides, side)
    layers.file = file
    layers.values = {name: values[name] for name in layers._reg_params}
    return layers


def values_of(file: PathLike, net: Any, side: int) -> Dict[str, np.ndarray]:
    """{name: value} of the parameters of `net`, a Traced of `read`, in `file`: its own one, or one of the same network.

    Raises ValueError for a file of another network.
    """
    if not isinstance(net, traced.Traced) or not hasattr(net, "values"):
        raise ValueError(f"{file} is an ONNX file, and this backbone is of another library: name a .params file")
    if os.path.exists(net.file) and os.path.samefile(file, net.file):
        return net.values
    model = load(file)
    picture_side(model, file)
    nodes = [Node(node, file) for node in model.graph.node]
    _, _, values = converted(model, nodes, model.graph.output[0].name, side)
    return {name: value for name, value in values.items() if name in net.values}


def load(file: PathLike) -> Any:
    """The onnx.ModelProto in `file`. Raises ValueError for what is none, ImportError where the package is missing."""
    if find_spec("onnx") is None:
        raise ImportError(f"a backbone onnx:FILE needs the package onnx: {facts.install('requirements-extra.txt')}")
    import onnx
    from onnx import numpy_helper

    try:
        data = read_bytes(file, onnx_file.LIMIT)
    except OSError as error:
        fault = "is a folder" if isinstance(error, IsADirectoryError) else "cannot be read"
        fault = "does not exist" if isinstance(error, FileNotFoundError) else fault
        raise ValueError(
            f"{file}, the file of the backbone, {fault}: name an ONNX file, as in onnx:FILE.onnx"
        ) from error
    broken = f"{file} is not a whole ONNX file: export the network again"
    try:
        onnx_file.check_inside(data, file)
        model = onnx.load_model_from_string(data)
        for tensor in model.graph.initializer:
            numpy_helper.to_array(tensor)
        for node in model.graph.node:
            Node(node, file)
        return model
    except Exception as error:  # protocol buffers have kinds of their own
        raise error if str(error).startswith(str(file)) else ValueError(broken) from error


def picture_side(model: Any, file: PathLike) -> Optional[int]:
    """The side of the pictures for which the file was made, if it says so. Raises ValueError for another input."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs) or "none"
        raise ValueError(
            f"{file} has {len(inputs)} inputs ({names}), and a backbone has one, the pictures: take another"
        )
    sizes = [one.dim_value for one in inputs[0].type.tensor_type.shape.dim]
    if len(sizes) != 4 or sizes[1] not in (0, -1, 3) or (sizes[3] == 3 and sizes[2] != 3):
        shown = tuple(size if size > 0 else "?" for size in sizes)
        raise ValueError(
            f"{file} takes {shown} as {inputs[0].name}, and a backbone takes pictures (B, 3, H, W): export it with the "
            "channels first"
        )
    if not model.graph.output:
        raise ValueError(f"{file} has no output: export the network again")
    return sizes[2] if sizes[2] == sizes[3] and sizes[2] >= 16 else None


def converted(
    model: Any, nodes: List[Node], target: str, side: int
) -> Tuple[Graph, Dict[str, Parameter], Dict[str, np.ndarray]]:
    """(graph, parameters, their values) of what the tensor `target` needs.

    Raises ValueError for an operator that is not known, and DoesNotFit for pictures that the network does not take.
    """
    from onnx import numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    pictures = next(one.name for one in model.graph.input if one.name not in constants)
    opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 1)
    reader, tensors = Reader(side, opset), {**constants, pictures: mx.sym.var(INPUT), "": None}
    for node in needed(nodes, target):
        lost = [name for name in node.inputs if name not in tensors]
        if lost:
            raise ValueError(f"{node.file} uses {lost[0]!r} before it is there: export the network again")
        inputs = [tensors[name] for name in node.inputs]
        if not any(isinstance(value, mx.sym.Symbol) for value in inputs):
            outputs = folded(model, node, inputs)
        elif node.op not in OPERATORS or node.proto.domain not in ("", "ai.onnx"):
            node.refuse("that is not known")
        else:
            outputs = operate(reader, node, inputs)
        tensors.update(zip(node.outputs, outputs if isinstance(outputs, (tuple, list)) else (outputs,)))
    if not isinstance(tensors.get(target), mx.sym.Symbol):
        raise ValueError(f"output {target!r} does not depend on the pictures: export the network again")
    return traced.graph_of(tensors[target]), reader.parameters, reader.values


def operate(reader: Reader, node: Node, inputs: List) -> Any:
    """What OPERATORS makes of the operator `node`. Raises CannotRead and DoesNotFit."""
    try:
        return OPERATORS[node.op](reader, node, *inputs)
    except (CannotRead, traced.DoesNotFit):
        raise
    except Exception as error:  # inputs or attributes that the operator has not, or a tensor in place of a constant
        node.refuse(f"in a form that is not known ({type(error).__name__}: {' '.join(str(error).split())[:120]})")


def needed(nodes: List[Node], target: str) -> List[Node]:
    """Those of `nodes` that the tensor `target` needs, in order."""
    wanted, kept = {target}, []
    for node in reversed(nodes):  # each is behind those that it needs
        if wanted & set(node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    return kept[::-1]


def folded(model: Any, node: Node, inputs: List) -> List[np.ndarray]:
    """The outputs of a node that needs constants alone, by the onnx package's own evaluator."""
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    given = {name: value for name, value in zip(node.inputs, inputs) if name}
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in names]
        for names in (given, node.outputs)
    ]
    alone = helper.make_model(helper.make_graph([node.proto], "constants", *ends), opset_imports=model.opset_import)
    try:
        return ReferenceEvaluator(alone).run(None, given)
    except Exception as error:  # it has kinds of its own
        raise ValueError(
            f"{node.file} has constants that cannot be computed ({node.op}, {node.name}): {error}"
        ) from error
