import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from gluon_cgd.__main__ import main
from gluon_cgd.export import int8
from gluon_cgd.models import onnx_model

pytest.importorskip("sympy")  # imported by onnxruntime's quantisation


@pytest.fixture(scope="module")
def quantised(exported, tmp_path_factory):
    """(the float32 model's file, that of its 8-bit form, the mean cosine that was told, pictures of another kind)."""
    squares = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), np.uint8)
    pictures = squares.repeat(4, axis=1).repeat(4, axis=2)
    out = tmp_path_factory.mktemp("int8") / "int8.onnx"
    told = int8.quantise(exported / "model.onnx", out, pictures[:32])
    return exported / "model.onnx", out, told, pictures[32:]


def test_an_8_bit_model_gives_nearly_the_same_embeddings(quantised):
    whole, small, told, pictures = quantised
    expected, found = (onnx_model.load_exported(file).embed(pictures) for file in (whole, small))
    cosines = np.einsum("nd,nd->n", expected, found)
    assert 0.98 < cosines.mean() < 0.9999999  # and it is another model
    assert 0.98 < told <= 1
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_both_runtimes_agree_on_it(quantised):
    _, small, _, pictures = quantised
    first, second = (onnx_model.load_exported(small, runtime).embed(pictures) for runtime in onnx_model.RUNTIMES)
    assert np.einsum("nd,nd->n", first, second).mean() > 0.98


def test_all_convolutions_but_the_first_are_in_8_bits(quantised):
    graph = onnx.load(str(quantised[1])).graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    weights = [made_by.get(node.input[1]) for node in graph.node if node.op_type == "Conv"]
    assert weights[0] is None
    assert len(weights) > 5
    assert set(weights[1:]) == {"DequantizeLinear"}


def test_it_knows_what_it_was_exported_from_and_that_it_is_in_8_bits(quantised):
    whole, small = (onnx_model.load_exported(file).about for file in quantised[:2])
    own = f"{whole['parameters_sha256']} in 8 bits"  # which an index of the float32 model's does not take for them
    assert {**whole, "parameters_sha256": own, "int8": True} == small


def test_export_writes_it_for_pictures_like_those_in_a_folder(exported, small_split, tmp_path, capsys):
    photos = str(Path(small_split.train[0].path).parent)
    out = tmp_path / "there" / "int8.onnx"
    assert main(["export", "--checkpoint", str(exported / "run"), "--onnx", str(out), "--int8", photos]) == 0
    told = r"MB; the largest difference to MXNet is [\d.]+e-0\d, and in 8 bits the mean cosine to that 0\.9\d+, on"
    assert re.search(told, capsys.readouterr().out)
    assert onnx_model.load_exported(out).about["which"] == "last"


@pytest.mark.parametrize(
    ("photos", "message"), [("nowhere", "nowhere is not a folder: --int8 must name"), ("", "holds no pictures")]
)
def test_without_pictures_to_calibrate_with_nothing_is_exported(photos, message, exported, tmp_path, capsys):
    out, folder = tmp_path / "int8.onnx", tmp_path / "photos"
    folder.mkdir()
    asked = ["--onnx", str(out), "--int8", str(folder / photos)]
    assert main(["export", "--checkpoint", str(exported / "run"), *asked]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_model_that_is_another_one_in_8_bits_is_not_written(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(int8, "cosine", lambda *models: float("nan"))
    pictures = np.zeros((2, 16, 16, 3), np.uint8)
    with pytest.raises(ValueError, match="cosine to the model is nan, where 0.9 is the least: nothing is written"):
        int8.quantise(exported / "model.onnx", tmp_path / "int8.onnx", pictures)
    assert not list(tmp_path.iterdir())


def drawn(folder, count):
    """`count` pictures of coloured squares in the folder."""
    folder.mkdir()
    squares = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8)
    for number, picture in enumerate(squares.repeat(4, axis=1).repeat(4, axis=2)):
        Image.fromarray(picture).save(folder / f"{number:03}.png")
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 7, 9, 20, 300])
def test_any_number_of_pictures_will_do(exported, tmp_path, count):
    paths = int8.calibration(drawn(tmp_path / "photos", count))
    pictures = int8.read(paths, 16)
    assert int8.quantise(exported / "model.onnx", tmp_path / "int8.onnx", pictures) > 0.95
    assert onnx_model.load_exported(tmp_path / "int8.onnx").embed(pictures[:1]).shape == (1, 8)


def test_the_size_of_the_batches_does_not_change_the_model(exported, tmp_path, monkeypatch):
    pictures = int8.read(int8.calibration(drawn(tmp_path / "photos", 16)), 16)
    files = [tmp_path / f"{size}.onnx" for size in (8, 1, 3)]
    for file in files:
        monkeypatch.setattr(int8, "BATCH", int(file.stem))
        int8.quantise(exported / "model.onnx", file, pictures)
    assert len({file.read_bytes() for file in files}) == 1


def test_pictures_to_calibrate_with_are_spread_over_the_folder(tmp_path):
    for number in range(300):
        (tmp_path / f"{number:03}.jpg").touch()
    names = [Path(path).name for path in int8.calibration(str(tmp_path))]
    assert names[:2] == ["000.jpg", "003.jpg"]
    assert len(names) == 100


def test_without_what_it_needs_the_remedy_is_named(exported, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    with pytest.raises(ImportError, match="need onnx, onnxruntime and sympy .*requirements-extra.txt"):
        int8.quantise(exported / "model.onnx", tmp_path / "out.onnx", np.zeros((1, 16, 16, 3), np.uint8))
    assert not list(tmp_path.iterdir())
