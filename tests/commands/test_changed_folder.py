"""`evaluate` on people's own pictures: what is tested after a folder has changed, and what a search finds."""

import json
import os
import re
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd import datasets, model
from gluon_cgd.__main__ import main
from gluon_cgd.datasets.cache import fingerprint
from gluon_cgd.datasets.training_part import describe
from gluon_cgd.experiment import Experiment
from gluon_cgd.models import zoo
from tests import miniatures
from visualize import ranking

SMALL = dict(backbone="cifar_resnet10", pretrained=False, input_size=16, descriptors="SM", dim=8)


def published(folder, experiment, **about):
    """The file of a model that was never trained; about: what its .json says besides."""
    mx.random.seed(0)
    net = model.from_experiment(experiment, 3)
    net(mx.nd.zeros((1, 3, 16, 16)))
    return zoo.save(net, experiment, folder, **about)


@pytest.fixture
def photos(tmp_path):
    """(a folder of pictures, the file of a model that says which of them it was trained on)."""
    folder = miniatures.folder(tmp_path / "photos", classes=3, images=8)
    experiment = Experiment(dataset=str(folder), split="images", held_out=0.25, **SMALL)
    split = datasets.split_of(experiment)
    data = fingerprint([*split.train, *split.query])
    return folder, published(tmp_path / "m", experiment, data=data, training=describe(split, experiment.dataset))


def evaluated(capsys, file, *more):
    """(what `evaluate --json` prints, what it says on stderr)."""
    assert main(["evaluate", "--checkpoint", str(file), "--json", *more]) == 0
    printed = capsys.readouterr()
    return json.loads(printed.out), printed.err


def test_with_a_split_by_images_both_numbers_are_printed(photos, capsys):
    _, file = photos
    values, _ = evaluated(capsys, file)
    assert (values["test_pictures"], values["in_collection"]["pictures"]) == (6, 24)
    few = "R@8 says nothing of a model: at most 4 pictures are of other classes and could come first"
    assert values["warnings"] == [few]
    assert main(["evaluate", "--checkpoint", str(file)]) == 0
    among, whole, head, *lines = capsys.readouterr().out.splitlines()
    assert among.endswith("  among the 6 test pictures (the paper's protocol)")
    assert whole.endswith("  among all 24 pictures, as a search finds them")
    assert among.startswith(f"R@1 {100 * values['recall']['R@1']:.2f}  R@2 ")
    assert whole.startswith(f"R@1 {100 * values['in_collection']['recall']['R@1']:.2f}  R@2 ")
    assert re.split("  +", head)[1:] == [line[line.index("among") :] for line in (among, whole)]
    precisions = values["precision"], values["in_collection"]["precision"]
    assert list(precisions[0]) == ["mAP@R", "R-precision", "P@1", "P@2", "P@4", "P@8"]
    assert [line.split()[0] for line in lines] == list(precisions[0])
    for name, *cells in (re.split("  +", line) for line in lines):
        for cell, precision in zip(cells, precisions):
            value, low, high = precision[name].values()
            assert low <= value <= high
            assert cell == f"{100 * value:.2f} ({100 * low:.2f} to {100 * high:.2f})"
    for precision, recall in zip(precisions, (values["recall"], values["in_collection"]["recall"])):
        assert precision["P@1"]["value"] == pytest.approx(recall["R@1"])


def test_the_number_in_the_collection_is_what_a_search_finds(photos, tmp_path, capsys):
    folder, file = photos
    values, _ = evaluated(capsys, file)
    out = tmp_path / "vectors.npy"
    assert main(["embed", "--checkpoint", str(file), "--images", str(folder), "--out", str(out)]) == 0
    vectors, paths = np.load(out), out.with_suffix(".txt").read_text().splitlines()
    experiment = Experiment(dataset=str(folder), split="images", held_out=0.25)
    tested = {os.path.abspath(record.path) for record in datasets.split_of(experiment).query}
    found = []
    for row, path in enumerate(paths):
        if os.path.abspath(path) in tested:
            nearest = np.argsort(-(vectors @ vectors[row]), kind="stable")
            first = next(i for i in nearest if i != row)
            found.append(Path(paths[first]).parent == Path(path).parent)
    assert len(found) == 6
    assert values["in_collection"]["recall"]["R@1"] == np.mean(found)


def test_ranking_searches_the_whole_collection_and_says_both_numbers(photos, tmp_path, capsys, caplog, monkeypatch):
    folder, file = photos
    drawn = []
    monkeypatch.setattr(ranking, "draw", lambda *arguments: drawn.append(arguments))
    values, _ = evaluated(capsys, file)
    out = tmp_path / "ranking.png"
    assert ranking.main(["--checkpoint", str(file), "--queries", "6", "-k", "1", "--out", str(out)]) == 0
    among, whole, title, right, _ = capsys.readouterr().out.splitlines()
    assert among.endswith("among the 6 test pictures (the paper's protocol)")
    assert whole.endswith("among all 24 pictures, as a search finds them")
    assert title.endswith("6 of 6 queries, drawn; searched among all 24 pictures, as a search finds them")
    share = 100 * values["in_collection"]["recall"]["R@1"]
    assert right == f"{share:.0f} % of the 1 results shown are of the query's class"
    assert np.mean([results[0][1] for _, results in drawn[0][0]]) == values["in_collection"]["recall"]["R@1"]
    miniatures.picture(folder / "class 0/0b.jpg", 0, index=50)
    assert ranking.main(["--checkpoint", str(file), "--out", str(out)]) == 0
    assert "has changed since the training" in caplog.text
    assert "among the 7 test pictures" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_and_its_copies_know_their_training_pictures(tmp_path, capsys):
    folder = miniatures.folder(tmp_path / "photos", classes=3, images=8)
    small = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items() if name != "pretrained"]
    out = ["--dataset", str(folder), "--split", "images", "--passes", "1", "--out", str(tmp_path / "run")]
    assert main(["train", *out, "--no-pretrained", *small]) == 0
    assert main(["publish", "--checkpoint", str(tmp_path / "run"), "--out", str(tmp_path / "models")]) == 0
    file = next((tmp_path / "models").glob("*.params"))
    exports = [("run", tmp_path / "a.onnx"), (file, tmp_path / "b.onnx")]
    for source, target in exports:
        assert main(["export", "--checkpoint", str(tmp_path / source), "--onnx", str(target)]) == 0
    miniatures.picture(folder / "class 0/0b.jpg", 0, index=50)
    os.rename(folder / "class 1/0.jpg", folder / "class 1/zzz.jpg")
    capsys.readouterr()
    told = []
    for flag, source in (
        ("--checkpoint", tmp_path / "run"),
        ("--checkpoint", file),
        *(("--model", o) for _, o in exports),
    ):
        assert main(["evaluate", flag, str(source), "--json"]) == 0
        values = json.loads(capsys.readouterr().out)
        told.append((values["test_pictures"], values["warnings"][0], values["in_collection"]["pictures"]))
    assert told == [told[0]] * 4
    assert told[0][0] == 7
    assert "the test pictures are 7 others (6 at the training)" in told[0][1]


def test_pictures_that_are_added_are_tested_and_it_is_said(photos, capsys):
    folder, file = photos
    before, _ = evaluated(capsys, file)
    for label in range(3):
        miniatures.picture(folder / f"class {label}" / "0b.jpg", label, index=50)
    values, said = evaluated(capsys, file)
    assert (before["test_pictures"], values["test_pictures"]) == (6, 9)
    warning, _ = values["warnings"]
    assert "has changed since the training: the model was trained on 18 of its pictures (18 at the training)" in warning
    assert warning in said


def test_whole_pictures_for_a_model_of_boxes_are_told(tmp_path, capsys):
    folder = miniatures.folder(tmp_path / "photos", classes=2, images=2)
    for dataset, told in (("cars196", True), ("sop", False)):
        file = str(published(tmp_path / dataset, Experiment(dataset=dataset, **SMALL)))
        common = ["--checkpoint", file, "--images", str(folder), "--out"]
        for command, out in (("index", f"{dataset}.index"), ("embed", f"{dataset}.npy")):
            assert main([command, *common, str(tmp_path / out)]) == 0
            assert ("cut out by boxes; here whole pictures are embedded" in capsys.readouterr().err) == told


def test_a_split_by_classes_has_one_number(tmp_path, capsys):
    folder = miniatures.folder(tmp_path / "photos", classes=4, images=4)
    file = published(tmp_path / "m", Experiment(dataset=str(folder), **SMALL))
    values, said = evaluated(capsys, file)
    assert "in_collection" not in values
    assert "does not say which pictures it was trained on" in said  # as an earlier version left it
    assert main(["evaluate", "--checkpoint", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.startswith("R@1 ") for line in lines] == [True] + 7 * [False]
    assert "among the" in lines[1]
