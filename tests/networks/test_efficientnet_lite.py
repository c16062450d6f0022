"""EfficientNet-Lite beside a forward pass in plain NumPy, with small made-up parameters."""

import math

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd import backbones, get_model, similarity
from gluon_cgd.evaluate import embed, features_of
from gluon_cgd.experiment import Experiment
from gluon_cgd.export import export, int8
from gluon_cgd.networks.efficientnet_lite import FACTORS, EfficientNetLite, SameConvolution, rounded

BLOCKS = {  # stride, kernel and factor of each block, in the order of the published network
    0: [(1, 3, 1)],
    1: [(2, 3, 6), (1, 3, 6)],
    2: [(2, 5, 6), (1, 5, 6)],
    3: [(2, 3, 6)] + [(1, 3, 6)] * 2,
    4: [(1, 5, 6)] * 3,
    5: [(2, 5, 6)] + [(1, 5, 6)] * 3,
    6: [(1, 3, 6)],
}


def same(x, weight, stride, letters="ocij,hwcij->ohw"):
    """A convolution with TensorFlow's SAME, window by window: (C, H, W) with (O, C, k, k) -> (O, h, w)."""
    kernel = weight.shape[-1]
    starts = []
    for side in x.shape[1:]:
        outputs = -(-side // stride)
        before = max((outputs - 1) * stride + kernel - side, 0) // 2
        starts.append([position * stride - before for position in range(outputs)])
    wide = np.pad(x, ((0, 0), (kernel, kernel), (kernel, kernel)))
    rows, columns = ([start + kernel for start in of_axis] for of_axis in starts)
    windows = [[wide[:, r : r + kernel, c : c + kernel] for c in columns] for r in rows]
    return np.einsum(letters, weight, np.array(windows), optimize=True)


def depthwise(x, weight, stride):
    return same(x, weight[:, 0], stride, "cij,hwcij->chw")


def pointwise(x, weight):
    return np.tensordot(weight[:, :, 0, 0], x, 1)


def norm(values, name, x):
    scale, shift, mean, variance = (
        values[f"{name}.{kind}"][:, None, None] for kind in ("gamma", "beta", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + 0.001) * scale + shift


def relu6(x):
    return np.minimum(np.maximum(x, 0), 6)


def features(values, x, last_stride):
    """(3, H, W) -> (1280, h, w) by the parameters `values` of Lite0, {name: array}."""
    x = relu6(norm(values, "features.0.1", same(x, values["features.0.0.weight"], 2)))
    number = 0
    for stage, blocks in BLOCKS.items():
        for stride, kernel, factor in blocks:
            number += 1
            name, y = f"features.{number}", x
            if factor > 1:
                y = relu6(norm(values, f"{name}.expand.1", pointwise(y, values[f"{name}.expand.0.weight"])))
            weight = values[f"{name}.depthwise.0.weight"]
            assert weight.shape[2] == kernel
            y = depthwise(y, weight, stride if stage != 5 else min(stride, last_stride))
            y = pointwise(relu6(norm(values, f"{name}.depthwise.1", y)), values[f"{name}.project.0.weight"])
            y = norm(values, f"{name}.project.1", y)
            x = x + y if x.shape == y.shape else y
    return relu6(norm(values, "features.17.1", pointwise(x, values["features.17.0.weight"])))


@pytest.fixture(scope="module")
def made_up():
    """{name: array} of all parameters of Lite0, such that no layer is dead and some values are above 6."""
    rng = np.random.default_rng(0)
    values = {}
    for name, parameter in EfficientNetLite()._collect_params_with_prefix().items():
        kind = name.rpartition(".")[2]
        if kind == "weight":
            width = math.prod(parameter.shape[1:])
            values[name] = rng.normal(0, math.sqrt(2 / width), parameter.shape)
        else:
            low, high = {"gamma": (0.5, 1.5), "running_var": (0.5, 1.5)}.get(kind, (-0.5, 0.5))
            values[name] = rng.uniform(low, high, parameter.shape)
    return {name: value.astype(np.float32) for name, value in values.items()}


@pytest.mark.slow
@pytest.mark.parametrize("keep_stride", [True, False])
@pytest.mark.parametrize("side", [24, 33, 34, 40, 56, 96])  # their maps have even and odd sides, at every depth
def test_the_features_are_those_of_plain_numpy(made_up, tmp_path, side, keep_stride):
    file = tmp_path / "made_up.params"
    mx.nd.save(str(file), {name: mx.nd.array(value) for name, value in made_up.items()})
    backbone = backbones.build("efficientnet_lite0", True, keep_stride, file, input_size=side)
    picture = np.random.default_rng(1).normal(0, 2, (3, side, side)).astype(np.float32)
    expected = features(made_up, picture, 2 if keep_stride else 1)
    assert 0.01 < (expected == 6).mean() < 0.5
    found = backbone(mx.nd.array(picture[None])).asnumpy()[0]
    np.testing.assert_allclose(found, expected, atol=2e-3)
    backbone.hybridize(static_alloc=True, static_shape=True, backend="MKLDNN")
    fused = backbone(mx.nd.array(picture[None])).asnumpy()[0]
    np.testing.assert_allclose(fused, expected, atol=2e-3)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("side", [1, 2, 3, 6, 7, 8, 9])
def test_the_border_is_tensorflows_at_every_size(kernel, side):
    rng = np.random.default_rng(side)
    x, weight = (rng.normal(size=shape).astype(np.float32) for shape in ((3, side, side), (4, 3, kernel, kernel)))
    for stride in (1, 2):
        convolution = SameConvolution(4, kernel, stride, 3, side)
        convolution.initialize()
        convolution.weight.set_data(mx.nd.array(weight))
        found = convolution(mx.nd.array(x[None])).asnumpy()[0]
        np.testing.assert_allclose(found, same(x, weight, stride), atol=1e-5)
    convolution.remove_stride()
    np.testing.assert_allclose(convolution(mx.nd.array(x[None])).asnumpy()[0], same(x, weight, 1), atol=1e-5)


def test_tensorflows_border_of_a_small_map_by_eye():
    line = np.array([[[1, 2, 3, 4]]], np.float32)  # SAME puts one zero behind 1 2 3 4, and none in front
    x = np.concatenate([line, 0 * line, 0 * line, 0 * line], axis=1)
    weight = np.zeros((1, 1, 3, 3), np.float32)
    weight[0, 0, 0] = [100, 10, 1]
    convolution = SameConvolution(1, 3, 2, 1, 4)
    convolution.initialize()
    convolution.weight.set_data(mx.nd.array(weight))
    assert convolution(mx.nd.array(x[None])).asnumpy()[0, 0, 0].tolist() == [123, 340]


PUBLISHED = {"efficientnet_lite0": 4_652_008, "efficientnet_lite1": 5_416_680, "efficientnet_lite2": 6_092_072}


@pytest.mark.parametrize("name", FACTORS)
def test_each_network_has_as_many_learned_parameters_as_its_publisher_says(name):
    net = EfficientNetLite(name)
    learned = [value for value in net.collect_params().values() if not value.name.endswith(("_mean", "_var"))]
    assert sum(math.prod(value.shape) for value in learned) == PUBLISHED[name]


def test_channels_are_rounded_to_eight():
    assert [rounded(16 * 1.1), rounded(24 * 1.1), rounded(40 * 1.1), rounded(112 * 1.1), rounded(3)] == [
        16, 24, 48, 120, 8]  # fmt: skip


@pytest.mark.slow
def test_a_model_on_it_is_made_by_name_its_heatmaps_add_up_and_it_can_be_exported_in_8_bits(made_up, tmp_path):
    pytest.importorskip("sympy")  # imported by onnxruntime's quantisation
    file = tmp_path / "made_up.params"
    mx.nd.save(str(file), {name: mx.nd.array(value) for name, value in made_up.items()})
    mx.random.seed(0)
    net = get_model("cgd_smg_efficientnet_lite0_24", classes=3, pretrained_base=file, input_size=64)
    pictures = np.random.default_rng(2).integers(0, 256, (8, 8, 8, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    first, second = embed(net, pictures[:2], mx.cpu(), 2)
    maps = features_of(net, pictures[:2], mx.cpu())
    found = similarity.decompose(*maps, similarity.weights_of(net), "SMG")
    assert found.map1.shape == found.map2.shape == (4, 4)
    assert found.map1.sum() == pytest.approx(first @ second, abs=1e-5)
    assert found.map2.sum() == pytest.approx(first @ second, abs=1e-5)
    experiment = Experiment(backbone="efficientnet_lite0", descriptors="SMG", dim=24, input_size=64)
    export(net, experiment, tmp_path / "lite.onnx")
    assert int8.quantise(tmp_path / "lite.onnx", tmp_path / "int8.onnx", pictures) > 0.9
