import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from gluon_cgd import datasets
from gluon_cgd.__main__ import main
from gluon_cgd.datasets.images import load_picture
from gluon_cgd.evaluate import labelled
from gluon_cgd.export import export, graph, poolings
from gluon_cgd.models import onnx_model
from gluon_cgd.models.opened import load_trained
from gluon_cgd.recall import recall_of


def refused(capsys, *arguments):
    """What is said on stderr when the command line is refused."""
    assert main(list(map(str, arguments))) == 2
    captured = capsys.readouterr()
    assert not captured.out
    return captured.err.strip()


def test_the_command_tells_how_far_the_file_is_from_mxnet(exported, tmp_path, capsys):
    assert main(["export", "--checkpoint", str(exported / "run"), "--onnx", str(tmp_path / "new/model.onnx")]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{tmp_path / 'new/model.onnx'}: 1.3 MB; the largest difference to MXNet is ")
    assert 0 < float(told.split()[-1]) < 1e-5
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["model.onnx"]
    assert onnx_model.load_exported(tmp_path / "new/model.onnx").about["features"] is None


def test_an_exported_model_has_the_recall_of_the_run(exported, small_split):
    pictures = np.stack([load_picture(record.path, 16) for record in small_split.query])
    model = onnx_model.load_exported(exported / "model.onnx")
    found = labelled(model.embed, small_split, pictures, None)
    result = json.loads((exported / "run/result.json").read_text())
    assert recall_of((1, 2, 4, 8), found) == result["last"]


def test_evaluate_takes_an_exported_model(exported, small_split, capsys, monkeypatch):
    monkeypatch.setattr(datasets, "load", lambda *arguments: small_split)
    result = json.loads((exported / "run/result.json").read_text())
    for more in ([], ["--runtime", "openvino"]):
        assert main(["evaluate", "--model", str(exported / "model.onnx"), "--json", *more]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told.pop("precision")["P@1"]["value"] == pytest.approx(result["last"]["R@1"])
        assert told == {"dataset": "glyphs", "model": str(exported / "model.onnx"), "recall": result["last"]}


def test_the_file_explains_itself(exported):
    model = onnx.load(str(exported / "model.onnx"))
    onnx.checker.check_model(model, full_check=True)
    told = {prop.key: prop.value for prop in model.metadata_props}
    result = json.loads((exported / "run/result.json").read_text())
    assert told.pop("format") == "gluon_cgd 1"
    told = {key: json.loads(value) for key, value in told.items()}
    assert told == {
        "name": "cgd_sm_cifar_resnet10_8",
        "input_size": 16,
        "dim": 8,
        "descriptors": "SM",
        "features": [128, 4, 4],
        "projections": [8, 128],
        "fc_layers": 2,
        "parameters_sha256": result["parameters_sha256"],
        "experiment": result["experiment"],
        "which": "last",
        "recall": result["last"],
        "seed": 0,
        "commit": result["commit"],
        "trained_at_commit": result["commit"],
    }
    assert onnx_model.load_exported(exported / "model.onnx").about == told
    assert "pictures, uint8 RGB of shape (N, 16, 16, 3)" in model.doc_string
    shapes = {
        one.name: [size.dim_param or size.dim_value for size in one.type.tensor_type.shape.dim]
        for one in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "pictures": ["N", 16, 16, 3],
        "embedding": ["N", 8],
        "features": ["N", 128, 4, 4],
        "projections": [8, 128],
    }


def test_the_best_parameters_and_a_published_model_can_be_exported(exported, tmp_path, capsys):
    run = str(exported / "run")
    assert main(["publish", "--checkpoint", run, "--which", "best", "--out", str(tmp_path)]) == 0
    published = capsys.readouterr().out.strip()
    abouts = []
    for number, source in enumerate(([run, "--which", "best"], [published])):
        file = tmp_path / f"{number}.onnx"
        assert main(["export", "--checkpoint", *source, "--onnx", str(file)]) == 0
        model = onnx_model.load_exported(file)
        abouts.append((model.about["which"], model.about["recall"], model.about["seed"]))
    best = json.loads((exported / "run/result.json").read_text())["best"]
    assert abouts == [("best", best, 0)] * 2


def test_a_file_that_computes_something_else_is_not_kept(exported, tmp_path, monkeypatch):
    net, experiment = load_trained(exported / "run")
    file = tmp_path / "model.onnx"
    file.write_bytes(b"the one before")
    monkeypatch.setitem(graph.POOLINGS, "S", poolings.mac)
    with pytest.raises(ValueError, match=r"differs from MXNet's by [1-9].*, where at most 1e-04 is rounding"):
        export(net, experiment, file)
    monkeypatch.undo()
    monkeypatch.setattr(graph, "MEAN", graph.MEAN[::-1])  # BGR
    with pytest.raises(ValueError, match="nothing is written"):
        export(net, experiment, file)
    assert [one.name for one in tmp_path.iterdir()] == ["model.onnx"]
    assert file.read_bytes() == b"the one before"


def test_a_network_that_diverged_is_refused(exported, tmp_path):
    net, experiment = load_trained(exported / "run")
    net.reductions[0].weight.data()[0, 0] = float("nan")
    with pytest.raises(ValueError, match="differs from MXNet's by nan"):
        export(net, experiment, tmp_path / "model.onnx")
    assert not list(tmp_path.glob("*.onnx"))


def test_what_cannot_be_exported_is_refused_in_a_sentence(exported, tmp_path, capsys):
    run = ["export", "--checkpoint", exported / "run"]
    assert "must end in .onnx" in refused(capsys, *run, "--onnx", tmp_path / "model.bin")
    assert "holds no finished run" in refused(capsys, "export", "--checkpoint", tmp_path, "--onnx", tmp_path / "m.onnx")
    shutil.copytree(exported / "run", tmp_path / "run")
    Path(tmp_path / "run/last.params").write_bytes(b"")
    assert "is not the file that the run left" in refused(
        capsys, "export", "--checkpoint", tmp_path / "run", "--onnx", tmp_path / "m.onnx"
    )
    assert "has one set of parameters" in refused(
        capsys, "export", "--checkpoint", "a.params", "--which", "best", "--onnx", tmp_path / "m.onnx"
    )
