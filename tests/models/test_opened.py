import sys
from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest

import gluon_cgd.models
from gluon_cgd import model
from gluon_cgd.evaluate import embed
from gluon_cgd.models import opened, zoo


def published(folder, experiment, seed=0):
    """The file of a model that was never trained."""
    mx.random.seed(seed)
    net = model.from_experiment(experiment, 5)
    net(mx.nd.zeros((1, 3, 16, 16)))
    return str(zoo.save(net, experiment, folder))


def pictures(n):
    return list(np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8))


@pytest.mark.parametrize("ctx", ["cpu", "cpu0,cpu1"])
def test_a_model_embeds_any_number_of_pictures_as_evaluate_does(tmp_path, small_experiment, ctx):
    file = published(tmp_path, small_experiment)
    found = opened.load(file, None, None, ctx, None, "idx")
    net, _ = zoo.load(file)
    for n in (1, 3, 5):
        expected = embed(net, np.stack(pictures(n)), mx.cpu(), 8)
        np.testing.assert_allclose(found.embed(pictures(n)), expected, atol=1e-6)
    assert (found.side, found.experiment) == (16, small_experiment)
    assert found.about["name"] == "cgd_sm_cifar_resnet10_8"


def test_an_index_knows_its_model_again_wherever_the_file_is(tmp_path, small_experiment):
    file = published(tmp_path / "a", small_experiment)
    about = opened.load(file, None, None, "cpu", None, "idx").about
    assert opened.load(None, None, None, "cpu", about, "idx").about == about
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(ValueError, match="idx was made with .*, which is gone: say where it is, with --checkpoint"):
        opened.load(None, None, None, "cpu", about, "idx")
    moved = opened.load(file.replace("/a/", "/b/"), None, None, "cpu", about, "idx").about
    assert moved == {**about, "source": file.replace("/a/", "/b/")}


def test_another_model_is_refused(tmp_path, small_experiment):
    file, other = (published(tmp_path, small_experiment, seed) for seed in (0, 1))
    about = opened.load(file, None, None, "cpu", None, "idx").about
    with pytest.raises(ValueError, match=r"idx was made with cgd_sm.* \(parameters \w{8}, .*embeddings of two models"):
        opened.load(other, None, None, "cpu", about, "idx")
    wider = {**about, "experiment": {**about["experiment"], "input_size": 32}}  # the same parameters, other pictures
    with pytest.raises(ValueError, match="embeddings of two models cannot be compared"):
        opened.check_same("idx", wider, about)


def test_what_names_no_model_is_refused(tmp_path, small_experiment):
    with pytest.raises(ValueError, match="idx is new: name the model with --checkpoint"):
        opened.load(None, None, None, "cpu", None, "idx")
    with pytest.raises(ValueError, match="--which is for a run's folder"):
        opened.load(published(tmp_path, small_experiment), None, "best", "cpu", None, "idx")
    with pytest.raises(ValueError, match="--runtime is for an exported model: leave it out with run"):
        opened.load("run", None, None, None, None, "idx", "openvino")


@pytest.mark.parametrize("parameters", [None, "abc"])
def test_an_onnx_file_is_a_model_too(tmp_path, small_experiment, monkeypatch, parameters):
    """What is asked of onnx_model; a file that says whose parameters it has goes with an index of that model."""
    file = tmp_path / "model.onnx"
    file.write_bytes(b"some network")
    told = {"name": "a model", **({"parameters_sha256": parameters} if parameters else {})}
    exported = SimpleNamespace(
        embed=lambda batch: batch[:, 0, :2, 0].astype(np.float32),
        features=lambda batch: batch.transpose(0, 3, 1, 2),
        projections=lambda: ["a matrix"],
        input_size=16,
        experiment=small_experiment.to_dict(),
        about=told,
    )
    asked = []
    fake = SimpleNamespace(load=lambda source, computed_by: asked.append(computed_by) or exported)
    monkeypatch.setitem(sys.modules, "gluon_cgd.models.onnx_model", fake)
    monkeypatch.setattr(gluon_cgd.models, "onnx_model", fake)
    found = opened.load(None, str(file), None, None, None, "idx")
    assert found.embed(pictures(3)).tolist() == [picture[0, :2, 0].tolist() for picture in pictures(3)]
    assert (found.side, found.weights(), found.about["onnx"]) == (16, ["a matrix"], True)
    assert found.features(pictures(3)).shape == (3, 3, 16, 16)
    assert opened.load(None, None, None, None, found.about, "idx", "openvino").about == found.about
    assert asked == ["onnxruntime", "openvino"]
    for options in ((None, "cpu"), ("last", None)):
        with pytest.raises(ValueError, match="--ctx and --which are for a --checkpoint: .*model.onnx"):
            opened.load(None, None, *options, found.about, "idx")
    file.unlink()
    with pytest.raises(ValueError, match="which is gone: say where it is, with --model"):
        opened.load(None, None, None, None, found.about, "idx")
    mxnet = dict(found.about, onnx=False, source="runs/x", parameters_sha256="abc")
    if parameters:
        opened.check_same("idx", mxnet, found.about)
    else:
        with pytest.raises(ValueError, match="embeddings of two models"):
            opened.check_same("idx", mxnet, found.about)
