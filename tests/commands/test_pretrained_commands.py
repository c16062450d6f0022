"""Search and heatmaps before any training, as a person types them, with a small backbone of this project."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from gluon_cgd.__main__ import main
from gluon_cgd.commands import options
from gluon_cgd.datasets import glyphs
from visualize import similarity


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twelve letters, each twice."""
    folder = tmp_path_factory.mktemp("photos")
    for label in range(12):
        for number in range(2):
            Image.fromarray(glyphs.picture(label, number)).save(folder / f"{label:02}-{number}.png")
    return folder


@pytest.fixture(scope="module")
def whitened(tmp_path_factory, photos):
    """The index of a pretrained backbone, whitened."""
    idx = tmp_path_factory.mktemp("made") / "idx"
    index = ["index", "--images", str(photos), "--out", str(idx), "--ctx", "cpu"]
    assert main([*index, "--pretrained", "small_resnet", "--whiten"]) == 0
    return idx


def found(capsys, *arguments):
    capsys.readouterr()
    assert main(["search", *map(str, arguments), "--json"]) == 0
    return [(result["path"], result["cosine"]) for result in json.loads(capsys.readouterr().out)["results"]]


def refused(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_a_whitened_index_finds_its_pictures_at_cosine_one(whitened, photos, capsys):
    """So the whitening is applied to queries too."""
    results = found(capsys, whitened, photos / "03-0.png", "-k", 24)
    assert results[0] == (str(photos / "03-0.png"), pytest.approx(1, abs=1e-5))
    assert len(results) == 24
    assert sum(cosine for _, cosine in results) == pytest.approx(1, abs=2)  # without a mean, they are around 0


def test_indexing_again_keeps_the_whitening(whitened, photos, tmp_path, capsys):
    idx, folder = shutil.copytree(whitened, tmp_path / "idx"), shutil.copytree(photos, tmp_path / "more")
    capsys.readouterr()
    assert main(["index", "--images", str(folder), "--out", str(idx), "--whiten"]) == 0
    out = capsys.readouterr().out
    assert "24 added" in out
    assert f"{idx} is whitened as before; index into another folder to learn it anew" in out
    (first, one), (second, two), *_ = found(capsys, idx, photos / "05-1.png")
    assert {first, second} == {str(photos / "05-1.png"), str(folder / "05-1.png")}
    assert one == pytest.approx(two, abs=1e-5)


def test_the_heatmaps_of_a_whitened_index_sum_to_its_cosines(whitened, photos, capsys, monkeypatch):
    from gluon_cgd.commands import search

    drawn = []
    monkeypatch.setattr(search, "draw", lambda queries, hits, *rest: drawn.extend(hits))
    results = found(capsys, whitened, photos / "07-0.png", "-k", 3, "--figure", "f.png", "--heatmaps")
    assert len(drawn) == len(results) == 3
    for hit, (_, cosine) in zip(drawn, results):
        for heat in hit[2]:
            assert heat.sum() == pytest.approx(cosine, abs=1e-4)


@pytest.mark.slow
def test_a_reduced_index_is_searched_added_to_and_explained_by_its_numbers(tmp_path, photos, capsys, monkeypatch):
    from gluon_cgd.commands import search

    idx, folder = tmp_path / "idx", shutil.copytree(photos, tmp_path / "more")
    index = ["index", "--images", str(photos), "--out", str(idx), "--ctx", "cpu", "--pretrained", "small_resnet"]
    assert main([*index, "--reduce", "12"]) == 0
    assert "reduced to 12 numbers, learned from 24 pictures: " in capsys.readouterr().out
    assert main(["index", "--images", str(folder), "--out", str(idx), "--reduce", "12"]) == 0
    out = capsys.readouterr().out
    assert "24 added" in out
    assert f"{idx} has 12 numbers of each embedding as before" in out
    drawn = []
    monkeypatch.setattr(search, "draw", lambda queries, hits, *rest: drawn.extend(hits))
    results = found(capsys, idx, photos / "07-0.png", "-k", 3, "--figure", "f.png", "--heatmaps")
    assert {results[0][0], results[1][0]} == {str(photos / "07-0.png"), str(folder / "07-0.png")}
    assert [cosine for _, cosine in results[:2]] == pytest.approx([1, 1], abs=1e-5)
    for hit, (_, cosine) in zip(drawn, results):
        for heat in hit[2]:
            assert heat.sum() == pytest.approx(cosine, abs=1e-4)


def test_whitening_needs_pictures(tmp_path, photos, capsys):
    (tmp_path / "one").mkdir()
    shutil.copy(photos / "00-0.png", tmp_path / "one")
    index = ["index", "--images", tmp_path / "one", "--out", tmp_path / "idx", "--pretrained", "small_resnet"]
    assert "holds 1 pictures, and whitening is learned from several" in refused(capsys, *index, "--whiten")


def test_without_a_model_the_pretrained_backbone_is_taken_and_named(tmp_path, photos, capsys, caplog, monkeypatch):
    monkeypatch.setattr(options, "PRETRAINED", "small_resnet")
    monkeypatch.setattr(options, "PROJECT", tmp_path / "no runs here")
    line = "no model is named and none is trained: taking small_resnet"
    assert main(["index", "--images", str(photos), "--out", str(tmp_path / "idx"), "--ctx", "cpu"]) == 0
    assert caplog.text.count(line) == 1
    caplog.clear()
    assert found(capsys, tmp_path / "idx", photos / "03-0.png")[0][0] == str(photos / "03-0.png")
    assert "no model is named" not in caplog.text  # the index remembers it
    pair = [str(photos / name) for name in ("03-0.png", "03-1.png")]
    monkeypatch.setattr(similarity, "best_model_of", options.best_model_of)
    arguments = [*pair, "--out", str(tmp_path / "s.png"), "--runs", str(tmp_path)]
    assert similarity.main(arguments) == 2
    assert "holds no trained model" in capsys.readouterr().err  # who names a folder believes that it holds one
    assert (
        similarity.main([*pair, "--out", str(tmp_path / "s.png"), "--pretrained", "small_resnet", "--per-branch"]) == 0
    )
    values = json.loads((tmp_path / "s.json").read_text())
    assert set(values["branches"]) == {"SPoC", "MAC", "GeM"}
    for side in ("map1", "map2"):
        total = sum(np.sum(branch[side]) for branch in values["branches"].values())
        assert total == pytest.approx(values["cosine"], abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate --pretrained small_resnet", "was trained on no dataset of this project: name one with --dataset"),
        ("index --out x --pretrained small_resnet", "need pictures that are embedded"),
        ("index --out x --whiten", "is not an index"),
        ("export --onnx m.onnx --checkpoint x --weights w", "--weights is for a --pretrained backbone"),
        ("embed --images . --out x.npy --pretrained a --checkpoint b", "not allowed with argument"),
    ],
)
def test_a_wrong_command_line_is_answered_with_a_sentence(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("a.png")
    try:
        assert message in refused(capsys, *arguments.split())
    except SystemExit:
        assert message in capsys.readouterr().err
