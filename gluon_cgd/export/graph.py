"""A trained network as an ONNX graph: decoded pictures in, the embedding out.

MXNet's exporter writes the backbone. The nodes before and after it are written here, because MXNet cannot export all of
a CGD's head.
"""

import contextlib
import os
import tempfile
from importlib.util import find_spec

import numpy as np

from gluon_cgd.datasets.images import MEAN, STD
from gluon_cgd.engines import graph as symbols
from gluon_cgd.export.poolings import POOLINGS, unit_length
from gluon_cgd.extensions import whitening
from gluon_cgd.machine import facts
from gluon_cgd.similarity import weights_of

OPSET, IR = 13, 7  # the newest operators that MXNet 1.9.1 writes, and the file format that came with them


class Graph:
    """Nodes and constants in the order in which they compute."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, name, value):
        """The name of `value`, an array of float32 or int64."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, operator, inputs, output, **attributes):
        """The name `output` of what `operator` makes of `inputs`."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output


def check_onnx():
    """Raise ImportError, naming the remedy, unless there is an onnx package that MXNet's exporter can use."""
    install = facts.install("requirements-extra.txt")
    if find_spec("onnx") is None:
        raise ImportError(f"export needs the packages onnx and onnxruntime: {install}")
    if find_spec("onnx.mapping") is None:
        raise ImportError(f"the onnx package is newer than MXNet 1.9.1's exporter, which needs 1.18 at most: {install}")


def model_of(net, experiment, features=False):
    """The ONNX model of `net`, a network of `experiment` on any device; see `onnx_model.Exported` for what it computes.

    features: include what heatmaps need, the last feature maps and the FC layers' weights.
    Raises ValueError for a descriptor that has no entry in POOLINGS.
    """
    import mxnet as mx
    from onnx import TensorProto, helper

    mx.nd.waitall()  # on a CPU a running convolution reorders its weight in place: a copy could mix both orders
    side, dim = experiment.input_size, experiment.dim
    graph = Graph()
    normalised(graph, "pictures", "normalised")
    channels, height, width = last_map(graph, net, side)  # "normalised" -> "features"
    head(graph, net, experiment)  # "features" -> "embedding"
    pictures = helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["N", side, side, 3])
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", dim])]
    if features:
        maps = ["N", channels, height, width]
        outputs.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, maps))
        if weights_of(net):
            shape = projections(graph, net, experiment)
            outputs.append(helper.make_tensor_value_info("projections", TensorProto.FLOAT, shape))
        if experiment.whiten:
            shape = add_whitening_rows(graph, net)
            outputs.append(helper.make_tensor_value_info("whitening", TensorProto.FLOAT, shape))
    used = {name for node in graph.nodes for name in node.input}
    constants = [constant for constant in graph.constants if constant.name in used]
    whole = helper.make_graph(graph.nodes, "cgd", [pictures], outputs, constants)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


def normalised(graph, pictures, output):
    """uint8 (N, H, W, 3) -> float32 (N, 3, H, W), ImageNet's mean 0 and deviation 1, as `images.normalise`."""
    values = graph.add("Cast", [pictures], "float_pictures", to=1)
    unit = graph.add("Div", [values, graph.constant("largest_value", np.float32(255))], "unit_pictures")
    moved = graph.add("Sub", [unit, graph.constant("mean", np.float32(MEAN))], "centred_pictures")
    scaled = graph.add("Div", [moved, graph.constant("deviation", np.float32(STD))], "scaled_pictures")
    return graph.add("Transpose", [scaled], output, perm=(0, 3, 1, 2))


def last_map(graph, net, side):
    """Add backbone and attention, "normalised" (N, 3, side, side) -> "features"; returns their shape (C, h, w)."""
    import mxnet as mx
    import onnx

    symbol = net.last_map(mx.sym.var("normalised"))
    symbol = _with_plain_reshapes(symbol, side)
    needed = {*symbol.list_arguments(), *symbol.list_auxiliary_states()}
    values = {
        name: parameter.list_data()[0].as_in_context(mx.cpu())
        for name, parameter in net.collect_params().items()
        if name in needed
    }
    with tempfile.TemporaryDirectory() as folder, _opset():
        file = os.path.join(folder, "backbone.onnx")
        free = dict(dynamic=True, dynamic_input_shapes=[(None, 3, side, side)])
        try:
            mx.onnx.export_model(symbol, values, [(2, 3, side, side)], np.float32, file, **free)
        except AttributeError as error:  # "No conversion function registered for op type ... yet."
            raise ValueError(
                f"MXNet cannot export the network ({error}): write that layer by other operators"
            ) from error
        exported = onnx.load(file).graph
    ends = {"": "", "normalised": "normalised", exported.output[0].name: "features"}  # "": an input that is left out

    def own(name):  # a network from a file may have the names of nodes that are written here
        return ends.get(name, f"backbone/{name}")

    for node in exported.node:
        node.name, node.input[:], node.output[:] = own(node.name), map(own, node.input), map(own, node.output)
    for constant in exported.initializer:
        constant.name = own(constant.name)
    graph.nodes.extend(exported.node)
    graph.constants.extend(exported.initializer)
    return symbol.infer_shape(normalised=(1, 3, side, side))[1][0][1:]


def _with_plain_reshapes(symbol, side):
    """`symbol` with the sizes written into each reshape: the exporter does not know ShuffleNet's codes for them."""
    shapes, graph = symbols.shapes(symbol, normalised=(2, 3, side, side)), symbols.read(symbol)
    for node in graph.nodes:
        if node.op == "Reshape":
            batch, *sizes = shapes[f"{node.name}_output"]
            assert batch == 2, "a reshape that mixes pictures"
            node.attributes = {"shape": str((0, *sizes))}  # 0: the size of the batch
    return symbols.write(graph)


@contextlib.contextmanager
def _opset():
    """Let the onnx package report OPSET as its newest: MXNet's exporter asks it, and cannot write newer operators."""
    from onnx import checker, defs

    newest, checked = defs.onnx_opset_version, checker.DEFAULT_CONTEXT.opset_imports
    defs.onnx_opset_version, checker.DEFAULT_CONTEXT.opset_imports = (lambda: OPSET), {"": OPSET}
    try:
        yield
    finally:
        defs.onnx_opset_version, checker.DEFAULT_CONTEXT.opset_imports = newest, checked


def head(graph, net, experiment):
    """Add the nodes "features" -> "embedding" (N, D): equations 1 to 3, or those of architecture B or of a sum."""
    output = "plain_embedding" if experiment.whiten else "embedding"
    add_combined(graph, net, experiment, output)
    if experiment.whiten:
        add_whitened(graph, net, output)


def add_combined(graph, net, experiment, output):
    """Add the nodes "features" -> `output`, the combined descriptor (N, D) of unit length."""
    unknown = [letter for letter in experiment.descriptors if letter not in POOLINGS]
    if unknown:
        raise ValueError(f"descriptor {unknown[0]!r} cannot be exported: add it to export.graph.POOLINGS")
    named = zip(experiment.descriptors, net.poolings)
    pooled = [POOLINGS[letter](graph, "features", letter, pooling) for letter, pooling in named]
    weights = weights_of(net)
    if experiment.architecture == "B":
        together = graph.add("Concat", pooled, "descriptors", axis=1)
        return unit_length(graph, reduction(graph, together, weights[0], "combined"), output)
    if weights:  # a pretrained backbone has no FC layers
        named = zip(experiment.descriptors, pooled, weights)
        pooled = [reduction(graph, vectors, weight, letter) for letter, vectors, weight in named]
    branches = [
        unit_length(graph, vectors, f"{letter}_branch") for letter, vectors in zip(experiment.descriptors, pooled)
    ]
    together = ("Concat", dict(axis=1)) if experiment.combine == "concat" else ("Sum", {})
    return unit_length(graph, graph.add(together[0], branches, "combined", **together[1]), output)


def add_whitened(graph, net, plain):
    """Add the nodes `plain` -> "embedding", as `extensions.whitening_layer`."""
    mean, axes, gains = (np.float32(part) for part in whitening.of_layer(net.whitening))
    axes = graph.constant("whitening_axes", axes)
    centred = graph.add("Sub", [plain, graph.constant("whitening_mean", mean[None])], "centred_embedding")
    parts = graph.add("Gemm", [centred, axes], "whitening_parts", transB=1)
    shrunk = graph.add("Mul", [parts, graph.constant("whitening_gains", gains[None])], "whitening_shrunk")
    moved = graph.add("MatMul", [shrunk, axes], "whitening_moved")
    unit_length(graph, graph.add("Add", [centred, moved], "whitening_turned"), "embedding")


def add_whitening_rows(graph, net):
    """Add "whitening", its mean, then its axes, then these times their gains; returns its shape."""
    column = graph.constant("whitening_column", np.float32(whitening.of_layer(net.whitening).gains)[:, None])
    scaled = graph.add("Mul", ["whitening_axes", column], "whitening_scaled")
    graph.add("Concat", ["whitening_mean", "whitening_axes", scaled], "whitening", axis=0)
    count, dim = net.whitening.axes.shape
    return [1 + 2 * count, dim]


def reduction(graph, vectors, weight, name):
    """An FC layer without bias (equation 2): (N, C) -> (N, k) by `weight` (k, C)."""
    matrix = graph.constant(f"{name}_fc_weight", weight)
    return graph.add("Gemm", [vectors, matrix], f"{name}_reduced", transB=1)


def projections(graph, net, experiment):
    """Add "projections", the FC layers' weights one below the other; returns its shape."""
    names = ["combined"] if experiment.architecture == "B" else experiment.descriptors
    graph.add("Concat", [f"{name}_fc_weight" for name in names], "projections", axis=0)
    shapes = [layer.weight.shape for layer in net.reductions]
    return [sum(rows for rows, _ in shapes), shapes[0][1]]
