"""What a CPU does faster at once than one after the other while it trains: a batch norm and the ReLU behind it.

What `optimize_for` fuses is for inference alone, and Gluon's BatchNormReLU would have to be put into every library's
networks by hand. Here the graph that Gluon compiles is changed; the network itself stays as it is.
"""

import collections
import json

import mxnet as mx


def fuse_relus(net):
    """Let `net`, a hybridized block of pictures on a CPU, do batch norms and the ReLUs behind them at once, as `fused`.

    The numbers are the same up to rounding, and mostly to the last bit; the parameters are the same ones. Call it
    before the first batch; a later `hybridize` undoes it. Without oneDNN, which has that layer, nothing is changed.
    """
    if mx.runtime.Features().is_enabled("MKLDNN"):  # its former name
        inputs, graph = net._get_graph(mx.nd.zeros((1, 3, 1, 1)))  # that there is one input is all that counts
        net._cached_graph = inputs, fused(graph)


def fused(graph):
    """The symbol `graph` with one operator for each such pair.

    A batch norm is left alone that keeps its statistics in training, or whose output is used elsewhere too; and any
    beside a grouped convolution (ResNeXt): with AVX-512 those lay features and gradients out in blocks of their own,
    for which oneDNN has no backward pass of the pair ("could not create a primitive descriptor iterator").
    """
    described = json.loads(graph.tojson())
    nodes, heads = described["nodes"], described["heads"]
    uses = collections.Counter(tuple(entry[:2]) for node in [*nodes, {"inputs": heads}] for entry in node["inputs"])
    instead = {}  # output of a ReLU -> that of the batch norm that does its work; each a (node, number)
    grouped = {number for number, node in enumerate(nodes) if _in_groups(node)}
    feeding = {tuple(nodes[number]["inputs"][0][:2]) for number in grouped}  # the outputs that go into one of them

    def rewired(entries):
        return [[*instead.get(tuple(entry[:2]), entry[:2]), *entry[2:]] for entry in entries]

    for number, node in enumerate(nodes):
        node["inputs"] = rewired(node["inputs"])
        if node["op"] == "Activation" and node["attrs"]["act_type"] == "relu":
            source = tuple(node["inputs"][0][:2])
            before = nodes[source[0]]
            if before["op"] != "BatchNorm":
                continue
            moves = before.get("attrs", {}).get("use_global_stats", "False") == "False"
            beside = (number, 0) in feeding or before["inputs"][0][0] in grouped
            if moves and uses[source] == 1 and not beside:
                before["op"] = "_contrib_BatchNormWithReLU"
                instead[number, 0] = source
    described["heads"] = rewired(heads)
    return mx.sym.load_json(json.dumps(described))


def _in_groups(node):
    """Whether `node` is a convolution in groups of several channels."""
    attributes = node.get("attrs", {})
    return node["op"] == "Convolution" and 1 < int(attributes.get("num_group", 1)) < int(attributes["num_filter"])
