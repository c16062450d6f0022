import shutil
import subprocess
import sys

import mxnet as mx
import numpy as np
import onnx
import pytest

from gluon_cgd.evaluate import embed, features_of
from gluon_cgd.machine import facts
from gluon_cgd.models import onnx_model
from gluon_cgd.models.opened import load_trained

WITHOUT_MXNET = "import sys; sys.modules.update(dict.fromkeys(('mxnet', 'gluoncv', 'gluoncv2', 'onnx'))); "


def pictures(count=5):
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)


def without_mxnet(code, *arguments):
    """What `code` prints where MXNet, GluonCV and onnx cannot be imported."""
    command = [sys.executable, "-c", WITHOUT_MXNET + code, *map(str, arguments)]
    run = subprocess.run(command, cwd=facts.PROJECT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("name", onnx_model.RUNTIMES)
def test_a_runtime_computes_what_mxnet_does(exported, name):
    model, (net, experiment) = onnx_model.load_exported(exported / "model.onnx", name), load_trained(exported / "run")
    assert (model.input_size, model.dim, model.experiment) == (16, 8, experiment.to_dict())
    expected = embed(net, pictures(), mx.cpu())
    for batch_size in (1, 2, 32):  # two of two and one of one
        np.testing.assert_allclose(model.embed(pictures(), batch_size), expected, atol=1e-5)
    features = features_of(net, pictures(), mx.cpu())
    np.testing.assert_allclose(model.features(pictures()), features, atol=1e-5 * np.abs(features).max())
    assert model.embed(pictures(0)).shape == (0, 8)
    np.testing.assert_allclose(model.embed(pictures()[:, ::-1]), embed(net, pictures()[:, ::-1], mx.cpu()), atol=1e-5)


def test_it_works_without_mxnet_and_with_another_numpy(exported, tmp_path):
    np.save(tmp_path / "pictures.npy", pictures())
    code = """
import numpy; numpy.__version__ = "1.24.0"
from gluon_cgd.models import onnx_model
model = onnx_model.load_exported(sys.argv[1])
numpy.save(sys.argv[3], model.embed(numpy.load(sys.argv[2])))
print(model.about["name"])
"""
    files = (tmp_path / "pictures.npy", tmp_path / "vectors.npy")
    assert without_mxnet(code, exported / "model.onnx", *files) == "cgd_sm_cifar_resnet10_8\n"
    expected = onnx_model.load_exported(exported / "model.onnx").embed(pictures())
    np.testing.assert_array_equal(np.load(tmp_path / "vectors.npy"), expected)


@pytest.mark.parametrize(
    "wrong", [pictures() / 255, pictures()[..., :1], pictures()[:, :8], pictures().transpose(0, 3, 1, 2), pictures()[0]]
)
def test_pictures_of_another_kind_are_refused(exported, wrong):
    with pytest.raises(ValueError, match=r"this model takes uint8 of shape \(N, 16, 16, 3\), RGB from 0 to 255"):
        onnx_model.load_exported(exported / "model.onnx").embed(wrong)


@pytest.mark.parametrize("name", onnx_model.RUNTIMES)
def test_a_file_that_is_no_whole_onnx_file_is_refused(exported, tmp_path, name):
    whole, file = (exported / "model.onnx").read_bytes(), tmp_path / "broken.onnx"
    broken = (b"", b"no model", whole[: len(whole) // 2], b"\x08" + bytes(range(256)), whole[:9])
    for content in broken:
        file.write_bytes(content)
        with pytest.raises(ValueError, match=f"broken.onnx is not a (whole ONNX file that {name} can run|model that)"):
            onnx_model.load_exported(file, name)
    with pytest.raises(FileNotFoundError, match="none.onnx does not exist: an exported model is a file"):
        onnx_model.load_exported(tmp_path / "none.onnx", name)
    with pytest.raises(FileNotFoundError, match="is a folder: an exported model is a file"):
        onnx_model.load_exported(tmp_path, name)


@pytest.mark.parametrize("name", onnx_model.RUNTIMES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "'format' in its metadata"),
        ({"format": "gluon_cgd 2"}, "format 'gluon_cgd 2' in its metadata"),
        ({"experiment": "none"}, "in its metadata"),
        ({"experiment": "[]"}, "no experiment in its metadata"),
        ({"input_size": "null"}, "no sizes in its metadata"),
    ],
)
def test_an_onnx_file_of_another_program_is_refused(exported, tmp_path, name, change, message):
    model = onnx.load(str(exported / "model.onnx"))
    found = {prop.key: prop.value for prop in model.metadata_props}
    onnx.helper.set_model_props(model, {**found, **change} if change else {})
    onnx.save(model, str(tmp_path / "other.onnx"))
    with pytest.raises(ValueError, match=f"other.onnx is not a model that this version .*{message}"):
        onnx_model.load_exported(tmp_path / "other.onnx", name)


def test_a_file_without_feature_maps_says_so(exported, tmp_path):
    model = onnx.load(str(exported / "model.onnx"))
    for prop in model.metadata_props:
        if prop.key in ("features", "projections"):
            prop.value = "null"
    onnx.save(model, str(tmp_path / "other.onnx"))
    with pytest.raises(ValueError, match="export it again with --features"):
        onnx_model.load_exported(tmp_path / "other.onnx").features(pictures())
    with pytest.raises(ValueError, match="without what heatmaps need: export it again with --features"):
        onnx_model.load_exported(tmp_path / "other.onnx").projections()


def test_a_runtime_that_is_unknown_or_not_installed_is_named(exported, monkeypatch):
    with pytest.raises(ValueError, match="runtime 'tensorrt' is unknown: choose one of onnxruntime, openvino"):
        onnx_model.load_exported(exported / "model.onnx", "tensorrt")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match="openvino cannot be imported .*: python -m pip install openvino"):
        onnx_model.load_exported(exported / "model.onnx", "openvino")


def test_a_name_that_is_not_english_is_found(exported, tmp_path):
    shutil.copy(exported / "model.onnx", tmp_path / "鳥 modèle.onnx")
    for name in onnx_model.RUNTIMES:
        assert onnx_model.load_exported(tmp_path / "鳥 modèle.onnx", name).dim == 8
