from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd import model
from gluon_cgd.evaluate import embed
from gluon_cgd.models import opened, zoo
from gluon_cgd.retrieval.model import check_same, open_model


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
    found = open_model("idx", None, file, ctx=ctx)
    net, _ = zoo.load_published(file)
    for n in (1, 3, 5):
        expected = embed(net, np.stack(pictures(n)), mx.cpu(), 8)
        np.testing.assert_allclose(found.embed(pictures(n)), expected, atol=1e-6)
    assert (found.input_size, found.experiment) == (16, small_experiment)
    assert found.about["name"] == "cgd_sm_cifar_resnet10_8"


def test_an_index_knows_its_model_again_wherever_the_file_is(tmp_path, small_experiment):
    file = published(tmp_path / "a", small_experiment)
    about = open_model("idx", None, file, ctx="cpu").about
    assert open_model("idx", about, ctx="cpu").about == about
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(ValueError, match="idx was made with .*, which is gone: say where it is, with --checkpoint"):
        open_model("idx", about, ctx="cpu")
    moved = open_model("idx", about, file.replace("/a/", "/b/"), ctx="cpu").about
    assert moved == {**about, "source": file.replace("/a/", "/b/")}


def test_another_model_is_refused(tmp_path, small_experiment):
    file, other = (published(tmp_path, small_experiment, seed) for seed in (0, 1))
    about = open_model("idx", None, file, ctx="cpu").about
    with pytest.raises(ValueError, match=r"idx was made with cgd_sm.* \(parameters \w{8}, .*embeddings of two models"):
        open_model("idx", about, other, ctx="cpu")
    wider = {**about, "experiment": {**about["experiment"], "input_size": 32}}  # the same parameters, other pictures
    with pytest.raises(ValueError, match="embeddings of two models cannot be compared"):
        check_same("idx", wider, about)


def test_a_model_in_8_bits_is_told_from_that_in_full_by_the_message(tmp_path, small_experiment):
    about = open_model("idx", None, published(tmp_path, small_experiment), ctx="cpu").about
    digest = about["parameters_sha256"]
    with pytest.raises(ValueError, match=rf"\(parameters {digest[:8]}, .*\(parameters {digest[:8]} in 8 bits\): emb"):
        check_same("idx", about, {**about, "parameters_sha256": f"{digest} in 8 bits"})


def test_what_names_no_model_is_refused(tmp_path, small_experiment):
    with pytest.raises(ValueError, match="idx is new: name the model with --checkpoint"):
        open_model("idx", None, ctx="cpu")
    with pytest.raises(ValueError, match="--which is for a run's folder"):
        open_model("idx", None, published(tmp_path, small_experiment), which="best", ctx="cpu")
    with pytest.raises(ValueError, match="--runtime is for an exported model: leave it out with run"):
        open_model("idx", None, "run", runtime="openvino")


@pytest.mark.parametrize("parameters", [None, "abc"])
def test_an_onnx_file_is_a_model_too(tmp_path, small_experiment, monkeypatch, parameters):
    """What is asked of onnx_model; a file that says whose parameters it has goes with an index of that model."""
    file = tmp_path / "model.onnx"
    file.write_bytes(b"some network")
    told = {"name": "a model", **({"parameters_sha256": parameters} if parameters else {})}
    exported = SimpleNamespace(
        embed=lambda batch: np.stack(batch)[:, 0, :2, 0].astype(np.float32),
        features=lambda batch: np.stack(batch).transpose(0, 3, 1, 2),
        projections=lambda: ["a matrix"],
        input_size=16,
        experiment=small_experiment.to_dict(),
        about=told,
    )
    asked = []
    monkeypatch.setattr(opened.onnx_model, "load_exported", lambda source, *how: asked.append(how) or exported)
    found = open_model("idx", None, exported=str(file))
    assert found.embed(pictures(3)).tolist() == [picture[0, :2, 0].tolist() for picture in pictures(3)]
    assert (found.input_size, found.projections(), found.about["onnx"]) == (16, ["a matrix"], True)
    assert found.features(pictures(3)).shape == (3, 3, 16, 16)
    assert open_model("idx", found.about, runtime="openvino").about == found.about
    assert open_model("idx", found.about, ctx="cuda1").about == found.about
    assert asked == [("onnxruntime", None), ("openvino", None), ("onnxruntime", "cuda1")]
    with pytest.raises(ValueError, match="--which is for a --checkpoint: leave it out with .*model.onnx"):
        open_model("idx", found.about, which="last")
    file.unlink()
    with pytest.raises(ValueError, match="which is gone: say where it is, with --model"):
        open_model("idx", found.about)
    mxnet = dict(found.about, onnx=False, source="runs/x", parameters_sha256="abc")
    if parameters:
        check_same("idx", mxnet, found.about)
    else:
        with pytest.raises(ValueError, match="embeddings of two models"):
            check_same("idx", mxnet, found.about)


@pytest.mark.parametrize("which", ["last", "best"])
def test_parameters_inside_of_a_run_are_answered_with_the_name_of_the_run(exported, which):
    with pytest.raises(ValueError, match=rf"belongs to the run .*run: name that folder \(--which {which} for this"):
        opened.load_trained(exported / "run" / f"{which}.params")
