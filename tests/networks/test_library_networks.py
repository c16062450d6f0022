"""Networks of GluonCV and gluoncv2 by name: the last map, the stride rule, names, parameters, and what is refused."""

import mxnet as mx
import numpy as np
import pytest

import gluon_cgd
from gluon_cgd import backbones, model
from gluon_cgd.engines import graph
from gluon_cgd.experiment import Experiment
from gluon_cgd.models import zoo
from gluon_cgd.models.pretrained import load_pretrained, name_of
from gluon_cgd.networks import last_map as finder

# Channels and side of the map at 224 by default, and with the down-sampling; None: there is none from a 16th to a 32nd
MAPS = {
    "gluoncv:resnet18_v1b": (512, 14, 7),
    "gluoncv2:mobilenetv2_wd4": (1280, 14, 7),
    "gluoncv2:resnet20_cifar10": (64, 56, None),
    "gluoncv:squeezenet1.1": (512, 13, None),  # in front of the convolution that is its classifier, and of a dropout
    "gluoncv2:densenet121": (1024, 14, 7),
    "gluoncv:vgg11": (512, 14, 7),  # the last pooling, in front of three FC layers
    "gluoncv:inceptionv3": (2048, 10, 5),  # made for 299 pixels: an 8 x 8 pooling, and borders that are lost
    "gluoncv:mobilenetv3_small": (576, 14, 7),
    "gluoncv:resnest50": (2048, 14, 7),
    "gluoncv2:efficientnet_b0b": (1280, 14, 7),  # pads as TensorFlow does
    "gluoncv2:bninception": (1024, 14, 7),
    "gluoncv2:shufflenetv2_w1": (1024, 14, 7),
    "gluoncv2:cbam_resnet18": (512, 14, 7),
    "gluoncv2:regnetx002": (368, 14, 7),
    "gluoncv2:hrnet_w18_small_v1": (2048, 7, 7),  # stays: no one layer halves the map that all ways lead through
    "gluoncv2:xception": (2048, 14, 7),
}
FAST = ("gluoncv2:resnet20_cifar10", "gluoncv:squeezenet1.1")
TINY = "gluoncv2:resnet20_cifar10"


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in MAPS])
def test_the_last_map_and_the_stride_rule(name):
    channels, side, kept = MAPS[name]
    by_default, with_stride = (backbones.build(name, keep_stride=keep) for keep in (None, True))
    assert by_default.map_shape(224) == (channels, side, side)
    assert with_stride.map_shape(224) == (channels, kept or side, kept or side)
    assert by_default.channels == channels


@pytest.mark.slow
@pytest.mark.parametrize("own", ["resnet50", "se_resnet50", "bn_inception", "shufflenet_v2"])
def test_a_paper_network_by_its_library_name_is_ours(own, tmp_path):
    """The graph finds by itself what `BACKBONES` writes down: the same features, with and without the stride."""
    recipe = backbones.BACKBONES[own]
    whole = recipe.make(64)[0]
    whole.initialize(mx.init.MSRAPrelu(slope=0))
    pictures = mx.nd.random.uniform(-1, 1, shape=(2, 3, 64, 64))
    whole(mx.nd.zeros((1, 3, 224, 224)))
    whole.save_parameters(str(tmp_path / "whole.params"))
    for keep in (True, False):
        made = [
            backbones.build(name, True, keep, tmp_path / "whole.params", input_size=64)(pictures).asnumpy()
            for name in (own, f"{recipe.publisher}:{recipe.model}")
        ]
        np.testing.assert_array_equal(made[0], made[1])


def test_a_networks_names_are_the_same_every_time_it_is_made():
    first, second = (backbones.build(TINY, input_size=32) for _ in range(2))
    assert first._collect_params_with_prefix().keys() == second._collect_params_with_prefix().keys()
    assert "0.features.0.conv.weight" in first._collect_params_with_prefix()
    texts = [graph.read(backbone(mx.sym.var("x"))) for backbone in (first, second)]
    assert texts[0] == texts[1]


def test_it_computes_the_same_hybridized_and_not_and_a_frozen_batch_norm_stays():
    mx.random.seed(0)
    experiment = Experiment(backbone=TINY, pretrained=False, input_size=32, dim=8, frozen_batch_norm=True)
    net = model.from_experiment(experiment, 5)
    pictures = mx.nd.random.uniform(-1, 1, shape=(2, 3, 32, 32))
    before = {name: value.data().asnumpy() for name, value in net.backbone.collect_params().items()}
    norms = [value for name, value in net.backbone.collect_params().items() if name.endswith(("gamma", "beta"))]
    assert norms
    assert all(value.grad_req == "null" for value in norms)
    plain = net(pictures)[0].asnumpy()
    with mx.autograd.record():
        net(pictures)[0].sum().backward()
    for name, value in net.backbone.collect_params().items():
        np.testing.assert_array_equal(value.data().asnumpy(), before[name], err_msg=name)
    net.hybridize(static_alloc=True, static_shape=True)
    np.testing.assert_allclose(net(pictures)[0].asnumpy(), plain, rtol=1e-4, atol=1e-6)
    frozen = Experiment(backbone="gluoncv:squeezenet1.1", pretrained=False, input_size=64, frozen_batch_norm=True)
    with pytest.raises(ValueError, match="frozen_batch_norm has no effect, since gluoncv:squeezenet1.1 has no batch"):
        model.from_experiment(frozen, 5)


def test_a_named_node_is_the_map():
    node = "cifarresnet0_stage2_resunit2_relu0_fwd"
    backbone = backbones.build(TINY, input_size=32, features=node)
    assert backbone.map_shape(32) == (32, 16, 16)
    with pytest.raises(ValueError, match=r"features 'nothing' is no node of .*: the last maps .* are .*\(64, 8, 8\)"):
        backbones.build(TINY, input_size=32, features="nothing")


def test_weights_by_file_and_a_pretrained_backbone(tmp_path):
    whole, _, _ = backbones.recipe_of(TINY).make(32)
    whole.initialize()
    whole(mx.nd.zeros((1, 3, 32, 32)))
    whole.save_parameters(str(tmp_path / "own.params"))
    net, experiment, file = load_pretrained(TINY, tmp_path / "own.params", 32)
    assert (name_of(experiment), file) == ("pretrained_smg_gluoncv2-resnet20_cifar10_192", tmp_path / "own.params")
    embedding = net(mx.nd.random.uniform(shape=(2, 3, 32, 32)))[0].asnumpy()
    np.testing.assert_allclose((embedding**2).sum(1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="own.params does not hold the parameters of gluoncv2:resnet10"):
        backbones.build("gluoncv2:resnet10", pretrained=True, weights=tmp_path / "own.params")
    with pytest.raises(ValueError, match="no ImageNet parameters for backbone gluoncv2:resnet200.*--weights"):
        backbones.imagenet_file("gluoncv2:resnet200")


def test_names_of_models_and_runs_are_safe_for_files(tmp_path):
    experiment = Experiment(backbone=TINY, pretrained=False, input_size=32, dim=8)
    assert experiment.key().startswith("cars196-gluoncv2-resnet20_cifar10-SG-8-")
    by_file = Experiment(backbone="onnx:my folder/Ma x?.onnx", pretrained=False)
    assert by_file.key().startswith("cars196-onnx-Ma-x--SG-1536-")
    assert not set(by_file.key()) & set(':/\\?*"<>| ')
    mx.random.seed(0)
    net = gluon_cgd.get_model(f"cgd_sg_{TINY}_8", classes=5, input_size=32)
    file = zoo.save(net, experiment, tmp_path)
    assert file.name.startswith("cgd_sg_gluoncv2-resnet20_cifar10_8-")
    again = gluon_cgd.get_model("cgd_sg_gluoncv2-resnet20_cifar10_8", pretrained=file, input_size=32)
    pictures = mx.nd.random.uniform(shape=(2, 3, 32, 32))
    np.testing.assert_allclose(again(pictures)[0].asnumpy(), net(pictures)[0].asnumpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gluoncv2:densnet121", "gluoncv2 has no network 'densnet121': take densenet121"),
        ("gluoncv2:irevnet301", r"gluoncv2:irevnet301 cannot be a backbone \(AttributeError: .*shape"),
        ("torchvision:resnet18", "'torchvision:resnet18' is unknown: choose one of resnet50.* or gluoncv:NAME"),
        ("gluoncv2:resnet10_", "has no network"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(name, message):
    with pytest.raises(ValueError, match=message):
        backbones.build(name)


def test_an_experiment_refuses_other_names_and_a_node_of_a_network_that_is_known():
    for name in ("gluoncv:", "caffe:x", "gluoncv2:../x", "onnx: "):
        with pytest.raises(ValueError, match=r"backbone .* is of no library that is known: write gluoncv:NAME"):
            Experiment(backbone=name)
    with pytest.raises(ValueError, match="features 'n' is for a backbone LIBRARY:NAME, not resnet50: leave it out"):
        Experiment(features="n")


def test_the_trunk_is_where_all_ways_lead():
    x = mx.sym.var("data")
    one = mx.sym.Convolution(x, num_filter=4, kernel=(1, 1), name="one")
    both = mx.sym.elemwise_add(one, mx.sym.Activation(one, act_type="relu", name="side"), name="both")
    end = mx.sym.FullyConnected(mx.sym.Dropout(both, name="drop"), num_hidden=3, name="end")
    read = graph.read(end)
    assert [read.nodes[place].name for place in finder.trunk(read)] == ["data", "one", "both", "drop", "end"]
    assert finder.last_map(read, graph.shapes(end, data=(1, 3, 8, 8))) == ["both"]
    assert finder.cut(read, "both").nodes[-1].name == "both"
    flat = mx.sym.FullyConnected(x, num_hidden=3)
    with pytest.raises(ValueError, match="no feature map"):
        finder.last_map(graph.read(flat), graph.shapes(flat, data=(1, 3, 8, 8)))
