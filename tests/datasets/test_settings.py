"""What people's own pictures are trained with where they do not say."""

import json
from collections import Counter

import pytest

from gluon_cgd import datasets
from gluon_cgd.__main__ import main
from gluon_cgd.datasets import settings
from gluon_cgd.experiment import Experiment
from tests import miniatures

PAPER = Experiment()
DISHES = [68] * 22  # as in the student report: 22 classes, about 1,500 photos


def chosen(sizes, tested=300, **given):
    """{field: value} of the batches and the schedule."""
    return {one.field: one.value for one in settings.schedule(sizes, tested, given)}


def split_of(sizes, **given):
    return {one.field: one.value for one in settings.division(sizes, given)}


@pytest.mark.parametrize(
    ("sizes", "split"),
    [
        (DISHES, "images"),
        ([5, 5], "images"),
        ([40] * 127, "images"),
        ([40] * 128, "classes"),  # 64 are left, two batches of 32
        ([3] * 20, "classes"),  # nothing could be held out of them
        ([4] * 10 + [3] * 10, "classes"),
        ([4] * 11 + [3] * 9, "images"),
        ([59] * 200, "classes"),  # CUB200
    ],
)
def test_few_classes_are_all_learned_from_and_many_are_held_out_whole(sizes, split):
    assert split_of(sizes) == {"split": split, "held_out": 0.2 if split == "images" else 0.5}


def test_a_batch_has_the_classes_and_pictures_that_there_are():
    assert (PAPER.batch_classes, PAPER.batch_images) == (32, 4)
    for sizes, batch in (
        ([54] * 22, (22, 5)),  # 110 pictures, not 88
        ([54] * 11, (11, 8)),
        ([54] * 2, (2, 8)),
        ([58] * 100, (32, 4)),
        ([3] * 20, (20, 3)),
        ([1] * 20, (20, 2)),  # drawn twice, for one picture has no positive
        ([2] * 10 + [50] * 9, (19, 2)),
    ):
        found = chosen(sizes)
        assert (found["batch_classes"], found["batch_images"]) == batch, sizes


def test_steps_are_as_many_as_on_the_papers_benchmarks():
    def steps(sizes):
        found = chosen(sizes)
        fields = {name: found[name] for name in ("batch_classes", "batch_images", "passes")}
        return Experiment(**fields).iterations(sum(sizes))

    fewest, most = (PAPER.iterations(datasets.OFFICIAL[name][0][0]) for name in ("cub200", "sop"))
    assert fewest <= steps([54] * 22) <= fewest + 5
    assert chosen([59] * 100)["passes"] == PAPER.passes  # CUB200 has its own
    assert steps([500] * 1000) == pytest.approx(most, abs=1)
    assert chosen([2, 2])["passes"] == 400  # of four pictures


def test_evaluations_take_no_more_than_a_third_of_the_training():
    assert chosen([54] * 22)["evaluations"] == PAPER.evaluations
    assert chosen([54] * 22, tested=1188, passes=3.0)["evaluations"] == 3
    assert chosen([54] * 22, tested=10**6, passes=1.0)["evaluations"] == 1


def test_what_is_given_is_never_changed():
    assert split_of(DISHES, split="classes") == {"held_out": 0.5}
    assert split_of(DISHES, split="images") == {"held_out": 0.2}
    assert split_of(DISHES, held_out=0.3) == {"split": "images"}
    given = dict(batch_classes=8, batch_images=2, passes=1.0, evaluations=2)
    assert chosen(DISHES, **given) == {}
    for left in given:
        others = {name: value for name, value in given.items() if name != left}
        assert set(chosen(DISHES, **others)) == {left}
    assert chosen(DISHES, batch_classes=8)["batch_images"] == 4  # whoever takes a small batch wants one


def test_a_choice_says_what_and_why():
    lines = settings.lines([*settings.division(DISHES, {}), *settings.schedule([54] * 22, 308, {})])
    assert len(lines) == 6
    few = "22 classes are too few to keep half of them for the test (11 would be left, 64 are needed); so every class "
    assert lines[0].startswith(f"--split images: {few}")
    assert lines[2] == "--batch-classes 22: all training classes, fewer than the default of 32"
    told = "the default, 32.7, is 354 steps; the paper's smallest benchmark has 1,500; 1,500 steps of 110 pictures"
    assert lines[4] == f"--passes 138.9: {told}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "csv", "parts"])
def test_a_small_collection_is_trained_without_a_word_on_batches(tmp_path, capsys, kind):
    data = tmp_path / "photos"
    if kind == "csv":
        dataset = miniatures.csv(data, classes=3, images=6)
    else:
        dataset = data
        for part in ("train", "test") if kind == "parts" else (".",):
            miniatures.folder(data / part, classes=3, images=6)
    small = "--backbone cifar_resnet10 --no-pretrained --input-size 16 --dim 8 --passes 1"
    command = ["train", "--dataset", str(dataset), "--out", str(tmp_path / "run"), *small.split()]
    assert main(command) == 0
    out = capsys.readouterr().out
    result = json.loads((tmp_path / "run/result.json").read_text())
    experiment = Experiment.from_dict(result["experiment"])
    assert (experiment.batch_classes, experiment.passes) == (3, 1)
    assert ("--split images: " in out) == (kind != "parts")
    assert (experiment.split, experiment.held_out) == (("classes", 0.5) if kind == "parts" else ("images", 0.2))
    assert "--batch-classes 3: all training classes" in out
    assert "--passes" not in out
    given = ["--batch-classes", "2", *["--split", "images"] * (kind != "parts")]  # it would have no effect on parts
    assert main([*command, *given, "--out", str(tmp_path / "other")]) == 0
    out = capsys.readouterr().out
    assert "--batch-classes" not in out
    assert "--split" not in out


def test_data_prepares_the_split_that_is_trained_on(tmp_path, capsys):
    miniatures.folder(tmp_path / "photos", classes=3, images=6)
    assert main(["data", str(tmp_path / "photos"), "--prepare", "--input-size", "16"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].endswith("12 training pictures of 3 classes and 6 test pictures of 3 classes")
    assert out[1].startswith("--split images: ")
    assert out[2].startswith("--held-out 0.2: ")
    assert [line.split(" at ")[0] for line in out[3:]] == ["training pictures", "test pictures"]


def test_choose_takes_the_same_defaults(tmp_path, capsys):
    miniatures.folder(tmp_path / "photos", classes=3, images=6)
    small = "--backbone cifar_resnet10 --no-pretrained --input-size 16 --dim 8 --passes 1 --evaluations 1"
    assert main(["choose", "--dataset", str(tmp_path / "photos"), "--out", str(tmp_path / "c"), *small.split()]) == 0
    assert "--batch-classes 3: " in capsys.readouterr().out
    experiment = json.loads((tmp_path / "c/choice.json").read_text())["experiment"]
    assert (experiment["batch_classes"], experiment["split"]) == (3, "images")


def test_the_papers_benchmarks_and_glyphs_keep_the_papers_defaults(monkeypatch):
    monkeypatch.setattr(datasets, "load", lambda *asked: "its split")
    for name in ("cars196", "glyphs"):
        experiment, split, choices = settings.fitted({"dataset": name})
        assert (experiment, split, choices) == (Experiment(dataset=name), "its split", [])


def test_a_collection_that_cannot_be_split_is_refused_in_a_sentence(tmp_path, capsys):
    for name, classes, images, message in (
        ("one", 1, 6, "one has 1 classes with pictures: a split by images needs 2 at least"),
        ("none", 0, 0, "none has 0 classes with pictures"),
    ):
        (tmp_path / name).mkdir()
        if classes:
            miniatures.folder(tmp_path / name, classes=classes, images=images)
        assert main(["train", "--dataset", str(tmp_path / name), "--out", str(tmp_path / "run")]) == 2
        said = capsys.readouterr()
        assert message in said.err
        assert "Traceback" not in said.err
        assert not said.out


def test_classes_are_named_by_their_labels(tmp_path):
    miniatures.folder(tmp_path / "photos", classes=3, images=4)
    names = datasets.class_names(str(tmp_path / "photos"))
    assert names == ["class 0", "class 1", "class 2"]
    split = datasets.load(str(tmp_path / "photos"), split="images")
    assert Counter(names[record.label] in record.path for record in split.train) == {True: len(split.train)}
    assert datasets.class_names("glyphs") is None
