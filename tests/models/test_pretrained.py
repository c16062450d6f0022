"""A model before any training: a pretrained backbone, with the letters' small ones, which come with the project."""

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd import backbones
from gluon_cgd.datasets import glyphs, images
from gluon_cgd.export import export
from gluon_cgd.models import opened
from gluon_cgd.models.onnx_model import load_exported
from gluon_cgd.models.pretrained import load_pretrained, name_of
from gluon_cgd.retrieval.model import open_model
from gluon_cgd.similarity import decompose


def pictures(n=3, side=32):
    import cv2

    return np.stack([cv2.resize(glyphs.picture(label, 0), (side, side)) for label in range(n)])


@pytest.fixture(scope="module")
def model():
    return opened.open_model(pretrained="small_resnet", ctx="cpu")


def test_the_embedding_is_the_three_descriptors_side_by_side(model):
    """Each of unit length, and all together too: by NumPy, from a backbone that was built without this module."""
    net = backbones.build("small_resnet", pretrained=True, input_size=32)
    maps = net(images.normalise(pictures(), mx.cpu())).asnumpy().astype(np.float64)
    parts = [maps.mean((2, 3)), maps.max((2, 3)), (np.maximum(maps, 1e-6) ** 3).mean((2, 3)) ** (1 / 3)]
    expected = np.concatenate([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts], axis=1) / 3**0.5
    np.testing.assert_allclose(model.embed(pictures()), expected, atol=1e-5)
    assert (model.input_size, model.experiment.dim, model.projections()) == (32, 768, [])
    assert model.trained is None


def test_it_says_what_it_is(model):
    about = model.about
    assert (about["name"], about["pretrained"], about["which"]) == (
        "pretrained_smg_small_resnet_768",
        "small_resnet",
        None,
    )
    assert about["source"] == str(backbones.imagenet_file("small_resnet"))
    assert {key: about["experiment"][key] for key in ("backbone", "keep_stride", "input_size", "dataset")} == {
        "backbone": "small_resnet",
        "keep_stride": False,
        "input_size": 32,
        "dataset": "letters",
    }
    assert len(about["parameters_sha256"]) == 64


def test_both_heatmaps_sum_to_the_cosine(model):
    one, two = model.features(pictures(2))
    found = decompose(one, two, **model.decomposing())
    first, second = model.embed(pictures(2)).astype(np.float64)
    for total in (found.cosine, found.map1.sum(), found.map2.sum()):
        assert total == pytest.approx(first @ second, abs=1e-5)


def test_an_index_opens_it_again_by_its_name_where_the_file_is_another(model):
    """On another machine the file of the parameters has another path."""
    moved = dict(model.about, source="/home/another/.mxnet/models/small_resnet.params")
    found = open_model("idx", moved, ctx="cpu")
    np.testing.assert_allclose(found.embed(pictures()), model.embed(pictures()), atol=1e-6)
    with pytest.raises(
        ValueError, match="idx was made with pretrained_smg_small_resnet_768 at 32 pixels .*at 40 pixels"
    ):
        open_model("idx", moved, pretrained="small_resnet", input_size=40, ctx="cpu")
    with pytest.raises(ValueError, match="and .* is pretrained_smg_small_bn_inception_768 at 32 .*two models"):
        open_model("idx", moved, pretrained="small_bn_inception", ctx="cpu")


def test_the_size_of_an_index_need_not_be_repeated():
    about = opened.open_model(pretrained="small_resnet", input_size=40, ctx="cpu").about
    assert open_model("idx", about, pretrained="small_resnet", ctx="cpu").input_size == 40
    assert open_model("idx", about, ctx="cpu").input_size == 40


@pytest.mark.slow
def test_onnx_computes_the_same_without_fc_layers(tmp_path, model):
    net, experiment, _ = load_pretrained("small_resnet")
    file = tmp_path / "m.onnx"
    assert export(net, experiment, file, True, name=name_of(experiment), pretrained="small_resnet") < 1e-4
    exported = opened.open_model(exported=str(file))
    np.testing.assert_allclose(exported.embed(pictures()), model.embed(pictures()), atol=1e-5)
    assert exported.projections() == []
    assert (exported.about["pretrained"], exported.about["name"]) == ("small_resnet", model.about["name"])
    open_model("idx", model.about, exported=str(file))  # an index of one is searched with the other
    cosine = decompose(*exported.features(pictures(2)), **exported.decomposing()).cosine
    assert cosine == pytest.approx(float(np.prod(model.embed(pictures(2)), axis=0).sum()), abs=1e-5)
    export(net, experiment, file, name=name_of(experiment))
    with pytest.raises(ValueError, match="export it again with --features"):
        load_exported(file).projections()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(pretrained="resnet5"), "backbone 'resnet5' is unknown: choose one of resnet50"),
        (dict(pretrained="cifar_resnet10"), "there are no ImageNet parameters for backbone cifar_resnet10"),
        (
            dict(pretrained="small_resnet", which="best"),
            "--which is for a --checkpoint: leave it out with --pretrained",
        ),
        (dict(pretrained="small_resnet", input_size=33), "input_size 33 must be a multiple of 8"),
        (dict(pretrained="small_resnet", weights="nothing.params"), "nothing.params.* does not exist"),
        (dict(pretrained="small_resnet", runtime="openvino"), "--runtime is for an exported model"),
        (dict(checkpoint="run", weights="x.params"), "--weights is for a --pretrained backbone"),
        (
            dict(checkpoint="run", input_size=64),
            r"are for a --symbol: leave them out \(--pretrained takes --input-size",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        opened.open_model(**arguments)
