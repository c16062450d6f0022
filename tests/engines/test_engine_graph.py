import mxnet as mx
import numpy as np
import pytest

from gluon_cgd import backbones
from gluon_cgd.engines import graph as symbols


def small():
    data = mx.sym.var("data", shape=(1, 3, 0, 0))
    convolved = mx.sym.Convolution(data, kernel=(3, 3), num_filter=4, no_bias=True, name="convolution")
    return mx.sym.Activation(mx.sym.BatchNorm(convolved, eps=1e-5, name="norm"), act_type="relu", name="relu")


def test_a_graph_has_operators_typed_attributes_inputs_outputs_and_heads():
    graph = symbols.read(small())
    nodes = {node.name: node for node in graph.nodes}
    assert [node.op for node in graph.nodes if node.op != "null"] == ["Convolution", "BatchNorm", "Activation"]
    convolution = nodes["convolution"]
    assert (convolution.value("kernel"), convolution.value("num_filter")) == ((3, 3), 4)
    assert (convolution.value("no_bias"), convolution.value("num_group", 1)) == (True, 1)
    assert (nodes["norm"].value("eps"), nodes["relu"].value("act_type")) == (1e-5, "relu")
    assert [graph.nodes[entry.node].name for entry in convolution.inputs] == ["data", "convolution_weight"]
    assert (nodes["norm"].outputs, nodes["relu"].outputs) == (3, 1)  # a batch norm also gives mean and variance
    assert [graph.nodes[entry.node].name for entry in graph.heads] == ["relu"]


@pytest.mark.parametrize("name", ["cifar_resnet10", "shufflenet_v2", "se_resnet50"])
def test_a_graph_written_back_is_the_same_symbol(name):
    before = backbones.build(name)(mx.sym.var("data"))
    after = symbols.write(symbols.read(before))
    assert after.tojson() == before.tojson()
    assert after.list_auxiliary_states() == before.list_auxiliary_states()


def test_a_changed_graph_computes_what_it_says():
    graph = symbols.read(mx.sym.var("data") * 2.0)
    (node,) = (node for node in graph.nodes if node.op != "null")
    node.attributes["scalar"] = "5.0"
    values = mx.nd.array([1.0, -2.0])
    out = symbols.write(graph).bind(mx.cpu(), {"data": values}).forward()[0]
    np.testing.assert_array_equal(out.asnumpy(), [5, -10])


def test_the_shapes_are_named_by_variable_and_by_operator():
    shapes = symbols.shapes(small(), data=(2, 3, 8, 8))
    assert (shapes["data"], shapes["convolution_weight"]) == ((2, 3, 8, 8), (4, 3, 3, 3))
    assert shapes["relu_output"] == (2, 4, 6, 6)


def test_a_graph_is_read_from_text_without_mxnet(without_mxnet):
    text = small().tojson()
    asked = "import sys; from gluon_cgd.engines import graph; print(graph.text_of(graph.parse(sys.argv[1])))"
    done = without_mxnet("-c", asked, text)
    assert mx.sym.load_json(done.stdout).tojson() == text, done.stderr
