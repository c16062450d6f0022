"""The lines of docs/extending.md do what they say."""

import re
from dataclasses import replace

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd import backbones, datasets, descriptors, experiment, losses
from gluon_cgd.__main__ import main as gluon_cgd
from gluon_cgd.export import export
from gluon_cgd.extensions import attention
from gluon_cgd.models.opened import load_trained, open_model
from gluon_cgd.retrieval import approximate, collection, exact
from gluon_cgd.similarity import decompose
from gluon_cgd.train import fit
from reproduce import selection, store, tables
from reproduce.command import main
from tests import pages

PAGE = pages.ROOT / "docs" / "extending.md"


@pytest.fixture
def added(monkeypatch):
    """The eight blocks, executed in order; everything is as before afterwards."""
    monkeypatch.setattr(descriptors, "DESCRIPTORS", descriptors.DESCRIPTORS)
    monkeypatch.setitem(descriptors.DESCRIPTORS, "L", None)
    monkeypatch.setitem(experiment.DESCRIPTOR_NAMES, "L", None)
    monkeypatch.setitem(attention.ATTENTION, "gate", None)
    monkeypatch.setattr(experiment, "ATTENTIONS", experiment.ATTENTIONS)
    monkeypatch.setitem(losses.CLASSIFICATION, "squared", None)
    monkeypatch.setattr(experiment, "CLASSIFICATION_LOSSES", experiment.CLASSIFICATION_LOSSES)
    monkeypatch.setitem(losses.RANKING, "spread", None)
    monkeypatch.setattr(experiment, "LOSSES", experiment.LOSSES)
    monkeypatch.setitem(backbones.BACKBONES, "plain", None)
    monkeypatch.setitem(tables.TABLES, "table6", tables.TABLE6)
    monkeypatch.setitem(approximate.ENGINES, "signs", approximate.Faiss)
    blocks = [block.text for block in pages.blocks(PAGE) if pages.runs(block)]
    assert len(blocks) == 8
    names = {}
    for block in blocks:
        assert len([line for line in block.splitlines() if line.strip()]) <= (30 if "ENGINES" in block else 10)
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


def test_a_new_backbone_learns_from_a_list_of_records(added, small_experiment, small_split, tmp_path):
    file = tmp_path / "own.csv"
    parts = {"train": small_split.train, "test": small_split.query}
    added["write_list"]([(r.path, r.label, part) for part, records in parts.items() for r in records], file)
    chosen = replace(small_experiment, backbone="plain", dataset=str(file), passes=1, evaluations=1)
    split = datasets.split_of(chosen)
    assert [len(split.train), len(split.query)] == [len(small_split.train), len(small_split.query)]
    assert fit(chosen, split, tmp_path / "run")["parameters_sha256"]
    assert backbones.build("plain").map_shape(32) == (32, 16, 16)


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


def test_a_new_engine_builds_searches_and_is_not_relied_on_where_it_misses(added, tmp_path, capsys):
    idx, rng = str(tmp_path / "idx"), np.random.default_rng(0)
    for count in (300, 50):
        vectors = rng.normal(size=(count, 32)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        with collection.writing(idx, 32, {}) as writer:
            writer.commit(vectors, [f"/{count}/{i}.jpg" for i in range(count)], [tmp_path.stat()] * count)
        if count == 300:
            with pytest.raises(ValueError, match="has no signs: index --engine signs makes them"):
                approximate.open_engine(collection.read(idx), "signs")
            assert gluon_cgd(["index", "--out", idx, "--engine", "signs"]) == 0
            assert "signs: recall@10 against exact 0." in capsys.readouterr().out
    snapshot = collection.read(idx)
    engine = approximate.open_engine(snapshot, "signs")
    assert (engine.rows, snapshot.count, approximate.is_current(engine, snapshot)) == (300, 350, False)
    assert 0.4 < exact.recall(snapshot, engine)[0] < 1
    for (right, _), (cosines, _) in zip(*(exact.search(snapshot, vectors, 1, each) for each in (None, engine))):
        assert right == pytest.approx(cosines)  # newer rows are searched exactly
        np.testing.assert_allclose(cosines, 1, atol=1e-6)
    within = np.arange(350) < 100
    for (_, right), (_, rows) in zip(
        *(exact.search(snapshot, vectors[:5], 9, each, within) for each in (None, engine))
    ):
        np.testing.assert_array_equal(right, rows)
    assert gluon_cgd(["index", "--out", idx, "--engine", "signs", "--kind", "hnsw"]) == 2
    assert gluon_cgd(["index", "--out", idx, "--engine", "signs", "--uri", "x"]) == 2
    assert "--engine signs is not: leave it out" in capsys.readouterr().err
