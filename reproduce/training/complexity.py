"""What a network costs: its parameters, and the multiply-accumulates of one picture."""

import math

import mxnet as mx

from gluon_cgd.engines import graph


def counts(net, input_size=224):
    """(parameters, multiply-accumulates) of the HybridBlock `net` for one picture of `input_size`.

    Parameters are those that training changes (no running statistics, no constants); multiply-accumulates are those of
    convolutions and FC layers. Neither data nor initialised parameters are needed.
    """
    outputs = net(mx.sym.var("data"))
    flat = [leaf for output in outputs for leaf in (output if isinstance(output, list) else [output])]
    symbol = mx.sym.Group(flat)
    shapes = graph.shapes(symbol, data=(1, 3, input_size, input_size))
    nodes = graph.read(symbol).nodes
    products = 0
    for node in nodes:
        if node.op in ("Convolution", "FullyConnected"):
            name = nodes[node.inputs[1].node].name  # of a parameter, or of what computes the weights from it
            weight = shapes[name] if name in shapes else shapes[f"{name}_output"]  # (out, in / groups, kernel ...)
            positions = shapes[f"{node.name}_output"][2:]  # of the map; none in an FC layer
            products += math.prod(weight) * math.prod(positions)
    constants = {name for name, value in net.collect_params().items() if isinstance(value, mx.gluon.Constant)}
    learned = (name for name in symbol.list_arguments() if name not in {"data", *constants})
    return sum(math.prod(shapes[name]) for name in learned), products
