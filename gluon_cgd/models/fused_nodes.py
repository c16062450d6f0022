"""Nodes in which oneDNN has fused several operators, in the JSON of a symbol: they are taken apart again.

MXNet writes them where a network was exported after it had computed on a CPU. Each holds a graph of plain operators.
"""

FUSED = ("_sg_mkldnn_conv", "_sg_mkldnn_fully_connected")


def taken_apart(nodes, head):
    """(nodes, head) of a symbol's JSON with the plain operators in place of each node that fuses them.

    head: (node, output).  A node whose parts cannot be told stays; quantised ones do.
    Raises KeyError, IndexError, TypeError, AttributeError or ValueError for what is no graph.
    """
    if not any(node["op"] in FUSED for node in nodes):
        return nodes, head
    plain, place = [], {}  # place: number of a node before -> number of the node that has its output now
    for number, node in enumerate(nodes):
        inputs = [[place[entry[0]], *entry[1:]] for entry in node["inputs"]]
        inner = node["subgraphs"][0] if node["op"] in FUSED and len(node.get("subgraphs") or ()) == 1 else None
        if inner and len(inner["arg_nodes"]) == len(inputs) and not _quantised(node):
            place[number] = _append(plain, inner, inputs)
        else:
            place[number] = len(plain)
            plain.append({**node, "inputs": inputs})
    return plain, (place[head[0]], head[1])


def _quantised(node):
    return any("quantized" in key for key in node.get("attrs") or {})


def _append(plain, inner, inputs):
    """Append the operators of the graph `inner` to `plain`; returns the number of the one that gives its output.

    inputs: what its variables are, in their order.
    """
    variables, entries = dict(zip(inner["arg_nodes"], inputs)), {}  # number in `inner` -> (number in `plain`, output)
    for number, node in enumerate(inner["nodes"]):
        if number in variables:
            entries[number] = variables[number][:2]
        else:
            # The output of an operator is as the entry says, that of a variable as the node outside of it had it
            taken = [
                [*entries[at][:1], entries[at][1] if at in variables else output, *more]
                for at, output, *more in node["inputs"]
            ]
            entries[number] = (len(plain), 0)
            plain.append({**node, "inputs": taken})
    return entries[inner["heads"][0][0]][0]
