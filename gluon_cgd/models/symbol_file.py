"""A symbol of MXNet from a file that anyone may have written: every node is checked before MXNet sees it."""

import ast
import contextlib
import io
import json
import math
import re

import mxnet as mx

from gluon_cgd.files.regular import read_json
from gluon_cgd.models.fused_nodes import taken_apart

NODES = 20_000
TEXT = 10_000  # characters of a name or an attribute
LARGEST = (1 << 31) - 1  # values of one array, for one picture: MXNet counts them in 32 bits
ATTRIBUTES = ("attrs", "attr", "param")  # what the three versions of the format call them

# What networks of pictures compute with. Others are refused: some read files, call Python or read past their arrays
OPERATORS = {
    *("Convolution", "FullyConnected", "Pooling", "_contrib_AdaptiveAvgPooling2D", "Pad", "Dropout", "BlockGrad"),
    *("BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "L2Normalization", "LRN"),
    *("Activation", "LeakyReLU", "relu", "sigmoid", "hard_sigmoid", "tanh", "softsign", "softmax", "SoftmaxActivation"),
    *("Concat", "concat", "Flatten", "flatten", "Reshape", "reshape", "SliceChannel", "split", "SwapAxis", "swapaxes"),
    *("transpose", "expand_dims", "squeeze", "slice_axis", "Cast", "cast", "_copy", "identity"),
    *("add_n", "ElementWiseSum", "elemwise_add", "elemwise_sub", "elemwise_mul", "elemwise_div"),
    *("_Plus", "_Minus", "_Mul", "_Div", "_Power", "_Maximum", "_Minimum", "_plus", "_minus", "_mul", "_div"),
    *("broadcast_add", "broadcast_plus", "broadcast_sub", "broadcast_minus", "broadcast_mul", "broadcast_div"),
    *("broadcast_power", "broadcast_maximum", "broadcast_minimum", "broadcast_like", "broadcast_axis", "broadcast_to"),
    *("_plus_scalar", "_minus_scalar", "_rminus_scalar", "_mul_scalar", "_div_scalar", "_rdiv_scalar"),
    *("_power_scalar", "_rpower_scalar", "_maximum_scalar", "_minimum_scalar"),
    *("_PlusScalar", "_MinusScalar", "_RMinusScalar", "_MulScalar", "_DivScalar", "_RDivScalar", "_PowerScalar"),
    *("_RPowerScalar", "_MaximumScalar", "_MinimumScalar"),
    *("abs", "exp", "log", "sqrt", "rsqrt", "cbrt", "rcbrt", "square", "reciprocal", "negative", "erf", "clip"),
    *("sum", "mean", "max", "min", "prod", "norm", "sum_axis", "max_axis", "min_axis", "zeros_like", "ones_like"),
}
# They keep the number of values. MXNet does not compare it, and reads what lies behind its array
RESHAPING = {"Reshape", "reshape", "Flatten", "flatten", "SwapAxis", "swapaxes", "transpose", "expand_dims", "squeeze"}
POSITIVE = {"num_group", "num_filter", "num_hidden", "num_outputs", "num_args", "num_groups", "nsize"}
POSITIVE |= {"kernel", "stride", "dilate", "output_size"}
COUNTS = {"num_outputs", "num_args"}  # of arrays
ARRAYS = 4096


class WrongSymbol(ValueError):
    """A file holds no symbol that can be computed; the message says why, and leaves the file's name to the caller."""


def read_symbol(file):
    """The first output of the symbol in `file` as an mx.sym.Symbol; what it does not need is left out.

    Raises WrongSymbol for a graph that is no network of pictures, and ValueError or OSError as `read_json` does.
    """
    graph = read_json(file)
    try:
        nodes, (head, output) = graph["nodes"], graph["heads"][0][:2]
        if not isinstance(nodes, list) or not 0 < len(nodes) <= NODES:
            raise WrongSymbol(f"it has no nodes, or more than {NODES:,}")
        nodes, (head, output) = taken_apart(nodes, (head, output))
        checked = [_checked(node, number) for number, node in enumerate(nodes)]
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise error if isinstance(error, WrongSymbol) else WrongSymbol("it is not a graph of MXNet") from error
    _check_entry(checked, len(checked), [head, output, 0])
    needed, waiting = set(), [head]
    while waiting:
        number = waiting.pop()
        if number not in needed:
            needed.add(number)
            waiting += [entry[0] for entry in checked[number]["inputs"]]
    for number in sorted(needed):
        _check_operator(checked, number)
    _name_apart(checked, sorted(needed))
    places = {number: place for place, number in enumerate(sorted(needed))}
    kept = [checked[number] for number in sorted(needed)]
    for node in kept:
        node["inputs"] = [[places[entry[0]], *entry[1:]] for entry in node["inputs"]]
    variables = [place for place, node in enumerate(kept) if node["op"] == "null"]
    whole = dict(nodes=kept, arg_nodes=variables, heads=[[places[head], output, 0]], attrs=_version(graph))
    try:
        return mx.sym.load_json(json.dumps(whole))
    except Exception as error:  # MXNet raises many kinds
        raise WrongSymbol(first_line(error)) from error


def _name_apart(nodes, numbers):
    """Give the nodes `numbers` names of their own. Raises WrongSymbol for two variables, whose names must stay."""
    names = [nodes[number]["name"] for number in numbers if nodes[number]["op"] == "null"]
    if len(set(names)) < len(names):
        raise WrongSymbol("two of its inputs have one name")
    taken = set(names)
    for number in numbers:
        node = nodes[number]
        if node["op"] != "null":
            while node["name"] in taken:
                node["name"] += f"_{number}"
            taken.add(node["name"])


def _version(graph):
    """The version of MXNet that the file names, which decides what MXNet changes in older graphs."""
    version = graph.get("attrs", {}).get("mxnet_version", ["int", 10901]) if isinstance(graph.get("attrs"), dict) else 0
    known = isinstance(version, list) and len(version) == 2 and version[0] == "int" and type(version[1]) is int
    return {"mxnet_version": ["int", version[1] if known and 0 < version[1] < 100_000 else 10901]}


def _checked(node, number):
    """A node of the file with nothing but what is known of it: {"op", "name", "attrs", "inputs"}."""
    attributes = {}
    for key in ATTRIBUTES:
        attributes.update(node.get(key) or {})
    op, name = node["op"], node["name"]
    inputs = [[*entry[:2], 1 if entry[2:] == [1] else 0] for entry in node["inputs"]]  # 1: what the node changes
    texts = [op, name, *attributes, *attributes.values()]
    if not all(isinstance(text, str) and len(text) <= TEXT for text in texts):
        raise WrongSymbol(f"its node {number} has a name or an attribute that is no text")
    if node.get("subgraphs"):
        raise WrongSymbol(f"its node {name!r} holds a graph of its own")
    if op == "null":  # a variable: its shape and type follow from the parameters
        attributes, inputs = {}, []
    attributes = {key: value for key, value in attributes.items() if not key.startswith("__")}
    return {"op": op, "name": name, "attrs": attributes, "inputs": inputs}


def _check_operator(nodes, number):
    """Raise WrongSymbol unless the node is one of OPERATORS whose attributes and inputs can be."""
    node = nodes[number]
    if node["op"] == "null":
        return
    if node["op"] not in OPERATORS:
        raise WrongSymbol(
            f"its node {node['name']!r} is the operator {node['op']!r}, which networks of pictures do not need; who "
            "trusts the file adds it to OPERATORS in gluon_cgd/models/symbol_file.py"
        )
    for key, text in node["attrs"].items():
        numbers = _numbers(text)
        largest, least = ARRAYS if key in COUNTS else LARGEST, 1 if key in POSITIVE else -LARGEST
        if not all(least <= value <= largest or math.isinf(value) for value in numbers):
            raise WrongSymbol(f"its node {node['name']!r} has {key}={text[:80]}")
    for entry in node["inputs"]:
        _check_entry(nodes, number, entry)


def _check_entry(nodes, number, entry):
    """Raise WrongSymbol unless `entry`, (node, output, version), is before the node `number`."""
    if len(entry) != 3 or not all(type(value) is int for value in entry) or not 0 <= entry[0] < number:
        raise WrongSymbol("a node takes what comes after it")
    if not 0 <= entry[1] < _outputs(nodes[entry[0]]):
        raise WrongSymbol(f"it takes output {entry[1]} of {nodes[entry[0]]['name']!r}")


def _outputs(node):
    """How many outputs others may take: the means and variances of a batch norm are not among them."""
    if node["op"] in ("SliceChannel", "split"):
        return (_numbers(node["attrs"].get("num_outputs", "")) or [1])[0]
    return 1


def _numbers(text):
    """The numbers in the text of an attribute: "(3, 3)" and Python 2's "(3L, 3L)" -> [3, 3]; a word has none.

    MXNet reads some texts that Python does not: white space in front of a number, zeros, or the L.
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return [float(number) for number in re.findall(r"(?<![\w.])[-+]?[0-9]+", text)]
    values = value if isinstance(value, (tuple, list)) else [value]
    return [number for number in values if isinstance(number, (int, float)) and not isinstance(number, bool)]


def check_shapes(symbol, shapes):
    """Raise WrongSymbol unless every array in `symbol` follows from `shapes`, {name: shape}, of its inputs.

    A network of pictures gives one row for each of them, (B, D), and moves no values between them where it reshapes.
    """
    inner = symbol.get_internals()
    names = inner.list_outputs()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints all its arguments where it fails
            found = dict(zip(names, inner.infer_shape(**shapes)[1] or ()))
    except Exception as error:  # MXNet raises many kinds
        raise WrongSymbol(first_line(error)) from error
    if len(found) < len(names):
        raise WrongSymbol("the sizes of its arrays do not follow from the pictures and the parameters")
    for name, shape in shapes.items():  # a batch norm takes any shape of its parameters
        if name in found and tuple(found[name]) != tuple(shape):
            raise WrongSymbol(f"it takes {name!r} of shape {tuple(found[name])}, not {tuple(shape)}")
    batch = shapes["data"][0]
    for name, shape in found.items():
        if not shape or min(shape) < 1 or math.prod(shape) // batch > LARGEST:
            raise WrongSymbol(f"its array {name!r} has the shape {tuple(shape)}")
    for node in json.loads(symbol.tojson())["nodes"]:
        _check_node(node, found, inner)
    output = found[symbol.list_outputs()[0]]
    if len(output) != 2 or output[0] != batch:
        raise WrongSymbol(f"its first output has the shape {tuple(output)} for {batch} pictures, not (pictures, D)")


def _check_node(node, found, inner):
    """Raise WrongSymbol where MXNet would read past an array, or crash in a later network."""
    if node["op"] in RESHAPING:
        old, new = found[_inputs(node, inner)[0]], found[f"{node['name']}_output"]
        if math.prod(old) != math.prod(new):
            raise WrongSymbol(f"its node {node['name']!r} cannot make {tuple(new)} of {tuple(old)}")
    if node["op"] == "BatchNorm":  # see model.from_experiment
        before = _inputs(node, inner)[0]
        if len(found[before]) == 4 and math.prod(found[before][2:]) == 1 and _is_wide(inner[before]):
            raise WrongSymbol(f"its node {node['name']!r} would have maps of 1 x 1")


def _inputs(node, inner):
    return inner[f"{node['name']}_output"].get_children().list_outputs()


def _is_wide(symbol):
    """Whether `symbol` is what a convolution with a kernel of more than 1 x 1 makes."""
    return max(_numbers(symbol.list_attr().get("kernel", "0")), default=0) > 1


def first_line(error):
    """What MXNet says, without the place in its source and its calls."""
    lines = [line for line in str(error).splitlines() if "Error" in line or "Check failed" in line] or [str(error)]
    return re.sub(r"\[[\d:]+\] \S+:\d+: |^\s*\w*Error: ", "", lines[0]).strip()[:200]
