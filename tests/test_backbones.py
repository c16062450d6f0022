import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from gluon_cgd import backbones

MAPS = {  # channels and side of the map at 224 as the paper has it by default, then with and without the down-sampling
    "resnet50": (2048, 14, 7, 14),
    "se_resnet50": (2048, 14, 7, 14),
    "bn_inception": (1024, 7, 7, 14),
    "shufflenet_v2": (1024, 7, 7, 14),
    "resnet50_v1": (2048, 14, 7, 14),
    "resnet50_v1d": (2048, 14, 7, 14),
    "shufflenet_v2_x2": (2153, 7, 7, 14),
    "resnet101": (2048, 14, 7, 14),
    "resnext50": (2048, 14, 7, 14),
    "resnext101": (2048, 14, 7, 14),
    "wide_resnet50": (2048, 14, 7, 14),
    "efficientnet_b5": (2048, 14, 7, 14),
    "efficientnet_lite0": (1280, 14, 7, 14),
    "efficientnet_lite1": (1280, 14, 7, 14),
    "efficientnet_lite2": (1280, 14, 7, 14),
    "squeezenet1.1": (512, 13, 13, None),
    "cifar_resnet10": (128, 56, 28, 56),
    "small_resnet": (256, 28, 14, 28),
    "small_se_resnet": (256, 28, 14, 28),
    "small_bn_inception": (256, 28, 28, 56),
    "small_shufflenet_v2": (256, 28, 28, 56),
}


def gradients(backbone, side, pictures=2):
    """Forward and backward: the maps of some pictures, and the largest gradient of each parameter."""
    for name, parameter in backbone.collect_params().items():
        if name.endswith("gamma"):  # 0 at the end of ResNeXt's blocks, which then start without gradients within
            parameter.set_data(mx.nd.ones(parameter.shape))
    inputs = mx.nd.random.uniform(-1, 1, shape=(pictures, 3, side, side))
    with autograd.record():
        features = backbone(inputs)
        loss = (features**2).mean()
    loss.backward()
    grads = [p.grad() for p in backbone.collect_params().values() if p.grad_req != "null"]
    return features.asnumpy(), [float(grad.abs().max().asscalar()) for grad in grads]


def test_the_maps_cover_every_backbone():
    assert set(MAPS) == set(backbones.BACKBONES)


@pytest.mark.parametrize("name", MAPS)
def test_the_map_has_the_papers_size_with_and_without_the_down_sampling(name):
    channels, *sides = MAPS[name]
    for keep_stride, side in zip((None, True, False), sides):
        if side:
            backbone = backbones.build(name, keep_stride=keep_stride)
            assert backbone.map_shape(224) == (channels, side, side)
            assert backbone.channels == channels


SMALL = ("shufflenet_v2", "squeezenet1.1", "cifar_resnet10")


@pytest.mark.parametrize("name", [pytest.param(one, marks=() if one in SMALL else pytest.mark.slow) for one in MAPS])
def test_every_backbone_learns_at_224_and_computes_the_same_hybridized_and_not_when_small(name):
    side = 64
    mx.random.seed(1)
    backbone = backbones.build(name, input_size=side)
    backbone.initialize(mx.init.MSRAPrelu(slope=0))
    backbone(mx.nd.zeros((1, 3, side, side)))
    plain = gradients(backbone, side)
    assert plain[0].shape[1:] == backbone.map_shape(side)
    mx.random.seed(1)
    small = mx.nd.random.uniform(-1, 1, shape=(2, 3, side, side))
    expected = backbone(small).asnumpy()
    backbone.hybridize(static_alloc=True, static_shape=True)
    compiled = backbone(small).asnumpy()
    np.testing.assert_allclose(compiled, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    large = backbones.build(name)
    large.initialize(mx.init.MSRAPrelu(slope=0))
    large(mx.nd.zeros((1, 3, 64, 64)))
    large.hybridize(static_alloc=True)
    features, grads = gradients(large, 224, pictures=1)
    assert features.shape == (1, MAPS[name][0], MAPS[name][1], MAPS[name][1])
    for found in (plain[1], grads):
        assert np.isfinite(found).all()
        assert np.mean(np.array(found) > 0) > 0.95


DEEP = [
    pytest.param(name, marks=pytest.mark.slow) for name in ("resnet101", "resnext50", "resnext101", "wide_resnet50")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", *DEEP])
def test_without_the_stride_the_block_computes_the_old_map_and_what_lay_between(name):
    with_stride, without = (backbones.build(name, keep_stride=keep) for keep in (True, False))
    for backbone in (with_stride, without):
        backbone.initialize(mx.init.Xavier())
        backbone(mx.nd.zeros((1, 3, 64, 64)))
    for source, target in zip(with_stride.collect_params().values(), without.collect_params().values()):
        target.set_data(source.data())
    x = mx.nd.random.uniform(shape=(1, 3, 64, 64))
    for layer in list(with_stride)[:-1]:
        x = layer(x)
    old, new = (list(backbone)[-1][0](x).asnumpy() for backbone in (with_stride, without))  # stage 4's first block
    assert new.shape[2] == 2 * old.shape[2]
    np.testing.assert_allclose(new[:, :, ::2, ::2], old, rtol=1e-4, atol=1e-5 * np.abs(old).max())


def test_efficientnet_pads_as_its_pictures_need_it():
    backbone = backbones.build("efficientnet_b5", input_size=72)
    backbone.initialize()
    x = mx.nd.random.uniform(shape=(1, 3, 72, 72))
    stated = backbone(x).asnumpy()

    def ask_the_picture(block):
        if hasattr(block, "in_size"):
            block.in_size = None
        for child in block._children.values():
            ask_the_picture(child)

    ask_the_picture(backbone)  # the library's own way, which cannot be hybridized
    np.testing.assert_array_equal(backbone(x).asnumpy(), stated)


def test_removing_a_stride_leaves_the_library_as_it_was():
    backbones.build("resnet50", keep_stride=False)
    from gluoncv.model_zoo import resnet50_v1b

    assert resnet50_v1b().layer4[0].conv2._kwargs["stride"] == (2, 2)


def test_an_unknown_name_is_answered_with_the_right_ones():
    with pytest.raises(ValueError, match="'resnet51' is unknown: choose one of resnet50"):
        backbones.build("resnet51")


def test_a_stride_that_is_not_there_cannot_be_removed():
    with pytest.raises(ValueError, match="no down-sampling"):
        backbones.build("squeezenet1.1", keep_stride=False)


def test_parameters_are_loaded_whole_or_refused(tmp_path):
    from gluoncv.model_zoo import squeezenet1_1

    net = squeezenet1_1()
    net.initialize()
    net(mx.nd.zeros((1, 3, 224, 224)))
    net.save_parameters(str(tmp_path / "whole.params"))
    backbone = backbones.build("squeezenet1.1", pretrained=True, weights=tmp_path / "whole.params")
    np.testing.assert_array_equal(backbone[0].weight.data().asnumpy(), net.features[0].weight.data().asnumpy())
    whole = (tmp_path / "whole.params").read_bytes()
    (tmp_path / "half.params").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="half.params is not a whole parameter file"):
        backbones.build("squeezenet1.1", pretrained=True, weights=tmp_path / "half.params")
    net.features.save_parameters(str(tmp_path / "other.params"))
    with pytest.raises(ValueError, match="other.params does not hold the parameters of squeezenet1.1"):
        backbones.build("squeezenet1.1", pretrained=True, weights=tmp_path / "other.params")
    with pytest.raises(ValueError, match="does not exist"):
        backbones.build("squeezenet1.1", pretrained=True, weights=tmp_path / "none.params")


def test_a_network_without_imagenet_parameters_says_so():
    with pytest.raises(ValueError, match="--no-pretrained"):
        backbones.build("cifar_resnet10", pretrained=True)
