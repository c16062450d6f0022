"""The lines of docs/extending.md do what they say."""

import re
from dataclasses import replace

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd import descriptors, experiment, losses
from gluon_cgd.export import export
from gluon_cgd.extensions import attention
from gluon_cgd.models.opened import load_trained, open_model
from gluon_cgd.similarity import decompose
from gluon_cgd.train import fit
from reproduce import selection, store, tables
from reproduce.command import main
from tests import pages

PAGE = pages.ROOT / "docs" / "extending.md"


@pytest.fixture
def added(monkeypatch):
    """The five blocks, executed in order; everything is as before afterwards."""
    monkeypatch.setattr(descriptors, "DESCRIPTORS", descriptors.DESCRIPTORS)
    monkeypatch.setitem(descriptors.DESCRIPTORS, "L", None)
    monkeypatch.setitem(experiment.DESCRIPTOR_NAMES, "L", None)
    monkeypatch.setitem(attention.ATTENTION, "gate", None)
    monkeypatch.setattr(experiment, "ATTENTIONS", experiment.ATTENTIONS)
    monkeypatch.setitem(losses.CLASSIFICATION, "squared", None)
    monkeypatch.setattr(experiment, "CLASSIFICATION_LOSSES", experiment.CLASSIFICATION_LOSSES)
    monkeypatch.setitem(losses.RANKING, "spread", None)
    monkeypatch.setattr(experiment, "LOSSES", experiment.LOSSES)
    monkeypatch.setitem(tables.TABLES, "table6", tables.TABLE6)
    blocks = [block.text for block in pages.blocks(PAGE) if pages.runs(block)]
    assert len(blocks) == 5
    names = {}
    for block in blocks:
        assert len([line for line in block.splitlines() if line.strip()]) <= 10
        exec(compile(block, PAGE.name, "exec"), names)
    return names


def test_a_new_descriptor_and_loss_train(added, small_experiment, small_split, tmp_path):
    chosen = replace(small_experiment, descriptors="SL", loss="spread", classification_loss="squared")
    result = fit(chosen, small_split, tmp_path)
    assert set(result["branches"]["last"]) == {"SPoC", "RMS"}
    x = mx.nd.array([[[[3, 4]]]])
    assert added["RMS"]()(x).asscalar() == pytest.approx((12.5) ** 0.5)


@pytest.mark.slow
def test_a_new_attention_block_trains_exports_and_explains(added, small_experiment, small_split, tmp_path):
    fit(replace(small_experiment, attention="gate"), small_split, tmp_path / "run")
    net, chosen = load_trained(tmp_path / "run")
    assert isinstance(net.attention, added["Gate"])
    assert export(net, chosen, tmp_path / "model.onnx", features=True) <= 1e-4
    model = open_model(exported=str(tmp_path / "model.onnx"))
    pictures = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    found, (first, second) = decompose(*model.features(pictures), **model.decomposing()), model.embed(pictures)
    assert found.map1.sum() == pytest.approx(first @ second, abs=1e-5)


def test_a_new_row_stands_beside_the_others(added, small_split, tmp_path, capsys, monkeypatch, small_experiment):
    row = added["row"]
    monkeypatch.setattr(
        selection, "mini", lambda asked: replace(small_experiment, descriptors=asked.descriptors, loss=asked.loss)
    )
    monkeypatch.setattr(store, "load_data", lambda name, data: small_split)
    assert main(["table6", "--mini", "--rows", row.name, "--backend", "here", "--runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"SL \+ spread +published +- +- +- +-\n +mini +\d", out)
    assert "S + Triplet†" in out
