"""A model that gives NaN: every command that computes with it ends with a sentence and status 2, and writes nothing."""

import re

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd import model
from gluon_cgd.__main__ import main
from gluon_cgd.evaluate import NotFinite, directed
from gluon_cgd.experiment import Experiment
from gluon_cgd.models import zoo
from gluon_cgd.models.onnx_model import Exported
from tests import miniatures
from visualize import embedding, ranking, similarity

SMALL = dict(backbone="cifar_resnet10", pretrained=False, input_size=16, descriptors="SM", dim=8)


@pytest.fixture(params=["FC", "backbone", "overflow"])
def diverged(tmp_path, request):
    """(a folder, a model's file, whether its parameters are NaN): else they are so large that only its maps are."""
    folder = miniatures.folder(tmp_path / "photos", classes=4, images=4)
    experiment = Experiment(dataset=str(folder), **SMALL)
    net = model.from_experiment(experiment, 3)
    net(mx.nd.zeros((1, 3, 16, 16)))
    part = net.reductions[0] if request.param == "FC" else net.backbone
    kind, value = ("gamma", 3e38) if request.param == "overflow" else ("weight", float("nan"))
    for parameter in (p for name, p in part.collect_params().items() if name.endswith(kind)):
        parameter.data()[:] = value
    return folder, str(zoo.save(net, experiment, tmp_path / "m")), request.param != "overflow"


def test_no_command_writes_nan(diverged, tmp_path, capsys):
    folder, file, at_once = diverged
    checkpoint, out = ["--checkpoint", file], tmp_path / "out"
    out.mkdir()
    pictures = [str(folder / "class 0" / name) for name in ("0.jpg", "1.jpg")]
    commands = {
        "embed": lambda: main(["embed", *checkpoint, "--images", str(folder), "--out", str(out / "v.npy")]),
        "evaluate": lambda: main(["evaluate", *checkpoint]),
        "index": lambda: main(["index", *checkpoint, "--images", str(folder), "--out", str(tmp_path / "idx")]),
        "export": lambda: main(["export", *checkpoint, "--onnx", str(out / "m.onnx")]),
        "similarity": lambda: similarity.main([*pictures, *checkpoint, "--out", str(out / "s.png")]),
        "ranking": lambda: ranking.main([*checkpoint, "--out", str(out / "r.png")]),
        "embedding": lambda: embedding.main([*checkpoint, "--out", str(out / "e.png")]),
    }
    for name, command in commands.items():
        assert command() == 2, name
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        assert re.search("NaN|nan|zero", printed.err), name
        assert not printed.out, name
        named = {"export": "the exported model", "index": "a picture of noise"}.get(name, f"{folder}/class ")
        assert (file if at_once else named) in printed.err, name
        assert not any(out.iterdir()), name


def test_an_exported_model_is_checked_too():
    def compute(batch, output):
        values = np.ones((len(batch), 3) if output == "embedding" else (len(batch), 2, 1, 1), np.float32)
        values[batch[:, 0, 0, 0] == 9] = np.inf
        return values if output != "projections" else np.full((4, 2), np.nan, np.float32)

    about = dict(experiment={"architecture": "CGD", "descriptors": "SM"}, input_size=8, dim=3)
    exported = Exported(compute, {**about, "features": [2, 1, 1], "projections": [4, 2]}, "m.onnx")
    pictures = np.zeros((7, 8, 8, 3), np.uint8)
    assert exported.embed(pictures, 2).shape == (7, 3)
    pictures[5] = 9
    for compute_them in (exported.embed, exported.features):
        with pytest.raises(NotFinite, match=r"of picture 5 is NaN or infinite \(1 of 7 are\)"):
            compute_them(pictures, 2)
    with pytest.raises(NotFinite, match=r"the embedding of picture 0 is zero \(1 of 2 are\)"):
        directed(np.float32([[0, 0], [0, 1e-9]]))
    with pytest.raises(ValueError, match="the model has weights that are NaN or infinite"):
        exported.projections()
