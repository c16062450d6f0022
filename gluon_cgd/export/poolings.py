"""The descriptors as nodes of an ONNX graph: each adds (N, C, h, w) -> (N, C), as its block computes it."""

import numpy as np

from gluon_cgd.extensions.places import DEAD, prior, regions


def unit_length(graph, vectors, output):
    """Each row divided by its Euclidean length, as `model.unit_length`."""
    axes, least = graph.constant(f"{output}_axes", np.int64([1])), graph.constant(f"{output}_least", np.float32(1e-12))
    squares = graph.add("Mul", [vectors, vectors], f"{output}_squares")
    square = graph.add("ReduceSum", [squares, axes], f"{output}_square", keepdims=1)
    bounded = graph.add("Max", [square, least], f"{output}_bounded")
    return graph.add("Div", [vectors, graph.add("Sqrt", [bounded], f"{output}_length")], output)


def spoc(graph, features, name, block):
    """`descriptors.SPoC`."""
    return graph.add("Flatten", [graph.add("GlobalAveragePool", [features], f"{name}_mean")], f"{name}_descriptor")


def mac(graph, features, name, block):
    """`descriptors.MAC`."""
    return graph.add("Flatten", [graph.add("GlobalMaxPool", [features], f"{name}_maximum")], f"{name}_descriptor")


def gem(graph, features, name, block):
    """`descriptors.GeM`."""
    minimum = graph.constant(f"{name}_minimum", np.float32(block.minimum))
    p = graph.constant(f"{name}_p", np.float32(block.p))
    root = graph.constant(f"{name}_root", np.float32(1 / block.p))
    powers = graph.add("Pow", [graph.add("Max", [features, minimum], f"{name}_clamped"), p], f"{name}_powers")
    mean = graph.add("ReduceMean", [powers], f"{name}_mean", axes=(2, 3), keepdims=0)
    return graph.add("Pow", [mean, root], f"{name}_descriptor")


def summed(graph, values, axes, output, keepdims=1):
    """The sum of `values` along `axes`, which in this version of ONNX are an input."""
    return graph.add("ReduceSum", [values, graph.constant(f"{output}_axes", np.int64(axes))], output, keepdims=keepdims)


def scaled(graph, features, name, minimum):
    """`extensions.powers.scaled`: the names of (logarithms, each channel's maximum)."""
    clamped = graph.add("Max", [features, graph.constant(f"{name}_minimum", np.float32(minimum))], f"{name}_clamped")
    largest = graph.add("ReduceMax", [clamped], f"{name}_largest", axes=(2, 3), keepdims=1)
    return graph.add("Log", [graph.add("Div", [clamped, largest], f"{name}_relative")], f"{name}_logarithms"), largest


def mean_of_powers(graph, mean, p, largest, name):
    """The `p`-th root of `mean` (N, C, 1, 1), times `largest`: (N, C)."""
    root = graph.add("Div", [graph.add("Log", [mean], f"{name}_logarithm"), p], f"{name}_exponent")
    whole = graph.add("Mul", [graph.add("Exp", [root], f"{name}_root"), largest], f"{name}_whole")
    return graph.add("Flatten", [whole], f"{name}_descriptor")


def trained_gem(graph, features, name, block):
    """`extensions.powers.TrainedGeM` and `ChannelGeM`."""
    p = graph.constant(f"{name}_p", np.float32(block.learned()).reshape(1, -1, 1, 1))
    logarithms, largest = scaled(graph, features, name, block.minimum)
    powers = graph.add("Exp", [graph.add("Mul", [logarithms, p], f"{name}_multiples")], f"{name}_powers")
    mean = graph.add("ReduceMean", [powers], f"{name}_mean", axes=(2, 3), keepdims=1)
    return mean_of_powers(graph, mean, p, largest, name)


def weighted_gem(graph, features, name, block):
    """`extensions.powers.WeightedGeM`."""
    attention = graph.constant(f"{name}_attention", np.float32(block.learned()).reshape(1, -1, 1, 1))
    p, least = graph.constant(f"{name}_p", np.float32(block.p)), graph.constant(f"{name}_least", np.float32(1e-30))
    score = graph.add("Conv", [features, attention], f"{name}_score", kernel_shape=(1, 1))
    highest = graph.add("ReduceMax", [score], f"{name}_highest", axes=(2, 3), keepdims=1)
    score = graph.add("Exp", [graph.add("Sub", [score, highest], f"{name}_lowered")], f"{name}_exponentials")
    weight = graph.add("Div", [score, summed(graph, score, (2, 3), f"{name}_total")], f"{name}_weight")
    logarithms, largest = scaled(graph, features, name, block.minimum)
    powers = graph.add("Exp", [graph.add("Mul", [logarithms, p], f"{name}_multiples")], f"{name}_powers")
    mean = summed(graph, graph.add("Mul", [powers, weight], f"{name}_weighted"), (2, 3), f"{name}_mean")
    return mean_of_powers(graph, graph.add("Max", [mean, least], f"{name}_bounded"), p, largest, name)


def rmac(graph, features, name, block):
    """`extensions.regions.RMAC`."""
    axes, vectors = graph.constant(f"{name}_map", np.int64([2, 3])), []
    for number, ends in enumerate(regions(block.side, block.scales)):
        part = f"{name}_region{number}"
        first, last = (graph.constant(f"{part}_{at}", np.int64(end)) for at, end in zip(("first", "last"), ends))
        region = graph.add("Slice", [features, first, last, axes], part)
        maximum = graph.add("ReduceMax", [region], f"{part}_maximum", axes=(2, 3), keepdims=0)
        vectors.append(unit_length(graph, maximum, f"{part}_unit"))
    return graph.add("Sum", vectors, f"{name}_descriptor")


def crow(graph, features, name, block):
    """`extensions.regions.CroW`."""
    dead, least = graph.constant(f"{name}_dead", np.float32(DEAD)), graph.constant(f"{name}_least", np.float32(1e-12))
    zero = graph.constant(f"{name}_zero", np.float32(0))
    positive = graph.add("Relu", [features], f"{name}_positive")
    place = summed(graph, positive, (1,), f"{name}_place")
    square = summed(graph, graph.add("Mul", [place, place], f"{name}_squares"), (2, 3), f"{name}_square")
    length = graph.add("Sqrt", [graph.add("Max", [square, least], f"{name}_bounded")], f"{name}_length")
    share = graph.add("Max", [graph.add("Div", [place, length], f"{name}_share"), dead], f"{name}_shares")
    weighted = graph.add("Mul", [positive, graph.add("Sqrt", [share], f"{name}_weight")], f"{name}_weighted")
    active = graph.add("Cast", [graph.add("Greater", [positive, zero], f"{name}_active")], f"{name}_ones", to=1)
    alive = graph.add("ReduceMean", [active], f"{name}_part", axes=(2, 3), keepdims=0)
    alive = graph.add("Add", [alive, dead], f"{name}_alive")
    ratio = graph.add("Div", [summed(graph, alive, (1,), f"{name}_all"), alive], f"{name}_ratio")
    channel = graph.add("Log", [ratio], f"{name}_channel")
    return graph.add("Mul", [channel, summed(graph, weighted, (2, 3), f"{name}_sum", 0)], f"{name}_descriptor")


def centred_spoc(graph, features, name, block):
    """`extensions.regions.CentredSPoC`."""
    weight = graph.constant(f"{name}_prior", np.float32(prior(block.side)))
    return summed(graph, graph.add("Mul", [features, weight], f"{name}_weighted"), (2, 3), f"{name}_descriptor", 0)


POOLINGS = {"S": spoc, "M": mac, "G": gem, "P": trained_gem, "Q": trained_gem}
POOLINGS.update(A=weighted_gem, R=rmac, W=crow, C=centred_spoc)
