from itertools import zip_longest

import cv2
import mxnet as mx
import numpy as np
import onnx
import pytest

from gluon_cgd import backbones
from gluon_cgd.datasets import glyphs
from gluon_cgd.datasets.images import normalise
from gluon_cgd.evaluate import embed, features_of
from gluon_cgd.experiment import CONFIGURATIONS, Experiment
from gluon_cgd.export import export, graph
from gluon_cgd.model import from_experiment
from gluon_cgd.models import onnx_model
from gluon_cgd.recall import recall_at
from gluon_cgd.similarity import weights_of
from tests.networks.onnx_files import node, write

SMALL = dict(backbone="cifar_resnet10", pretrained=False, input_size=16, descriptors="SG", dim=12)
QUICK = ("shufflenet_v2", "squeezenet1.1", "cifar_resnet10")


def network(**change):
    """(net, experiment) with random parameters, the statistics, scales and shifts of the batch norms too."""
    experiment = Experiment(**{**SMALL, **change})
    mx.random.seed(1)
    net, rng = from_experiment(experiment, classes=3), np.random.default_rng(2)
    for name, parameter in net.collect_params().items():
        if name.endswith(("gamma", "running_var")):
            parameter.set_data(mx.nd.array(rng.uniform(0.5, 1.5, parameter.shape)))
        elif name.endswith(("beta", "running_mean")):
            parameter.set_data(mx.nd.array(rng.normal(0, 0.2, parameter.shape)))
    return net, experiment


def agree(tmp_path, **change):
    """Export a network, compare what the file computes with MXNet in batches of 1 and 5, and return the loaded file."""
    net, experiment = network(**change)
    export(net, experiment, tmp_path / "model.onnx", features=True)
    model, side = onnx_model.load_exported(tmp_path / "model.onnx"), experiment.input_size
    for count in (1, 5):
        pictures = np.random.default_rng(count).integers(0, 256, (count, side, side, 3), np.uint8)
        found = model.embed(pictures)
        assert found.shape == (count, experiment.dim)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(found, embed(net, pictures, mx.cpu(), count), atol=1e-5)
        features = features_of(net, pictures, mx.cpu())
        np.testing.assert_allclose(model.features(pictures), features, atol=1e-5 * np.abs(features).max())
    for found, expected in zip_longest(model.projections(), weights_of(net)):
        np.testing.assert_array_equal(found, expected)
    return model


EVERY_BACKBONE = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in backbones.BACKBONES]


@pytest.mark.parametrize("name", EVERY_BACKBONE)
def test_every_backbone_computes_the_same_exported(tmp_path, name):
    model = agree(tmp_path, backbone=name, input_size=64)
    assert tuple(model.about["features"]) == backbones.build(name, input_size=64).map_shape(64)


def take_statistics(net, pictures):
    """Set the statistics of every batch norm to those of the pictures: it takes them up in the backward pass."""
    net.apply(lambda block: isinstance(block, mx.gluon.nn.BatchNorm) and block._kwargs.update(momentum=0))
    with mx.autograd.record():
        embeddings = net(normalise(pictures, mx.cpu()))
    embeddings[0].backward()
    mx.nd.waitall()


def same_recall(tmp_path, classes, **change):
    """Compare the Recall@1 of a network and its export on the embedded benchmark's test set, 4 pictures a class.

    The batch norms are as they are made: with shifts of random size pictures are all but one to a deep network. To
    EfficientNet they are with these too, and rounding decides which is nearest: its statistics are of the pictures.
    """
    experiment = Experiment(**{**SMALL, **change})
    mx.random.seed(1)
    net = from_experiment(experiment, classes=3)
    size, labels = (experiment.input_size, experiment.input_size), np.repeat(np.arange(classes), 4)
    shown = [glyphs.picture(100 + label, index) for label in range(classes) for index in range(4)]
    pictures = np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR) for picture in shown])
    if experiment.backbone.startswith("efficientnet"):
        take_statistics(net, pictures)
    export(net, experiment, tmp_path / "model.onnx")
    embeddings = onnx_model.load_exported(tmp_path / "model.onnx").embed(pictures), embed(net, pictures, mx.cpu(), 50)
    np.testing.assert_allclose(*embeddings, atol=1e-4)
    found, expected = (recall_at((1,), vectors, labels) for vectors in embeddings)
    assert found == expected


@pytest.mark.parametrize("name", EVERY_BACKBONE)
def test_every_backbone_has_the_same_recall_exported(tmp_path, name):
    same_recall(tmp_path, classes=25, backbone=name, input_size=64)


QUICK = ("SM", "MSG")


@pytest.mark.parametrize(
    "descriptors",
    [pytest.param(letters, marks=() if letters in QUICK else pytest.mark.slow) for letters in CONFIGURATIONS],
)
def test_every_configuration_has_the_same_recall_exported(tmp_path, descriptors):
    same_recall(tmp_path, classes=100, descriptors=descriptors, input_size=32)


@pytest.mark.parametrize("inner", ["features", "pictures", "normalised", "mean"])
def test_a_network_from_a_file_may_have_the_names_of_our_nodes(inner, tmp_path):
    rng = np.random.default_rng(0)
    nodes = [node("Conv", ["x", "w"], inner, strides=[4, 4]), node("Relu", [inner], "embedding")]
    nodes += [node("Conv", ["embedding", "v"], "map"), node("GlobalAveragePool", ["map"], "pool")]
    nodes += [node("Conv", ["pool", "v"], "out")]
    constants = {"w": rng.standard_normal((8, 3, 4, 4)), "v": rng.standard_normal((8, 8, 1, 1))}
    file = write(tmp_path / "f.onnx", nodes, {name: np.float32(value) for name, value in constants.items()})
    agree(tmp_path, backbone=f"onnx:{file}")


@pytest.mark.slow
def test_the_stride_that_is_kept_or_removed_stays_so(tmp_path):
    sides = {keep: agree(tmp_path, keep_stride=keep).about["features"] for keep in (True, False)}
    assert sides == {True: [128, 2, 2], False: [128, 4, 4]}
    assert agree(tmp_path, backbone="shufflenet_v2", input_size=64, keep_stride=False).about["features"] == [1024, 4, 4]


@pytest.mark.slow
def test_efficientnet_pads_exported_as_its_size_of_pictures_needs_it(tmp_path):
    assert agree(tmp_path, backbone="efficientnet_b5", input_size=72).about["features"] == [2048, 5, 5]


@pytest.mark.slow
@pytest.mark.parametrize("descriptors", CONFIGURATIONS)
def test_every_configuration_computes_the_same_exported(tmp_path, descriptors):
    agree(tmp_path, descriptors=descriptors)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        dict(architecture="A"),
        dict(architecture="B", descriptors="SMG", dim=7),
        dict(architecture="B", descriptors="M"),
        dict(combine="sum", descriptors="SMG", dim=7),
        dict(combine="sum", descriptors="G"),
        dict(gem_p=2.5, gem_minimum=0.3),
        dict(gem_p=0.5),
        dict(frozen_batch_norm=True, classifier_batch_norm=False),
    ],
)
def test_every_architecture_and_combination_computes_the_same_exported(tmp_path, change):
    agree(tmp_path, **change)


def test_a_black_picture_and_a_dead_network_give_finite_embeddings(tmp_path):
    net, experiment = network(descriptors="SMG")
    for layer in net.reductions:
        layer.weight.set_data(mx.nd.zeros(layer.weight.shape))
    export(net, experiment, tmp_path / "model.onnx")
    found = onnx_model.load_exported(tmp_path / "model.onnx").embed(np.zeros((2, 16, 16, 3), np.uint8))
    np.testing.assert_array_equal(found, 0)


def test_the_file_is_plain_onnx_of_a_fixed_operator_set():
    newest = onnx.defs.onnx_opset_version()
    model = graph.model_of(*network(backbone="shufflenet_v2", input_size=64))
    onnx.checker.check_model(model, full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 13)]
    assert [one.name for one in model.graph.input] == ["pictures"]
    used = {name for node in model.graph.node for name in node.input}
    assert {one.name for one in model.graph.initializer} <= used
    assert onnx.defs.onnx_opset_version() == newest  # for whoever else uses the package
    assert onnx.checker.DEFAULT_CONTEXT.opset_imports == {"": newest}


def test_no_weight_is_read_while_mxnet_may_be_reordering_it(monkeypatch):
    done, (net, experiment) = [], network()
    monkeypatch.setattr(mx.nd, "waitall", lambda: done.append("waited"))
    read = mx.nd.NDArray.asnumpy
    monkeypatch.setattr(mx.nd.NDArray, "asnumpy", lambda array: done.append("read") or read(array))
    graph.model_of(net, experiment)
    assert done[0] == "waited"
    assert "read" in done


def test_a_descriptor_without_nodes_is_refused(monkeypatch):
    monkeypatch.delitem(graph.POOLINGS, "G")
    with pytest.raises(ValueError, match="descriptor 'G' cannot be exported: add it to export.graph.POOLINGS"):
        graph.model_of(*network())


@pytest.mark.parametrize(("gone", "message"), [("onnx", "needs the packages onnx"), ("onnx.mapping", "needs 1.18 at")])
def test_an_onnx_package_that_is_missing_or_too_new_is_named(monkeypatch, gone, message):
    graph.check_onnx()
    monkeypatch.setattr(graph, "find_spec", lambda name: None if name == gone else name)
    with pytest.raises(ImportError, match=message):
        graph.check_onnx()
