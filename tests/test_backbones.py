import mxnet as mx
import numpy as np
import pytest

from gluon_cgd import backbones


def features(backbone, side):
    backbone.initialize()
    return backbone(mx.nd.random.uniform(shape=(1, 3, side, side)))


@pytest.mark.parametrize(
    ("name", "keep_stride", "side", "shape"),
    [
        ("resnet50", None, 224, (2048, 14, 14)),
        ("resnet50", True, 224, (2048, 7, 7)),
        ("resnet50", False, 64, (2048, 4, 4)),
        ("squeezenet1.1", None, 224, (512, 13, 13)),
        ("cifar_resnet10", None, 32, (128, 8, 8)),
        ("cifar_resnet10", True, 32, (128, 4, 4)),
    ],
)
def test_the_map_has_the_papers_size_with_and_without_the_down_sampling(name, keep_stride, side, shape):
    backbone = backbones.build(name, keep_stride=keep_stride)
    assert features(backbone, side).shape == (1, *shape)
    assert backbone.channels == shape[0]


def test_without_the_stride_the_block_computes_the_old_map_and_what_lay_between():
    with_stride, without = (backbones.build("resnet50", keep_stride=keep) for keep in (True, False))
    with_stride.initialize()
    x = mx.nd.random.uniform(shape=(1, 3, 64, 64))
    with_stride(x)
    without.initialize()
    without(x)
    for source, target in zip(with_stride.collect_params().values(), without.collect_params().values()):
        target.set_data(source.data())
    for layer in range(7):
        x = with_stride[layer](x)
    old, new = with_stride[7][0](x), without[7][0](x)  # the first block of stage 4
    np.testing.assert_allclose(new[:, :, ::2, ::2].asnumpy(), old.asnumpy(), atol=1e-5)


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
    with pytest.raises(ValueError, match="half.params is not a whole MXNet parameter file"):
        backbones.build("squeezenet1.1", pretrained=True, weights=tmp_path / "half.params")
    net.features.save_parameters(str(tmp_path / "other.params"))
    with pytest.raises(ValueError, match="other.params does not hold the parameters of squeezenet1.1"):
        backbones.build("squeezenet1.1", pretrained=True, weights=tmp_path / "other.params")
    with pytest.raises(ValueError, match="does not exist"):
        backbones.build("squeezenet1.1", pretrained=True, weights=tmp_path / "none.params")


def test_parameters_that_cannot_be_downloaded_are_named_with_their_place(tmp_path, monkeypatch):
    monkeypatch.setenv("MXNET_GLUON_REPO", "http://127.0.0.1:9/")  # nobody answers there
    with pytest.raises(ValueError, match=r"put resnet50_v1b-0ecdba34.params into .*, or name a file with --weights"):
        backbones.build("resnet50", pretrained=True, root=str(tmp_path))


def test_a_network_without_imagenet_parameters_says_so():
    with pytest.raises(ValueError, match="--no-pretrained"):
        backbones.build("cifar_resnet10", pretrained=True)
