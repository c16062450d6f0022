"""ONNX files as backbones: each operator and whole networks beside ONNX Runtime, and what is refused."""

import mxnet as mx
import numpy as np
import onnx
import onnxruntime
import pytest

from gluon_cgd import backbones
from gluon_cgd.networks import onnx_network
from tests.networks.onnx_files import network, node, write

onnxruntime.set_default_logger_severity(3)
RNG = np.random.default_rng(0)


def weight(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


POSITIVE = RNG.uniform(0.5, 2, 4).astype(np.float32)
LONG = np.int64
# operator, its other inputs, its attributes, opset: of maps m (N, 4, 8, 8), which a convolution makes of pictures
OPERATORS = {
    "Conv in groups, dilated, unequal borders": (
        "Conv",
        [weight(6, 2, 3, 3), weight(6)],
        dict(group=2, dilations=[2, 2], pads=[1, 0, 2, 3]),
    ),
    "Conv, SAME_UPPER": ("Conv", [weight(6, 4, 3, 3)], dict(auto_pad="SAME_UPPER", strides=[2, 2])),
    "Conv, SAME_LOWER": ("Conv", [weight(6, 4, 4, 4)], dict(auto_pad="SAME_LOWER")),
    "BatchNormalization": ("BatchNormalization", [POSITIVE, weight(4), weight(4), POSITIVE], dict(epsilon=1e-2)),
    "MaxPool, rounded up": ("MaxPool", [], dict(kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)),
    "MaxPool, unequal borders": ("MaxPool", [], dict(kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])),
    "AveragePool": ("AveragePool", [], dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])),
    "AveragePool, counted": (
        "AveragePool",
        [],
        dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    ),
    "GlobalAveragePool": ("GlobalAveragePool", [], {}),
    "GlobalMaxPool": ("GlobalMaxPool", [], {}),
    "ReduceMean": ("ReduceMean", [], dict(axes=[2, 3])),
    "ReduceMean, axes as an input": ("ReduceMean", [np.array([-1, 2], LONG)], {}, 18),
    "Add of a bias": ("Add", [weight(4, 1, 1)], {}),
    "Sub of a constant": ("Sub", [weight(4, 1, 1)], {}),
    "Mul by a number": ("Mul", [np.float32(0.3)], {}),
    "Div by a number": ("Div", [np.float32(0.3)], {}),
    "Relu": ("Relu", [], {}),
    "Sigmoid": ("Sigmoid", [], {}),
    "Tanh": ("Tanh", [], {}),
    "Softplus": ("Softplus", [], {}),
    "Exp": ("Exp", [], {}),
    "Neg": ("Neg", [], {}),
    "Abs": ("Abs", [], {}),
    "LeakyRelu": ("LeakyRelu", [], dict(alpha=0.2)),
    "Elu": ("Elu", [], dict(alpha=0.7)),
    "Selu": ("Selu", [], {}),
    "PRelu": ("PRelu", [weight(4, 1, 1)], {}),
    "Clip by inputs": ("Clip", [np.float32(-0.5), np.float32(0.7)], {}),
    "Clip by attributes": ("Clip", [], dict(min=-0.5, max=0.7), 9),
    "Clip on one side": ("Clip", [np.float32(0.1)], {}),
    "HardSigmoid": ("HardSigmoid", [], dict(alpha=0.3, beta=0.4)),
    "HardSwish": ("HardSwish", [], {}),
    "Slice": ("Slice", [np.array([1, -3], LONG), np.array([9, 99], LONG), np.array([1, 3], LONG)], {}),
    "Slice with steps": ("Slice", [np.array([0]), np.array([8]), np.array([2]), np.array([2])], {}),
    "Transpose": ("Transpose", [], dict(perm=[0, 2, 3, 1])),
    "Reshape that splits": ("Reshape", [np.array([0, 2, 2, 8, 8], LONG)], {}),
    "Reshape that flattens": ("Reshape", [np.array([-1, 256], LONG)], {}),
    "Flatten": ("Flatten", [], {}),
    "Unsqueeze": ("Unsqueeze", [np.array([2], LONG)], {}),
    "Pad": ("Pad", [np.array([0, 0, 1, 0, 0, 0, 2, 3], LONG), np.float32(0.5)], {}),
    "Cast": ("Cast", [], dict(to=1)),
    "Dropout": ("Dropout", [], {}),
    "LRN": ("LRN", [], dict(size=3, alpha=0.3, beta=0.6, bias=1.5)),
    "Softmax": ("Softmax", [], dict(axis=1)),
    "Softmax, before opset 13": ("Softmax", [], dict(axis=-1), 11),
    "MatMul": ("MatMul", [weight(8, 5)], {}),
}


def computed(file, pictures, name="out"):
    """The tensor `name` by ONNX Runtime."""
    model = onnx.load(str(file))
    if name != "out":
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return onnxruntime.InferenceSession(model.SerializeToString()).run([name], {"x": pictures})[0]


def by_mxnet(file, pictures, target="out"):
    """The same by MXNet."""
    model = onnx_network.load(file)
    nodes = [onnx_network.Node(one, file) for one in model.graph.node]
    graph, _, values = onnx_network.converted(model, nodes, target, pictures.shape[2])
    from gluon_cgd.engines import graph as symbols

    arrays = {name: mx.nd.array(value) for name, value in {**values, "data": pictures}.items()}
    symbol = symbols.write(graph)
    given = {name: arrays[name] for name in symbol.list_arguments()}
    states = {name: arrays[name] for name in symbol.list_auxiliary_states()}
    return symbol.bind(mx.cpu(), given, aux_states=states).forward()[0].asnumpy()


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_computes_what_onnx_runtime_does(name, tmp_path):
    operator, others, attributes, *opset = OPERATORS[name]
    first = node("Conv", ["x", "first"], "m", kernel_shape=[4, 4], strides=[4, 4])
    constants = {"first": weight(4, 3, 4, 4), **{f"c{number}": value for number, value in enumerate(others)}}
    nodes = [first, node(operator, ["m", *(f"c{number}" for number in range(len(others)))], "out", **attributes)]
    file = write(tmp_path / "one.onnx", nodes, constants, opset=opset[0] if opset else 17)
    pictures = RNG.standard_normal((2, 3, 32, 32)).astype(np.float32)
    expected = computed(file, pictures)
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(by_mxnet(file, pictures), expected, rtol=1e-4, atol=1e-5)


def test_two_maps_and_shapes_that_are_computed(tmp_path):
    """As PyTorch writes ShuffleNet: halves, sizes by Shape and Gather, and constants before the array."""
    constants = {"w": weight(4, 3, 4, 4), "one": np.array(1), "two": np.array(2), "half": np.array([2, 2])}
    constants.update(c=np.array([2]), rest=np.array([8, 8]), minus=np.array([-1]), zero=np.array([0]), o=np.float32(1))
    nodes = [
        node("Conv", ["x", "w"], "m", kernel_shape=[4, 4], strides=[4, 4]),
        node("Split", ["m", "half"], ["left", "right"], axis=1),
        node("Concat", ["right", "left"], "both", axis=1),
        node("Shape", ["both"], "sizes"),
        node("Gather", ["sizes", "one"], "channels"),
        node("Div", ["channels", "two"], "group"),
        node("Unsqueeze", ["group", "zero"], "of"),
        node("Concat", ["minus", "c", "of", "rest"], "wanted", axis=0),
        node("Reshape", ["both", "wanted"], "groups"),
        node("Transpose", ["groups"], "turned", perm=[0, 2, 1, 3, 4]),
        node("Reshape", ["turned", "shape"], "joined"),
        node("Sub", ["o", "joined"], "less"),
        node("Mul", ["less", "both"], "out"),
    ]
    file = write(tmp_path / "two.onnx", nodes, {**constants, "shape": np.array([-1, 4, 8, 8])})
    pictures = RNG.standard_normal((2, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(by_mxnet(file, pictures), computed(file, pictures), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", ["view", "unsqueeze", "unsqueeze twice"])
def test_a_squeeze_and_excitation_of_fc_layers_weighs_maps(way, tmp_path):
    """As PyTorch writes x * fc(pool(x).view(B, C)).view(B, C, 1, 1)."""
    constants = {"w": weight(4, 3, 4, 4), "down": weight(2, 4), "b2": weight(2), "up": weight(4, 2), "b4": weight(4)}
    constants.update(flat=np.array([-1, 4]), map=np.array([-1, 4, 1, 1]), ends=np.array([2, 3]), end=np.array([2]))
    shaped = {
        "view": [node("Reshape", ["weights", "map"], "gate")],
        "unsqueeze": [node("Unsqueeze", ["weights", "ends"], "gate")],
        "unsqueeze twice": [node("Unsqueeze", ["weights", "end"], "1"), node("Unsqueeze", ["1", "end"], "gate")],
    }
    nodes = [
        node("Conv", ["x", "w"], "m", kernel_shape=[4, 4], strides=[4, 4]),
        node("GlobalAveragePool", ["m"], "mean"),
        node("Reshape", ["mean", "flat"], "means"),
        node("Gemm", ["means", "down", "b2"], "few", transB=1),
        node("Relu", ["few"], "positive"),
        node("Gemm", ["positive", "up", "b4"], "all", transB=1),
        node("Sigmoid", ["all"], "weights"),
        *shaped[way],
        node("Mul", ["m", "gate"], "out"),
    ]
    file = write(tmp_path / "se.onnx", nodes, constants)
    pictures = RNG.standard_normal((2, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(by_mxnet(file, pictures), computed(file, pictures), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [64, 96])
def test_the_features_of_a_file_are_those_of_onnx_runtime_at_every_size(side, tmp_path):
    last = network(tmp_path / "Net.onnx")
    backbone = backbones.build(f"onnx:{tmp_path / 'Net.onnx'}", pretrained=True, keep_stride=True, input_size=side)
    pictures = RNG.standard_normal((2, 3, side, side)).astype(np.float32)
    model = onnx.load(str(tmp_path / "Net.onnx"))
    for size in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        size.dim_param = "side"
    onnx.save(model, str(tmp_path / "free.onnx"))
    expected = computed(tmp_path / "free.onnx", pictures, last)
    assert expected.shape == (2, 24, side // 32, side // 32) == (2, *backbone.map_shape(side))
    plain = backbone(mx.nd.array(pictures)).asnumpy()
    backbone.hybridize()
    for found in (plain, backbone(mx.nd.array(pictures)).asnumpy()):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_stride_rule_says_what_it_did(tmp_path, caplog):
    caplog.set_level("INFO")
    name = f"onnx:{network(tmp_path / 'Net.onnx') and tmp_path / 'Net.onnx'}"
    without, kept = (backbones.build(name, keep_stride=keep, input_size=64) for keep in (None, True))
    assert (without.map_shape(64), kept.map_shape(64)) == ((24, 4, 4), (24, 2, 2))
    removed, stays = (record.getMessage() for record in caplog.records if "the last map is" in record.getMessage())
    assert "the last down-sampling is removed (section 3.1): stride 1 in /Conv_" in removed
    assert "24 channels, 14 x 14 at 224 pixels" in removed
    assert "the last down-sampling stays: stride 2 in /Conv_" in stays
    network(tmp_path / "flat.onnx", stride=False)
    flat = backbones.build(f"onnx:{tmp_path / 'flat.onnx'}", input_size=64)
    assert flat.map_shape(64) == (24, 4, 4)
    assert "there is no down-sampling from a 16th to a 32nd" in caplog.records[-1].getMessage()
    one = write(tmp_path / "one.onnx", [node("Conv", ["x", "w"], "out")], {"w": weight(4, 3, 1, 1)})
    with pytest.raises(ValueError, match="leave keep_stride at None"):
        backbones.build(f"onnx:{one}", keep_stride=False)


def test_another_file_of_the_same_network_gives_its_weights(tmp_path):
    network(tmp_path / "Net.onnx")
    model = onnx.load(str(tmp_path / "Net.onnx"))
    first = model.graph.initializer[0]
    first.CopyFrom(onnx.numpy_helper.from_array(2 * onnx.numpy_helper.to_array(first), first.name))
    onnx.save(model, str(tmp_path / "other.onnx"))
    name = f"onnx:{tmp_path / 'Net.onnx'}"
    own, other = (
        backbones.build(name, pretrained=True, weights=weights).collect_params()["model_0_weight"].data().asnumpy()
        for weights in (None, tmp_path / "other.onnx")
    )
    np.testing.assert_allclose(other, 2 * own)
    with pytest.raises(ValueError, match="is an ONNX file, and this backbone is of another library"):
        backbones.build("gluoncv2:resnet20_cifar10", pretrained=True, weights=tmp_path / "other.onnx")


def refused(tmp_path, nodes, constants=None, features="", **more):
    file = write(tmp_path / "bad.onnx", nodes, constants, **more)
    with pytest.raises(ValueError) as raised:  # noqa: PT011 each test says what is in the sentence
        backbones.build(f"onnx:{file}", features=features, input_size=64)
    return str(raised.value)


def test_what_is_no_backbone_is_refused_in_a_sentence(tmp_path):
    convolution, w = node("Conv", ["x", "w"], "m"), {"w": weight(4, 3, 1, 1)}
    said = refused(tmp_path, [convolution, node("Det", ["m"], "out")], w)
    assert "has an operator Det that is not known (output out)" in said
    assert "--features, otherwise make it a named backbone of your own" in said
    said = refused(tmp_path, [node("Add", ["x", "y"], "out")], inputs=dict(x=(1, 3, 8, 8), y=(1, 3, 8, 8)))
    assert "has 2 inputs (x, y), and a backbone has one" in said
    said = refused(tmp_path, [node("Relu", ["x"], "out")], inputs=dict(x=("N", 224, 224, 3)))
    assert "takes ('?', 224, 224, 3) as x, and a backbone takes pictures (B, 3, H, W)" in said
    said = refused(tmp_path, [node("GlobalAveragePool", ["x"], "out")])
    assert "has no last map" in said
    said = refused(tmp_path, [convolution, node("GlobalAveragePool", ["m"], "out")], w, features="n")
    assert "features 'n' is no node of onnx:" in said
    assert "the last maps (channels, height, width) are m (4, 224, 224)" in said
    said = refused(tmp_path, [convolution, node("GlobalAveragePool", ["m"], "out")], w, features="out")
    assert "is no map (B, C, h, w)" in said
    fixed = [node("Reshape", ["m", "s"], "f"), node("Reshape", ["f", "t"], "n"), node("GlobalMaxPool", ["n"], "out")]
    more = {**w, "s": np.array([1, 2, 2, 32, 32]), "t": np.array([1, 4, 32, 32]), "v": weight(3, 4, 1, 1)}
    said = refused(tmp_path, [convolution, *fixed[:2], node("Conv", ["n", "v"], "out")], more)
    assert "input_size 64 does not go with backbone onnx:" in said
    assert said.endswith("take 32")
    (tmp_path / "text.onnx").write_text("no network")
    for file, fault in (
        ("text.onnx", "is not a whole ONNX file"),
        ("none.onnx", "does not exist"),
        (".", "is a folder"),
    ):
        with pytest.raises(ValueError, match=fault):
            backbones.build(f"onnx:{tmp_path / file}")


@pytest.mark.parametrize(
    ("operator", "others", "attributes", "opset", "how"),
    [
        ("Conv", [weight(6, 4, 3, 3)], dict(pads=[-1, -1, -1, -1]), 17, "with borders below zero"),  # MXNet crashed
        ("MaxPool", [], dict(kernel_shape=[3, 3], pads=[-1, 0, 0, 0]), 17, "with borders below zero"),
        ("Softmax", [], dict(axis=1), 11, "along several axes, as before opset 13"),
        ("Softmax", [], {}, 11, "along several axes, as before opset 13"),
        ("Add", [weight(4)], dict(axis=1, broadcast=1), 6, "along an axis, as before opset 7"),
        ("Selu", [], dict(alpha=1.0), 17, "with an alpha or gamma of its own"),
        ("MaxPool", [], {}, 17, "in a form that is not known (TypeError: "),
        ("Relu", [weight(4)], {}, 17, "in a form that is not known (TypeError: "),
    ],
)
def test_a_form_of_an_operator_that_mxnet_would_compute_otherwise_is_refused(
    operator, others, attributes, opset, how, tmp_path
):
    constants = {"w": weight(4, 3, 1, 1), **{f"c{number}": value for number, value in enumerate(others)}}
    last = node(operator, ["m", *(name for name in constants if name != "w")], "out", **attributes)
    said = refused(tmp_path, [node("Conv", ["x", "w"], "m"), last], constants, opset=opset)
    assert f"bad.onnx has an operator {operator} {how}" in said


@pytest.mark.parametrize(("operator", "count"), [("Conv", 1), ("Conv", 2), ("PRelu", 1), ("Clip", 1)])
def test_a_tensor_where_an_operator_takes_constants_is_refused_in_a_sentence(operator, count, tmp_path):
    inputs = ["m", *(["w"] if count == 2 else []), "m"]
    said = refused(tmp_path, [node("Conv", ["x", "w"], "m"), node(operator, inputs, "out")], {"w": weight(3, 3, 1, 1)})
    assert f"bad.onnx has an operator {operator} " in said


def without_an_output(model):
    del model.graph.node[0].output[:]


def of_another_length(model):
    model.graph.initializer[0].raw_data = b"1234567"


def of_another_type(model):
    model.graph.initializer[0].data_type = 99


@pytest.mark.parametrize("damage", [without_an_output, of_another_length, of_another_type])
def test_a_damaged_file_is_refused_in_a_sentence(damage, tmp_path):
    network(tmp_path / "Net.onnx")
    model = onnx.load(str(tmp_path / "Net.onnx"))
    damage(model)
    (tmp_path / "bad.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"bad\.onnx is not a whole ONNX file: export the network again"):
        backbones.build(f"onnx:{tmp_path / 'bad.onnx'}", pretrained=True, input_size=64)


def test_a_file_that_may_have_no_classifier_asks_and_an_unknown_operator_behind_the_map_is_none(tmp_path):
    constants = {"w": weight(4, 3, 1, 1), "v": weight(6, 4, 1, 1)}
    nodes = [node("Conv", ["x", "w"], "first"), node("Conv", ["first", "v"], "second")]
    said = refused(tmp_path, [*nodes, node("GlobalAveragePool", ["second"], "out")], constants)
    assert "if so, say --features first, and if it has none, --features second" in said
    strange = write(tmp_path / "strange.onnx", [*nodes, node("Det", ["second"], "out")], constants)
    assert backbones.build(f"onnx:{strange}", features="second").channels == 6
