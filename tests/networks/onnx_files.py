"""Small ONNX files, written with the onnx package alone: one operator, or a whole classification network."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def node(operator, inputs, output, **attributes):
    outputs = output if isinstance(output, list) else [output]
    return helper.make_node(operator, inputs, outputs, **attributes)


def write(file, nodes, constants=None, inputs=None, outputs=("out",), opset=17):
    """An ONNX file. constants: {name: array}; inputs: {name: shape}, by default pictures x (N, 3, 32, 32)."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    taken = {"x": ("N", 3, 32, 32)} if inputs is None else inputs
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in taken.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "network", given, ends, tensors)
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(file))
    return file


def network(file, stride=True, classifier=True):
    """A residual network with batch norms, and a squeeze-and-excitation; 64 pixels make 2 x 2 of it.

    stride: whether it halves the map five times, as a ResNet.  classifier: whether it ends with one.
    """
    rng, nodes, constants, made = np.random.default_rng(3), [], {}, []

    def tensor(*shape, low=None):
        name = f"model.{len(constants)}.weight"
        value = (
            rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])) if low is None else rng.uniform(low, 1.5, shape)
        )
        constants[name] = value.astype(np.float32)
        return name

    def add(operator, *inputs, **attributes):
        made.append(f"/{operator}_{len(nodes)}/out")
        nodes.append(node(operator, list(inputs), made[-1], **attributes))
        return made[-1]

    def convolution(x, inside, outside, side=3, **more):
        pads = [side // 2] * 4
        return add("Conv", x, tensor(outside, inside, side, side), kernel_shape=[side, side], pads=pads, **more)

    def normalised(x, channels):
        values = [tensor(channels, low=0.5), tensor(channels), tensor(channels), tensor(channels, low=0.5)]
        return add("Relu", add("BatchNormalization", x, *values))

    x = "x"
    for inside, outside in ((3, 8), (8, 8), (8, 16), (16, 16)):
        x = normalised(convolution(x, inside, outside, strides=[2, 2]), outside)
    strides = [2, 2] if stride else [1, 1]
    body = convolution(normalised(convolution(x, 16, 16, strides=strides), 16), 16, 24)
    x = add("Relu", add("Add", body, convolution(x, 16, 24, 1, strides=strides)))
    constants["low"], constants["high"] = np.float32(0), np.float32(6)
    squeezed = add("GlobalAveragePool", x)
    gate = add("HardSigmoid", convolution(squeezed, 24, 24, 1), alpha=0.2)
    x = add("Clip", add("Mul", x, gate), "low", "high")
    last = x
    if classifier:
        x = add("Flatten", add("GlobalAveragePool", x))
        nodes.append(node("Gemm", [x, tensor(5, 24), tensor(5)], "out", transB=1))
    else:
        nodes.append(node("Identity", [x], "out"))
    write(file, nodes, constants)
    return last
