"""ONNX operators as MXNet's: those of classification networks, up to opset 20.

MXNet's own importer knows the operators of opset 9 alone; it fails on the Clip of every newer MobileNet.
Each function takes the Reader, the node and its inputs (a symbol, an array for a constant, None for one left out), and
returns a symbol named as the node's output, or several. What it cannot compute it refuses by `Node.refuse`.
"""

from typing import Any, Callable, Dict

import mxnet as mx
import numpy as np

from gluon_cgd.networks import onnx_arrays

F = mx.sym
LARGEST = float(np.finfo(np.float32).max)
SELU = 1.673263, 1.050701  # alpha and gamma, of which MXNet has no others


def around(reader, node, x, kernel, value=0.0, dilations=(1, 1)):
    """(x, pad): x with zeros of its own if `node` pads unequally, and what MXNet's operator pads besides."""
    kind, strides = node.get("auto_pad", b"NOTSET").decode(), node.get("strides", [1, 1])
    begin, end = np.split(np.array(node.get("pads", [0, 0, 0, 0])), 2)
    if kind.startswith("SAME"):
        sides, reach = np.array(reader.shape(x)[2:]), (np.array(kernel) - 1) * dilations + 1
        zeros = np.maximum((-(-sides // strides) - 1) * strides + reach - sides, 0)
        begin = zeros // 2 if kind == "SAME_UPPER" else zeros - zeros // 2
        end = zeros - begin
    if min(*begin, *end) < 0:
        node.refuse("with borders below zero")
    if (begin == end).all():
        return x, tuple(map(int, begin))
    widths = (0, 0, 0, 0, *(int(size) for pair in zip(begin, end) for size in pair))
    return F.Pad(x, mode="constant", pad_width=widths, constant_value=value, name=f"{node.name}_pad"), (0, 0)


def convolution(reader, node, x, weight, bias=None):
    """Conv of pictures."""
    if isinstance(weight, F.Symbol) or weight.ndim != 4:
        node.refuse("with weights that are not constant, or of other than two sides")
    dilations = tuple(node.get("dilations", [1, 1]))
    x, pad = around(reader, node, x, weight.shape[2:], dilations=dilations)
    values = [reader.parameter(node.inputs[1], weight, "weight")]
    values += [] if bias is None else [reader.parameter(node.inputs[2], bias, "bias")]
    sizes = dict(kernel=weight.shape[2:], stride=tuple(node.get("strides", [1, 1])), pad=pad, dilate=dilations)
    sizes.update(num_filter=len(weight), num_group=node.get("group", 1), no_bias=bias is None)
    return F.Convolution(x, *values, name=node.name, **sizes)


def batch_norm(reader, node, x, *values):
    """BatchNormalization; values: scale, shift, mean, variance."""
    roles = ("gamma", "beta", "running_mean", "running_var")
    values = [reader.parameter(name, value, role) for name, value, role in zip(node.inputs[1:], values, roles)]
    rates = dict(eps=node.get("epsilon", 1e-5), momentum=node.get("momentum", 0.9))
    return F.BatchNorm(x, *values, fix_gamma=False, name=node.name, **rates)


def pooling(kind):
    """MaxPool or AveragePool."""

    def operator(reader, node, x):
        kernel = tuple(node.get("kernel_shape"))
        if len(kernel) != 2 or set(node.get("dilations", [1])) != {1}:
            node.refuse("with dilations, or of other than two sides")
        counted = kind == "max" or bool(node.get("count_include_pad", 0))
        before = x
        x, pad = around(reader, node, x, kernel, -LARGEST if kind == "max" else 0.0)
        if before is not x and not counted:
            node.refuse("with unequal borders that do not count")
        whole = "full" if node.get("ceil_mode", 0) else "valid"
        sizes = dict(kernel=kernel, stride=tuple(node.get("strides", [1, 1])), pad=pad, pooling_convention=whole)
        return F.Pooling(x, pool_type=kind, count_include_pad=counted, name=node.name, **sizes)

    return operator


def global_pooling(kind):
    """GlobalMaxPool or GlobalAveragePool."""
    return lambda reader, node, x: F.Pooling(x, global_pool=True, kernel=(1, 1), pool_type=kind, name=node.name)


def reduced(function):
    """A mean, sum or extreme along some axes."""

    def operator(reader, node, x, axes=None):
        axes = node.get("axes") if axes is None else axes.tolist()
        count = len(reader.shape(x))
        axes = tuple(sorted(axis % count for axis in axes)) if axes else tuple(range(count))
        if 0 in axes:
            node.refuse("along the pictures of a batch")
        return function(x, axis=axes, keepdims=bool(node.get("keepdims", 1)), name=node.name)

    return operator


def elementwise(of_two, with_scalar, from_scalar, role):
    """An operator of two arrays: symbols of MXNet for two arrays, for an array and a number, and the other way round.

    role: what an array of constants is: "bias" and "gamma" are learned.
    """

    def operator(reader, node, x, y):
        if node.get("axis") is not None:
            node.refuse("along an axis, as before opset 7")
        swapped = not isinstance(x, F.Symbol)
        array, constant = (y, x) if swapped else (x, y)
        if isinstance(constant, F.Symbol):
            return of_two(x, y, name=node.name)
        if constant.size == 1:
            return (from_scalar if swapped else with_scalar)(array, scalar=float(constant), name=node.name)
        constant = constant.reshape((1,) * (len(reader.shape(array)) - constant.ndim) + constant.shape)
        value = reader.parameter(node.inputs[0 if swapped else 1], constant, role)
        return of_two(value, y, name=node.name) if swapped else of_two(x, value, name=node.name)

    return operator


def unary(function, **more):
    """An operator of one array."""
    return lambda reader, node, x: function(x, name=node.name, **more)


def leaky(kind, alpha=None):
    """LeakyRelu, Elu, Selu and Gelu."""

    def operator(reader, node, x):
        if node.get("approximate", b"none") != b"none":
            node.refuse("by its approximation")
        if kind == "selu" and not np.allclose([node.get("alpha", SELU[0]), node.get("gamma", SELU[1])], SELU):
            node.refuse("with an alpha or gamma of its own")
        slope = {} if alpha is None else dict(slope=node.get("alpha", alpha))
        return F.LeakyReLU(x, act_type=kind, name=node.name, **slope)

    return operator


def prelu(reader, node, x, slope):
    """PRelu with one slope a channel."""
    value = reader.parameter(node.inputs[1], slope.reshape(-1), "slope")
    return F.LeakyReLU(x, gamma=value, act_type="prelu", name=node.name)


def clip(reader, node, x, low=None, high=None):
    """Clip, by attributes in opset 6 and by inputs since opset 11."""
    low = node.get("min", -LARGEST) if low is None else low
    high = node.get("max", LARGEST) if high is None else high
    return F.clip(x, a_min=float(low), a_max=float(high), name=node.name)


def _hard_sigmoid(x, alpha, beta, name):
    return F.clip(x * alpha + beta, a_min=0, a_max=1, name=name)


def hard_sigmoid(reader, node, x):
    """HardSigmoid."""
    return _hard_sigmoid(x, node.get("alpha", 0.2), node.get("beta", 0.5), node.name)


def hard_swish(reader, node, x):
    """HardSwish."""
    return F.elemwise_mul(x, _hard_sigmoid(x, 1 / 6, 0.5, f"{node.name}_gate"), name=node.name)


def fully_connected(reader, node, x, weight, bias=None):
    """Gemm and MatMul with constant weights."""
    if isinstance(weight, F.Symbol) or isinstance(bias, F.Symbol) or weight.ndim != 2:
        node.refuse("with weights that are not a constant matrix")
    if node.get("alpha", 1.0) != 1 or node.get("beta", 1.0) != 1 or node.get("transA", 0):
        node.refuse("with alpha, beta or transA")
    matrix = weight if node.get("transB", 0) else weight.T
    values = [reader.parameter(node.inputs[1], matrix, "weight")]
    if bias is not None:
        bias = np.broadcast_to(bias.reshape(-1), (len(matrix),))
        values.append(reader.parameter(node.inputs[2], bias, "bias"))
    return F.FullyConnected(x, *values, num_hidden=len(matrix), no_bias=bias is None, flatten=False, name=node.name)


def local_norm(reader, node, x):
    """LRN."""
    sizes = dict(alpha=node.get("alpha", 1e-4), beta=node.get("beta", 0.75), knorm=node.get("bias", 1.0))
    return F.LRN(x, nsize=node.get("size"), name=node.name, **sizes)


def softmax(function):
    """Softmax or LogSoftmax."""

    def operator(reader, node, x):
        axis, count = node.get("axis", 1 if reader.opset < 13 else -1), len(reader.shape(x))
        if reader.opset < 13 and axis % count != count - 1:
            node.refuse("along several axes, as before opset 13")
        return function(x, axis=axis, name=node.name)

    return operator


ARRAY = F._internal  # operators of an array and a number
OPERATORS: Dict[str, Callable[..., Any]] = {
    "Conv": convolution,
    "BatchNormalization": batch_norm,
    "MaxPool": pooling("max"),
    "AveragePool": pooling("avg"),
    "GlobalMaxPool": global_pooling("max"),
    "GlobalAveragePool": global_pooling("avg"),
    "ReduceMean": reduced(F.mean),
    "ReduceSum": reduced(F.sum),
    "ReduceMax": reduced(F.max),
    "Add": elementwise(F.broadcast_add, ARRAY._plus_scalar, ARRAY._plus_scalar, "bias"),
    "Sub": elementwise(F.broadcast_sub, ARRAY._minus_scalar, ARRAY._rminus_scalar, "constant"),
    "Mul": elementwise(F.broadcast_mul, ARRAY._mul_scalar, ARRAY._mul_scalar, "gamma"),
    "Div": elementwise(F.broadcast_div, ARRAY._div_scalar, ARRAY._rdiv_scalar, "constant"),
    "Relu": unary(F.Activation, act_type="relu"),
    "Sigmoid": unary(F.sigmoid),
    "Tanh": unary(F.tanh),
    "Softplus": unary(F.Activation, act_type="softrelu"),
    "Exp": unary(F.exp),
    "Sqrt": unary(F.sqrt),
    "Neg": unary(F.negative),
    "Abs": unary(F.abs),
    "LeakyRelu": leaky("leaky", 0.01),
    "Elu": leaky("elu", 1.0),
    "Selu": leaky("selu"),
    "Gelu": leaky("gelu"),
    "PRelu": prelu,
    "Clip": clip,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "Concat": onnx_arrays.concatenated,
    "Split": onnx_arrays.split,
    "Slice": onnx_arrays.sliced,
    "Transpose": onnx_arrays.transposed,
    "Reshape": onnx_arrays.reshaped,
    "Flatten": onnx_arrays.flattened,
    "Squeeze": onnx_arrays.squeezed,
    "Unsqueeze": onnx_arrays.unsqueezed,
    "Gemm": fully_connected,
    "MatMul": fully_connected,
    "Pad": onnx_arrays.padded,
    "Cast": onnx_arrays.cast,
    "Identity": onnx_arrays.same,
    "Dropout": onnx_arrays.same,
    "LRN": local_norm,
    "Softmax": softmax(F.softmax),
    "LogSoftmax": softmax(F.log_softmax),
    "Shape": onnx_arrays.shape_of,
}
