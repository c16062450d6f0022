"""What a network costs: its parameters, and the multiply-accumulates of one picture."""

import json
import math

import mxnet as mx


def counts(net, input_size=224):
    """(parameters, multiply-accumulates) of the HybridBlock `net` for one picture of `input_size`.

    Parameters are those that training changes (no running statistics); multiply-accumulates are those of convolutions
    and FC layers. Neither data nor initialised parameters are needed.
    """
    outputs = net(mx.sym.var("data"))
    flat = [leaf for output in outputs for leaf in (output if isinstance(output, list) else [output])]
    graph = mx.sym.Group(flat)
    inner = graph.get_internals()
    picture = (1, 3, input_size, input_size)
    shapes = dict(zip(inner.list_outputs(), inner.infer_shape(data=picture)[1]))
    nodes = json.loads(graph.tojson())["nodes"]
    products = 0
    for node in nodes:
        if node["op"] in ("Convolution", "FullyConnected"):
            weight = shapes[nodes[node["inputs"][1][0]]["name"]]  # (out, in / groups, kernel ...)
            positions = shapes[f"{node['name']}_output"][2:]  # of the map; none in an FC layer
            products += math.prod(weight) * math.prod(positions)
    learned = zip(graph.list_arguments(), graph.infer_shape(data=picture)[0])
    return sum(math.prod(shape) for name, shape in learned if name != "data"), products
