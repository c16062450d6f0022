"""A network in an ONNX file and one of gluoncv2, by name, through all that a backbone goes through."""

import json
from pathlib import Path

import numpy as np
import pytest

from gluon_cgd.engines import environment
from gluon_cgd.experiment import Experiment
from gluon_cgd.export import export
from gluon_cgd.models import opened
from gluon_cgd.models.onnx_model import load_exported
from gluon_cgd.similarity import decompose
from gluon_cgd.train import fit
from tests.networks.onnx_files import network

pytestmark = pytest.mark.slow
SHORT = dict(dataset="glyphs", descriptors="SG", dim=8, passes=3, batch_classes=4, batch_images=2, evaluations=1)


def pictures(side):
    return np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)


@pytest.mark.parametrize("kind", ["onnx", "gluoncv2"])
def test_it_trains_is_opened_exported_and_explained(kind, small_split, tmp_path):
    network(tmp_path / "Net.onnx")
    chosen = {"onnx": (f"onnx:{tmp_path / 'Net.onnx'}", True, 64), "gluoncv2": ("gluoncv2:resnet20_cifar10", False, 32)}
    backbone, pretrained, side = chosen[kind]
    experiment = Experiment(backbone=backbone, pretrained=pretrained, input_size=side, learning_rate=1e-3, **SHORT)
    result = fit(experiment, small_split, tmp_path / "run", cache=tmp_path)
    assert result["parameters_sha256"]
    assert (result["weights"] is not None) == pretrained
    model = opened.open_model(checkpoint=tmp_path / "run", ctx="cpu")
    embedding = model.embed(pictures(side))
    np.testing.assert_allclose((embedding**2).sum(1), 1, rtol=1e-5)
    maps = model.features(pictures(side))
    parts = decompose(maps[0], maps[1], **model.decomposing())
    assert parts.cosine == pytest.approx(float(embedding[0] @ embedding[1]), abs=1e-5)
    net, _ = opened.load_trained(tmp_path / "run")
    assert export(net, experiment, tmp_path / "model.onnx", features=True) < 1e-4
    if kind == "onnx":
        (tmp_path / "Net.onnx").unlink()
        with pytest.raises(ValueError, match="the network of .* cannot be made: .*Net.onnx, the file of the backbone"):
            opened.open_model(checkpoint=tmp_path / "run", ctx="cpu")
    np.testing.assert_allclose(load_exported(tmp_path / "model.onnx").embed(pictures(side)), embedding, atol=1e-4)


@pytest.mark.skipif(environment.found() is None, reason="no environment with PyTorch (see docs/engines.md)")
def test_pytorch_takes_the_same_steps_of_an_onnx_file(tmp_path):
    from tests.engines import parity, parity_in_mxnet

    name = f"onnx:{network(tmp_path / 'Net.onnx') and tmp_path / 'Net.onnx'}"
    experiment = Experiment(backbone=name, input_size=64, dim=24, weight_decay=1e-4)
    parity_in_mxnet.write(tmp_path / "steps.npz", experiment, steps=1)
    there = parity.Side([str(environment.found()), str(Path(parity.__file__).with_name("parity_in_torch.py"))])
    try:
        found = json.loads(there.ask(tmp_path / "steps.npz"))
    finally:
        there.close()
    for what in ("loss64", "embedding64", "gradient64", "statistics64"):
        assert found[what] < 1e-9, (what, found)
