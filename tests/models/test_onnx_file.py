"""ONNX files that name other files, or that are not what their metadata say: sentences, whatever the runtime."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gluon_cgd.models import onnx_file, onnx_model


@pytest.fixture
def model(exported):
    return onnx.load(str(exported / "model.onnx"))


@pytest.fixture
def written(tmp_path):
    def write(model):
        (tmp_path / "other.onnx").write_bytes(model.SerializeToString())
        return tmp_path / "other.onnx"

    return write


def outside(name="secret", location="/etc/hostname", shape=(2,)):
    """A tensor whose values are the bytes of another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def weight(model):
    """The first initialiser of several bytes."""
    return next(tensor for tensor in model.graph.initializer if len(tensor.raw_data) > 100)


def as_initialiser(model):
    weight(model).MergeFrom(outside(shape=()))


def by_its_mark_alone(model):
    weight(model).data_location = TensorProto.EXTERNAL


def by_its_place_alone(model):
    weight(model).external_data.add(key="location", value="model.bin")


def as_attribute(model):
    model.graph.node.insert(0, helper.make_node("Constant", [], ["constant"], value=outside()))


def as_list(model):
    model.graph.node.insert(0, helper.make_node("Constant", [], ["constant"], tensors=[outside()]))


def as_sparse_values(model):
    model.graph.sparse_initializer.append(
        onnx.SparseTensorProto(values=outside(), indices=numpy_helper.from_array(np.int64([0, 1])), dims=[4])
    )


def as_sparse_indices(model):
    sparse = onnx.SparseTensorProto(values=numpy_helper.from_array(np.float32([0, 1])), indices=outside(), dims=[4])
    model.graph.node.insert(0, helper.make_node("Constant", [], ["constant"], sparse_value=sparse))


def in_a_branch(model):
    branch = helper.make_graph([helper.make_node("Identity", ["secret"], ["b"])], "b", [], [], [outside()])
    model.graph.node.insert(0, helper.make_node("If", ["c"], ["r"], then_branch=branch, else_branch=branch))


def in_a_branch_of_a_branch(model):
    inner = helper.make_graph([helper.make_node("Constant", [], ["k"], value=outside())], "b", [], [])
    middle = helper.make_graph([helper.make_node("If", ["c"], ["r"], then_branch=inner)], "m", [], [])
    model.graph.node.insert(0, helper.make_node("Loop", ["c"], ["r"], body=middle))


def in_a_function(model):
    node = helper.make_node("Constant", [], ["k"], value=outside())
    model.functions.append(helper.make_function("own", "f", [], ["k"], [node], [helper.make_opsetid("", 13)]))


def in_training(model):
    model.training_info.add().algorithm.initializer.append(outside())


EXTERNAL = [as_initialiser, by_its_mark_alone, by_its_place_alone, as_attribute, as_list, as_sparse_values]
EXTERNAL += [as_sparse_indices, in_a_branch, in_a_branch_of_a_branch, in_a_function, in_training]


@pytest.mark.parametrize("name", onnx_model.RUNTIMES)
@pytest.mark.parametrize("change", EXTERNAL)
def test_tensors_in_other_files_are_refused_before_a_runtime_sees_them(model, written, monkeypatch, name, change):
    change(model)
    monkeypatch.setitem(onnx_model.RUNTIMES, name, lambda data: pytest.fail("the runtime was asked"))
    with pytest.raises(ValueError, match="other.onnx keeps its tensor '.*' in another file, .*: it is not run; export"):
        onnx_model.load_exported(written(model), name)


def field(number, data, upper=0):
    """The bytes of a field that holds `data`, fewer than 128; upper: bits of its tag above the 32 that count."""
    tag, written = number << 3 | 2 | upper << 32, []
    while tag > 127:
        written.append(tag & 127 | 128)
        tag >>= 7
    return bytes([*written, tag, len(data)]) + data


@pytest.mark.parametrize(("upper", "message"), [(0, "its tensor 'secret' in another file"), (1, "too large a number")])
def test_a_tag_of_more_bits_than_a_runtime_reads_hides_nothing(upper, message):
    """ONNX Runtime takes the lower 32 bits, and reads external_data."""
    tensor = field(8, b"secret") + field(13, field(1, b"location") + field(2, b"/etc/hostname"), upper)
    with pytest.raises(ValueError, match=message):
        onnx_file.check_inside(field(7, field(5, tensor)), "model.onnx")


def test_a_model_in_one_file_is_walked_without_complaint(exported):
    whole = (exported / "model.onnx").read_bytes()
    onnx_file.check_inside(whole, "model.onnx")
    for length in (0, 1, 9, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ValueError, match="cut off|no graph"):
            onnx_file.check_inside(whole[:length], "model.onnx")
    for broken in (b"\x3b", b"\x38\x01", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\xff" * 20):
        with pytest.raises(ValueError, match="cut off|unknown kind|a number in place"):
            onnx_file.check_inside(broken, "model.onnx")


def test_a_file_of_endless_fields_is_refused(monkeypatch):
    monkeypatch.setattr(onnx_file, "FIELDS", 1000)
    onnx_file.check_inside(b"\x08\x07" * 900 + b"\x3a\x00", "model.onnx")
    with pytest.raises(ValueError, match="too many fields"):
        onnx_file.check_inside(b"\x08\x07" * 1100 + b"\x3a\x00", "model.onnx")


def renamed(model, old, new):
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for end in (*model.graph.input, *model.graph.output):
        end.name = new if end.name == old else end.name


def other_input(model):
    renamed(model, "pictures", "data")


def other_output(model):
    renamed(model, "embedding", "out")


def float_input(model):
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def fixed_batch(model):
    dim = model.graph.input[0].type.tensor_type.shape.dim[0]
    dim.Clear()
    dim.dim_value = 1


def channels_first(model):
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim[1:], (3, 16, 16)):
        dim.dim_value = size
    next(node for node in model.graph.node if node.op_type == "Transpose").attribute[0].ints[:] = (0, 1, 2, 3)


def second_input(model):
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    model.graph.node.append(helper.make_node("Identity", ["more"], ["more_out"]))
    model.graph.output.append(helper.make_tensor_value_info("more_out", TensorProto.FLOAT, [1]))


def replaced_output(kind, shape, operator, **attributes):
    def change(model):
        renamed(model, "embedding", "inner")
        model.graph.output[0].name = "embedding"
        model.graph.node.append(helper.make_node(operator, ["inner"], ["embedding"], **attributes))
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("embedding", kind, shape))

    return change


ENDS = {
    "another input": (other_input, "lacks the input 'pictures'"),
    "another output": (other_output, "lacks the output 'embedding'"),
    "float pictures": (float_input, "has the input 'pictures' of float32"),
    "one picture at a time": (
        fixed_batch,
        r"has the input 'pictures' of uint8 \(1, 16, 16, 3\) in place of uint8 \(N, 1",
    ),
    "channels first": (channels_first, r"has the input 'pictures' of uint8 \(N, 3, 16, 16\)"),
    "two inputs": (second_input, "has the input 'more'"),
    "whole numbers": (replaced_output(TensorProto.INT64, ["N", 8], "Cast", to=7), "has the output 'embedding' of"),
    "half precision": (replaced_output(TensorProto.FLOAT16, ["N", 8], "Cast", to=10), "has the output 'embedding' of"),
    "one number": (
        replaced_output(TensorProto.FLOAT, ["N", 1], "ReduceSum", keepdims=1),
        "has the output 'embedding' of",
    ),
    "rank 1": (replaced_output(TensorProto.FLOAT, ["N"], "ArgMax"), "is not a whole ONNX file|has the output"),
}


@pytest.mark.parametrize("name", onnx_model.RUNTIMES)
@pytest.mark.parametrize("case", ENDS)
def test_other_inputs_and_outputs_are_refused(model, written, name, case):
    change, message = ENDS[case]
    change(model)
    with pytest.raises(ValueError, match=f"other.onnx .*({message}|is not a whole ONNX file that {name} can run)"):
        onnx_model.load_exported(written(model), name)


@pytest.mark.parametrize("name", onnx_model.RUNTIMES)
def test_an_output_that_is_not_what_the_file_declares_is_refused(model, written, name):
    """(N, 1) would be spread over the 8 numbers of each embedding."""
    renamed(model, "embedding", "inner")
    axes = numpy_helper.from_array(np.int64([1]), "only_axis")
    model.graph.initializer.append(axes)
    model.graph.node.append(helper.make_node("ReduceSum", ["inner", "only_axis"], ["embedding"], keepdims=1))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", "D"]))
    with pytest.raises(ValueError, match=r"other.onnx (gives float32 of shape \(2, 1\) as 'embedding'|has the output)"):
        onnx_model.load_exported(written(model), name).embed(np.zeros((2, 16, 16, 3), np.uint8))


@pytest.mark.parametrize("name", onnx_model.RUNTIMES)
def test_a_graph_that_fails_while_it_computes_is_a_sentence(model, written, name):
    renamed(model, "embedding", "inner")
    model.graph.initializer.append(numpy_helper.from_array(np.int64([7, 13]), "sizes"))
    model.graph.node.append(helper.make_node("Reshape", ["inner", "sizes"], ["embedding"]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", "D"]))
    words = (
        f"other.onnx (cannot be computed|gives float32 of shape|has the output|is not a whole ONNX file that {name})"
    )
    with pytest.raises(ValueError, match=words):
        onnx_model.load_exported(written(model), name).embed(np.zeros((2, 16, 16, 3), np.uint8))


METADATA = {
    "dim: true": ({"dim": True}, "no sizes"),
    "dim: a text": ({"dim": "8"}, "no sizes"),
    "dim: another": ({"dim": 16}, "dim 16 and an experiment with 8"),
    "input_size: true": ({"input_size": True}, "no sizes"),
    "input_size: another": ({"input_size": 32}, "input_size 32 and an experiment with 16"),
    "input_size: negative": ({"input_size": -16}, "input_size -16"),
    "name: a number": ({"name": 5}, "no text as name"),
    "name: missing": ({"name": None}, "no text as name"),
    "hash: a list": ({"parameters_sha256": []}, "no text as name or parameters_sha256"),
    "features: words": ({"features": ["a", "b", "c"]}, "no shape as features"),
    "features: true": ({"features": [128, True, 4]}, "no shape as features"),
    "features: negative": ({"features": [128, -4, 4]}, "no shape as features"),
    "features: a number": ({"features": 3}, "no shape as features"),
    "projections: true": ({"projections": True}, "no shape as projections"),
    "an experiment of words": ({"experiment": {"dim": "many"}}, "dim 'many' must be a whole number"),
    "an experiment of lists": ({"experiment": {"descriptors": ["S", "M"]}}, "descriptors .* must be a word"),
    "an unknown field": ({"experiment": {"colour": 1}}, "unknown experiment field 'colour'"),
    "an experiment in a list": ({"experiment": [1]}, "no experiment"),
}


@pytest.mark.parametrize("name", onnx_model.RUNTIMES)
@pytest.mark.parametrize("case", METADATA)
def test_metadata_of_another_type_are_refused(model, written, name, case):
    change, message = METADATA[case]
    found = {prop.key: prop.value for prop in model.metadata_props}
    helper.set_model_props(model, {**found, **{key: json.dumps(value) for key, value in change.items()}})
    with pytest.raises(ValueError, match=rf"other.onnx is not a model that this version .*\(.*{message}.* in its meta"):
        onnx_model.load_exported(written(model), name)


@pytest.mark.parametrize("text", ["[" * 100_000, "NaN", "1" * 5000, "", '"\\ud800"', "1e999", "\x1b[31m"])
def test_metadata_that_no_reader_takes_are_refused(model, written, text):
    found = {prop.key: prop.value for prop in model.metadata_props}
    helper.set_model_props(model, {**found, "dim": text})
    with pytest.raises(ValueError, match="other.onnx is not a model that this version"):
        onnx_model.load_exported(written(model))


@pytest.mark.parametrize("name", onnx_model.RUNTIMES)
@pytest.mark.parametrize("kind", ["raw", "floats", "attribute"])
def test_a_tensor_that_is_nan_is_refused_before_a_relu_hides_it(model, written, name, kind):
    values = np.float32([1, 2, np.nan, 3])
    if kind == "attribute":
        tensor = numpy_helper.from_array(values, "bad")
        model.graph.node.insert(0, helper.make_node("Constant", [], ["constant"], value=tensor))
    else:
        tensor = numpy_helper.from_array(values, "bad")
        if kind == "floats":
            tensor = helper.make_tensor("bad", TensorProto.FLOAT, [4], values)
            assert tensor.float_data
        model.graph.initializer.append(tensor)
    with pytest.raises(ValueError, match="other.onnx holds NaN in its tensor 'bad': the training diverged"):
        onnx_model.load_exported(written(model), name)
    tensor = numpy_helper.from_array(np.float32([np.inf, -np.inf]), "bound")
    whole = model if kind == "attribute" else onnx.ModelProto.FromString(model.SerializeToString())
    del whole.graph.node[0 : kind == "attribute"], whole.graph.initializer[len(whole.graph.initializer) :]
    if kind != "attribute":
        whole.graph.initializer.pop()
    whole.graph.initializer.append(tensor)
    assert onnx_model.load_exported(written(whole), name).dim == 8
