"""Symbols that cannot be computed, or that would do other things, are refused before MXNet computes anything."""

import json
import random

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd.models import symbol

SIDE = 16


class Written:
    """A small network of many operators as two files, and what changes them."""

    def __init__(self, folder):
        self.prefix = str(folder / "m")
        self.save(lambda x: x)

    def save(self, tail, dtype="float32"):
        x = mx.sym.Convolution(mx.sym.var("data"), num_filter=4, kernel=(3, 3), name="conv")
        x = mx.sym.Activation(mx.sym.BatchNorm(x, name="norm"), act_type="relu", name="relu")
        first, second = mx.sym.SliceChannel(x, num_outputs=2, axis=1, name="halves")
        x = mx.sym.Concat(second, first, dim=1, name="joined")
        x = mx.sym.Reshape(x, shape=(0, -4, 2, -1, -2), name="groups")
        x = mx.sym.Reshape(mx.sym.SwapAxis(x, dim1=1, dim2=2), shape=(0, -3, -2), name="shuffled")
        x = mx.sym.Flatten(mx.sym.Pooling(x, global_pool=True, pool_type="avg", name="pool"), name="flat")  # (B, 4)
        x = tail(x)
        shapes = [*zip(x.list_arguments(), x.infer_shape(data=(1, 3, SIDE, SIDE))[0])]
        states = [*zip(x.list_auxiliary_states(), x.infer_shape(data=(1, 3, SIDE, SIDE))[2])]
        self.values = {f"arg:{name}": mx.nd.ones(shape, dtype=dtype) for name, shape in shapes if name != "data"}
        self.values.update({f"aux:{name}": mx.nd.ones(shape, dtype=dtype) for name, shape in states})
        x.save(f"{self.prefix}-symbol.json")
        mx.nd.save(f"{self.prefix}-0000.params", self.values)
        self.graph = json.loads(x.tojson())

    def node(self, name):
        return next(node for node in self.graph["nodes"] if node["name"] == name)

    def load(self, side=SIDE):
        with open(f"{self.prefix}-symbol.json", "w") as file:
            json.dump(self.graph, file)
        return symbol.load_symbol(self.prefix, input_size=side)


@pytest.fixture
def written(tmp_path):
    return Written(tmp_path)


def test_a_network_of_many_operators_is_computed(written):
    pictures = mx.nd.random.uniform(shape=(2, 3, SIDE, SIDE))
    sym, arguments, states = mx.model.load_checkpoint(written.prefix, 0)
    expected = sym.bind(mx.cpu(), {**arguments, "data": pictures}, aux_states=states).forward()[0].asnumpy()
    np.testing.assert_allclose(written.load()(pictures)[0].asnumpy(), expected, rtol=1e-6)


TAILS = {
    "a reshape to more values": (lambda x: mx.sym.Reshape(x, shape=(7, 13), name="r"), "'r' cannot make"),
    "a reshape that leaves some over": (lambda x: mx.sym.Reshape(x, shape=(0, 3), name="r"), "'r' cannot make"),
    "a reshape of a batch of one": (lambda x: mx.sym.Reshape(x, shape=(1, 4), name="r"), "'r' cannot make"),
    "pictures in one row": (lambda x: mx.sym.Reshape(x, shape=(1, -1)), r"first output has the shape \(1, 12\)"),
    "pictures in two rows": (lambda x: mx.sym.Reshape(x, shape=(-1, 2)), r"first output has the shape \(6, 2\)"),
    "feature maps": (lambda x: mx.sym.Reshape(x, shape=(0, 2, 2)), r"first output has the shape \(3, 2, 2\)"),
    "one number a picture": (lambda x: mx.sym.sum(x, axis=1), r"first output has the shape \(3,\)"),
    "a sum over pictures": (lambda x: mx.sym.sum(x, axis=0, keepdims=True), r"first output has the shape \(1, 4\)"),
    "an axis that is not there": (lambda x: mx.sym.softmax(x, axis=7), "axis 7 exceeds"),
}


@pytest.mark.parametrize("kind", TAILS)
def test_what_cannot_be_computed_is_refused_by_a_sentence(written, capsys, kind):
    tail, message = TAILS[kind]
    written.save(tail)
    with pytest.raises(ValueError, match=f"m-symbol.json with .*m-0000.params cannot be .* 16 x 16 pixels.*{message}"):
        written.load()
    assert not capsys.readouterr().out


def test_pictures_of_another_size_are_refused_when_they_come(written):
    written.save(lambda x: mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=2, name="fc"))
    embed = written.load()
    assert embed(mx.nd.zeros((2, 3, SIDE, SIDE)))[0].shape == (2, 2)
    with pytest.raises(ValueError, match="cannot be computed for 32 x 32 pixels .*: check --input-size, or get both"):
        embed(mx.nd.zeros((2, 3, 32, 32)))
    with pytest.raises(ValueError, match="cannot be computed for 64 x 64 pixels"):
        written.load(64)


def test_maps_of_one_position_after_which_a_later_network_would_crash_are_refused(written):
    x = mx.sym.Convolution(mx.sym.var("data"), num_filter=4, kernel=(3, 3), pad=(1, 1), stride=(8, 8), name="conv")
    x = mx.sym.Flatten(mx.sym.Pooling(mx.sym.BatchNorm(x, name="norm"), global_pool=True, pool_type="max"))
    shapes, _, states = x.infer_shape(data=(1, 3, SIDE, SIDE))
    values = {f"arg:{name}": mx.nd.ones(shape) for name, shape in zip(x.list_arguments(), shapes) if name != "data"}
    values.update({f"aux:{name}": mx.nd.ones(shape) for name, shape in zip(x.list_auxiliary_states(), states)})
    mx.nd.save(f"{written.prefix}-0000.params", values)
    written.graph = json.loads(x.tojson())
    assert written.load(16)(mx.nd.ones((2, 3, 16, 16)))[0].shape == (2, 4)
    with pytest.raises(
        ValueError, match=r"cannot be computed for 8 x 8 pixels \(its node 'norm' would have maps of 1 x 1"
    ):
        written.load(8)


@pytest.mark.parametrize("name", ["conv_weight", "norm_gamma", "norm_moving_var"])
def test_a_parameter_of_another_shape_is_refused(written, name):
    kind = "aux" if "moving" in name else "arg"
    mx.nd.save(f"{written.prefix}-0000.params", {**written.values, f"{kind}:{name}": mx.nd.ones((5, 2))})
    with pytest.raises(ValueError, match="cannot be computed for 16 x 16 pixels"):
        written.load()


def test_parameters_of_another_type_are_refused(written):
    written.save(lambda x: x, dtype="float64")
    with pytest.raises(ValueError, match=r"m-0000.params does not go with .*m-symbol.json|cannot be computed"):
        written.load()


@pytest.mark.parametrize("operator", ["Custom", "_NDArray", "_Native", "_CustomFunction", "_cvimread", "_foreach"])
def test_operators_that_call_python_or_read_files_are_refused(written, operator):
    written.node("relu").update(op=operator, attrs={"op_type": "theirs", "info": "12345", "filename": "/etc/passwd"})
    with pytest.raises(ValueError, match=f"symbol.json is not a whole .* 'relu' is the operator '{operator}', which"):
        written.load()


def test_an_unknown_operator_is_named(written):
    written.node("relu")["op"] = "Swish2"
    with pytest.raises(ValueError, match="the operator 'Swish2', which networks of pictures do not need"):
        written.load()


ATTRIBUTES = [
    ("conv", "num_group", "0"),
    ("conv", "num_group", "-1"),
    ("conv", "num_group", "\n 0"),  # MXNet reads it as 0, Python does not
    ("conv", "num_group", "-01"),
    ("conv", "num_filter", "99999999999999999999"),
    ("conv", "stride", "(0, 0)"),
    ("conv", "dilate", "(0, 0)"),
    ("conv", "kernel", "(0, 0)"),
    ("conv", "kernel", "(2147483647, 2147483647)"),
    ("conv", "pad", "(1000000, 1000000)"),
    ("conv", "no_such", "1"),
    ("conv", "layout", "abc"),
    ("halves", "num_outputs", "0"),
    ("halves", "num_outputs", "3"),
    ("halves", "axis", "9"),
    ("joined", "dim", "9"),
    ("joined", "num_args", "100"),
    ("groups", "shape", "(0, -4, 0, 0, -2)"),
    ("groups", "shape", "(-7, -8)"),
    ("pool", "pool_type", "none"),
]


@pytest.mark.parametrize(("name", "attribute", "value"), ATTRIBUTES)
def test_attributes_that_cannot_be_are_refused(written, name, attribute, value):
    written.node(name)["attrs"][attribute] = value
    with pytest.raises(ValueError, match=r"m-symbol.json (is not a whole file of MXNet|with .* cannot be computed)"):
        written.load()


def test_a_symbol_that_python_2_wrote_is_computed(written):
    assert (written.node("conv")["attrs"]["kernel"], written.node("groups")["attrs"]["shape"][:6]) == (
        "(3, 3)",
        "(0, -4",
    )
    written.node("conv")["attrs"]["kernel"] = "(3L, 3L)"
    written.node("groups")["attrs"]["shape"] = "(0L, -4L, 2L, -1L, -2L)"
    assert written.load()(mx.nd.zeros((2, 3, SIDE, SIDE)))[0].shape == (2, 4)
    written.node("conv")["attrs"]["kernel"] = "(3L, 0L)"
    with pytest.raises(ValueError, match=r"its node 'conv' has kernel=\(3L, 0L\)"):
        written.load()


def takes(name, *entries):
    return lambda written: written.node(name).update(inputs=list(entries))


GRAPHS = {
    "a list": lambda written: setattr(written, "graph", []),
    "no nodes": lambda written: written.graph.update(nodes=[]),
    "no output": lambda written: written.graph.update(heads=[]),
    "an output of words": lambda written: written.graph.update(heads=[["a", 0, 0]]),
    "an output that is not there": lambda written: written.graph.update(heads=[[10**6, 0, 0]]),
    "a negative output": lambda written: written.graph.update(heads=[[-1, 0, 0]]),
    "a third half": lambda written: written.node("joined").update(inputs=[[9, 2, 0], [9, 7, 0]]),
    "a node of itself": lambda written: [node.update(inputs=[[place, 0, 0]]) for place, node in
                                         enumerate(written.graph["nodes"]) if node["name"] == "relu"],
    "a node that comes later": takes("relu", [12, 0, 0]),
    "a node that is not there": takes("relu", [2**31, 0, 0]),
    "a negative node": takes("relu", [-5, 0, 0]),
    "inputs of words": takes("relu", "ab"),
    "an input of true": takes("relu", [True, 0, 0]),
    "a name of numbers": lambda written: written.node("relu").update(name=5),
    "attributes of numbers": lambda written: written.node("relu").update(attrs={"act_type": 5}),
    "attributes in a list": lambda written: written.node("relu").update(attrs=["act_type"]),
    "a graph inside": lambda written: written.node("relu").update(subgraphs=[{"nodes": []}]),
    "one name twice": lambda written: written.node("conv_bias").update(name="conv_weight"),
    "too many nodes": lambda written: written.graph["nodes"].extend([written.node("relu")] * 20_000),
}  # fmt: skip


@pytest.mark.parametrize("kind", GRAPHS)
def test_a_graph_that_cannot_be_is_refused(written, kind):
    GRAPHS[kind](written)
    with pytest.raises(ValueError, match=r"m-symbol.json is not a whole file of MXNet: get both again \(.+\)"):
        written.load()


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"nodes": ' * 1000, "\0\0\0", "null", '"nodes"'])
def test_a_file_that_is_no_graph_is_refused(written, text):
    with open(f"{written.prefix}-symbol.json", "w") as file:
        file.write(text)
    with pytest.raises(ValueError, match="m-symbol.json is not a whole file of MXNet: get both again"):
        symbol.load_symbol(written.prefix)


def test_what_the_embedding_does_not_need_is_left_out(written):
    place = len(written.graph["nodes"])
    written.graph["nodes"].append({"op": "Custom", "name": "loss", "attrs": {"op_type": "x"}, "inputs": [[0, 0, 0]]})
    written.graph["heads"].append([place, 0, 0])
    assert written.load()(mx.nd.zeros((2, 3, SIDE, SIDE)))[0].shape == (2, 4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_two_hundred_damaged_graphs_are_computed_or_refused(written, seed):
    rng, whole, counts = random.Random(seed), json.dumps(written.graph), {"computed": 0, "refused": 0}
    values = ["0", "-1", "1", "2", "7", "2147483647", "99999999999", "(0, 0)", "()", "(-1, -1)", "(3, 3, 3)", "(0, -1)"]
    values += ["None", "True", "nan", "abc", "", "(-4, -1, -1)", "(-3, -3)", "(-5, 2)", "-2"]
    for _ in range(200):
        written.graph = json.loads(whole)
        node = rng.choice(written.graph["nodes"])
        attributes, inputs = node.setdefault("attrs", {}), node["inputs"]
        action = rng.random()
        if action < 0.7 and attributes:
            attributes[rng.choice(list(attributes))] = rng.choice(values)
        elif action < 0.8 and attributes:
            attributes.pop(rng.choice(list(attributes)))
        elif action < 0.9 and inputs:
            rng.choice(inputs)[0] = rng.randrange(-1, len(written.graph["nodes"]) + 1)
        else:
            inputs.append([rng.randrange(len(written.graph["nodes"])), rng.choice([0, 1, 9]), 0])
        try:
            assert written.load()(mx.nd.ones((2, 3, SIDE, SIDE)))[0].asnumpy().shape[0] == 2
            counts["computed"] += 1
        except ValueError as error:
            assert "m-symbol.json" in str(error)  # noqa: PT017
            counts["refused"] += 1
    assert min(counts.values()) > 20
