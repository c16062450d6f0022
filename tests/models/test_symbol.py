import json

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd import backbones, model
from gluon_cgd.models import symbol
from gluon_cgd.models.opened import load_trained


@pytest.fixture
def released(tmp_path):
    """A small CGD in the authors' format, and itself: embedding, logits and branches are the symbol's outputs."""
    mx.random.seed(0)
    net = model.CGD(backbones.build("cifar_resnet10"), "MG", 8, classes=3)
    net.initialize()
    net.hybridize()
    net(mx.nd.zeros((1, 3, 16, 16)))
    net.export(str(tmp_path / "CGD.CUB200"), epoch=0)
    return net, str(tmp_path / "CGD.CUB200")


def test_the_first_output_of_the_symbol_is_the_embedding(released):
    net, prefix = released
    sym, arguments, auxiliary = mx.model.load_checkpoint(prefix, 0)  # as the authors' own test reads it
    assert "data" in sym.list_arguments()
    assert arguments
    assert auxiliary
    pictures = mx.nd.random.uniform(shape=(4, 3, 16, 16))
    outputs = symbol.load_symbol(prefix)(pictures)
    assert len(outputs) == 1
    np.testing.assert_array_equal(outputs[0].asnumpy(), net(pictures)[0].asnumpy())
    elsewhere = symbol.load_symbol(prefix, ctx=[mx.cpu(1), mx.cpu(2)])(pictures.as_in_context(mx.cpu(2)))[0]
    np.testing.assert_array_equal(elsewhere.asnumpy(), outputs[0].asnumpy())


def test_a_loss_behind_the_embedding_needs_no_label(released, tmp_path):
    _, prefix = released
    sym, arguments, auxiliary = mx.model.load_checkpoint(prefix, 0)
    loss = mx.sym.SoftmaxOutput(sym[1], mx.sym.var("softmax_label"), name="softmax")
    mx.model.save_checkpoint(str(tmp_path / "trained"), 7, mx.sym.Group([sym[0], loss]), arguments, auxiliary)
    pictures = mx.nd.random.uniform(shape=(2, 3, 16, 16))
    both = [symbol.load_symbol(str(tmp_path / name))(pictures)[0].asnumpy() for name in ("CGD.CUB200", "trained")]
    np.testing.assert_array_equal(*both)


def test_parameters_that_are_nan_are_refused(released):
    _, prefix = released
    values = mx.nd.load(f"{prefix}-0000.params")
    name = next(name for name in values if name.endswith("conv0_weight"))
    values[name][0] = float("nan")
    mx.nd.save(f"{prefix}-0000.params", values)
    with pytest.raises(ValueError, match=r"CUB200-0000.params holds NaN \(.*conv0_weight\): the training diverged"):
        symbol.load_symbol(prefix)


def test_files_that_are_missing_or_do_not_belong_together_are_named(released, tmp_path):
    _, prefix = released
    with pytest.raises(FileNotFoundError, match="0 files are named .*none-NNNN.params, where one is needed"):
        symbol.load_symbol(str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="CUB200-0003.params does not exist: check --symbol and --epoch"):
        symbol.load_symbol(prefix, 3)
    (tmp_path / "CGD.CUB200-0001.params").write_bytes(b"not parameters")
    with pytest.raises(FileNotFoundError, match="2 files are named .*: name its number with --epoch"):
        symbol.load_symbol(prefix)
    with pytest.raises(ValueError, match="is not a whole file of MXNet: get both again"):
        symbol.load_symbol(prefix, 1)
    values = mx.nd.load(f"{prefix}-0000.params")
    del values[next(name for name in values if name.endswith("conv0_weight"))]
    mx.nd.save(f"{prefix}-0001.params", values)
    with pytest.raises(ValueError, match="CUB200-0001.params lacks .*: they do not belong together"):
        symbol.load_symbol(prefix, 1)
    mx.sym.FullyConnected(mx.sym.var("text"), num_hidden=2, name="fc").save(f"{prefix}-symbol.json")
    with pytest.raises(ValueError, match="has no input named data"):
        symbol.load_symbol(prefix, 1)


def test_a_network_that_was_exported_after_it_was_fused_computes_the_same(exported, tmp_path):
    net, _ = load_trained(exported / "run")
    pictures = mx.nd.random.uniform(shape=(3, 3, 16, 16))
    expected = net(pictures)[0]
    net.export(str(tmp_path / "fused"))
    assert "_sg_mkldnn_conv" in (tmp_path / "fused-symbol.json").read_text()
    found = symbol.load_symbol(str(tmp_path / "fused"))(pictures)[0]
    np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), atol=1e-5)


@pytest.mark.parametrize("harm", ["operator", "inputs", "head"])
def test_what_a_fused_node_holds_is_checked_too(exported, tmp_path, harm):
    net, _ = load_trained(exported / "run")
    net(mx.nd.zeros((3, 3, 16, 16)))
    net.export(str(tmp_path / "fused"))
    file = tmp_path / "fused-symbol.json"
    graph = json.loads(file.read_text())
    inner = next(node["subgraphs"][0] for node in graph["nodes"] if node.get("subgraphs"))
    if harm == "operator":
        inner["nodes"][-1]["op"] = "Custom"
    elif harm == "inputs":
        inner["nodes"][-1]["inputs"][0][0] = 10**6
    else:
        inner["heads"] = [[len(inner["nodes"]), 0, 0]]
    file.write_text(json.dumps(graph))
    with pytest.raises(ValueError, match="fused-symbol.json is not a whole file of MXNet"):
        symbol.load_symbol(str(tmp_path / "fused"))
