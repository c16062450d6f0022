"""People's own folders as they are: the splits that must stay, what is refused, and what no model can find."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from gluon_cgd import datasets
from gluon_cgd.__main__ import main
from gluon_cgd.datasets import folders, settings
from gluon_cgd.datasets.records import Record, Split, ceiling, findable
from gluon_cgd.recall import recall_at
from tests import miniatures
from tests.datasets.test_tree import files, unreadable

PLAIN = ["b", "a", "Z", "10", "9", unicodedata.normalize("NFD", "éclair"), "f g", "éa"]
DRAWN = {  # the test pictures of the classes in order of their labels, by number, as ever since 0.1.0
    (0, 0.4): ["23", "45", "23", "45", "45", "12", "45", "05"],
    (1, 0.5): ["024", "235", "145", "034", "134", "013", "235", "235"],
}


@pytest.fixture
def plain(tmp_path):
    files(tmp_path / "plain", *(f"{name}/{i}.jpg" for name in PLAIN for i in range(4)))
    files(tmp_path / "plain", *(f"{name}/deep/{i}.PNG" for name in PLAIN for i in (4, 5)))
    return str(tmp_path / "plain")


def test_the_splits_of_a_plain_folder_stay_as_they_are(plain):
    order = ["10", "9", "Z", "a", "b", PLAIN[5], "f g", "éa"]
    assert folders.class_names(plain) == [unicodedata.normalize("NFC", name) for name in order]
    paths = [
        os.path.join(plain, name, file)
        for name in order
        for file in (*(f"{i}.jpg" for i in range(4)), "deep/4.PNG", "deep/5.PNG")
    ]
    for seed, share, held in ((0, 0.5, {2, 3, 4, 6}), (3, 0.3, {6, 7})):
        split = datasets.load(plain, split_seed=seed, held_out=share)
        for part, classes in ((split.train, set(range(8)) - held), (split.query, held)):
            assert [(r.path, r.label) for r in part] == [(paths[i], i // 6) for i in range(48) if i // 6 in classes]
    for (seed, share), drawn in DRAWN.items():
        split = datasets.load(plain, split="images", split_seed=seed, held_out=share)
        test = [6 * label + int(number) for label, numbers in enumerate(drawn) for number in numbers]
        assert [(r.path, r.label) for r in split.query] == [(paths[i], i // 6) for i in test]
        assert [(r.path, r.label) for r in split.train] == [(paths[i], i // 6) for i in range(48) if i not in test]


def test_a_class_that_is_a_link_gives_the_split_of_one_that_is_not(plain, tmp_path):
    before = [datasets.load(plain, split=split) for split in folders.SPLITS]
    os.rename(os.path.join(plain, "a"), tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", os.path.join(plain, "a"))
    assert [datasets.load(plain, split=split) for split in folders.SPLITS] == before


def test_two_classes_that_are_one_folder_are_refused(plain):
    os.symlink("a", os.path.join(plain, "alias"))
    with pytest.raises(
        ValueError, match=r"alias and .*/a are one folder \(a link\): its pictures would be in two classes"
    ):
        datasets.load(plain)


def test_a_class_that_cannot_be_read_is_refused_or_left_out_and_counted(plain, monkeypatch, capsys):
    unreadable(monkeypatch, "/Z")
    assert main(["data", plain]) == 2
    assert (
        "Z is a folder that cannot be read (Permission denied): mend or remove it, or say --allow-partial"
        in capsys.readouterr().err
    )
    assert main(["data", plain, "--allow-partial"]) == 0
    told = capsys.readouterr()
    assert "28 training pictures of 7 classes and 14 test pictures of 7 classes" in told.out
    assert f"left out: 1 folders that cannot be read: {plain}/Z" in told.err


def test_links_to_nothing_are_missing_pictures_and_counted(plain, capsys):
    for name in ("a/7.jpg", "a/8.jpg"):
        os.symlink("nowhere", os.path.join(plain, name))
    assert main(["data", plain]) == 2
    assert "are missing, the first is" in capsys.readouterr().err
    assert main(["data", plain, "--allow-partial"]) == 0
    told = capsys.readouterr()
    assert sum(int(word) for word in told.out.split(":")[1].split() if word.isdigit()) == 48 + 2 * 8
    assert "missing" in told.err


@pytest.mark.parametrize("name", ["golf", "golf 1.6", "golf v1.Series", "St. Moritz"])
def test_an_unmounted_class_is_refused(plain, name):
    os.symlink("/nowhere/golf", os.path.join(plain, name))
    with pytest.raises(OSError, match=f"{name} is a link that cannot be followed .*No such file.*: mend or remove it"):
        datasets.load(plain)


@pytest.mark.parametrize("name", ["notes.txt", "clip.MP4", "a.json5"])
def test_a_link_to_nothing_that_ends_like_a_file_is_counted_by_its_ending(plain, name, caplog):
    os.symlink("/nowhere", os.path.join(plain, name))
    datasets.load(plain)
    assert f"{os.path.splitext(name)[1].lower()} 1" in caplog.text


def test_a_class_without_a_picture_that_can_be_read_is_named(plain, caplog):
    files(Path(plain), "golf/1.heic", "golf/2.heic", "loose.jpg")
    os.mkdir(os.path.join(plain, "empty"))
    datasets.load(plain)
    assert (
        f"3 files are no pictures of a class and are left out, the first is {plain}/loose.jpg: .heic 2" in caplog.text
    )
    assert "(install pillow-heif to read them), 1 in no class folder; also left out: 2 class folders" in caplog.text
    assert f"class folders without pictures: {plain}/empty, {plain}/golf" in caplog.text


@pytest.mark.parametrize("command", ["data", "train"])
def test_an_unsorted_folder_is_told_what_index_does_with_it(tmp_path, capsys, command):
    files(tmp_path / "unsorted", *(f"{i}.jpg" for i in range(12)))
    words = dict(data=["data", str(tmp_path / "unsorted")], train=["train", "--dataset", str(tmp_path / "unsorted")])
    assert main([*words[command], *["--out", str(tmp_path / "run")] * (command == "train")]) == 2
    said = capsys.readouterr().err
    assert "unsorted holds 12 pictures and no folders of classes: to search in them as they are, index them" in said
    assert f"(python -m gluon_cgd index --images {tmp_path}/unsorted" in said
    assert "0 classes" not in said


def test_a_folder_around_the_dataset_is_told_which_to_name(tmp_path):
    files(tmp_path / "archive", "photos/golf/1.jpg", "photos/polo/1.jpg")
    with pytest.raises(
        ValueError, match="has 1 classes with pictures: .*if the classes are the folders in .*/photos, name"
    ):
        datasets.load(str(tmp_path / "archive"), split="images")


def test_folders_around_the_dataset_are_gone_through_to_tell_which_to_name(tmp_path):
    files(tmp_path / "archive", *(f"photos/photos/{part}/{name}/1.jpg" for part in ("train", "test") for name in "ab"))
    with pytest.raises(ValueError, match="if the classes are the folders in .*/photos/photos, name"):
        datasets.load(str(tmp_path / "archive"), split="images")
    (tmp_path / "circle/a").mkdir(parents=True)
    (tmp_path / "circle/a/1.jpg").write_bytes(b"x")
    (tmp_path / "circle/a/again").symlink_to(tmp_path / "circle")
    with pytest.raises(ValueError, match="has 1 classes with pictures: a split by images needs 2 at least"):
        datasets.load(str(tmp_path / "circle"), split="images")


@pytest.mark.parametrize("sizes", [(2, 2), (3, 2), (1, 2, 2), (3, 3, 3)])
def test_two_pictures_of_each_class_are_enough(tmp_path, sizes, caplog):
    files(tmp_path / "photos", *(f"class {label}/{i}.jpg" for label, size in enumerate(sizes) for i in range(size)))
    _, split, choices = settings.fitted({"dataset": str(tmp_path / "photos")})
    assert [choice.value for choice in choices if choice.field == "split"] == ["images"]
    assert len(split.query) == sum(size > 1 for size in sizes)
    assert len(split.query) + len(split.train) == sum(sizes)
    assert split.gallery == split.train
    assert findable(split) == len(split.query)
    assert "no class has 4 pictures; one of each is searched in the pictures that are trained on" in caplog.text


def test_one_picture_of_each_class_is_not_enough(tmp_path):
    files(tmp_path / "photos", "a/1.jpg", "b/1.jpg")
    with pytest.raises(ValueError, match="photos has no class of 2 pictures or more: nothing can be held out"):
        settings.fitted({"dataset": str(tmp_path / "photos")})


SPLITS = {
    "all can be found": (Split([], [Record("a", 0), Record("b", 0)]), 2),
    "one is alone": (Split([], [Record("a", 0), Record("b", 0), Record("c", 1)]), 2),
    "none": (Split([], [Record("a", 0), Record("b", 1)]), 0),
    "a gallery": (Split([], [Record("a", 0), Record("b", 1), Record("c", 1)], [Record("d", 1)]), 2),
}


@pytest.mark.parametrize("title", SPLITS)
def test_the_ceiling_is_the_recall_of_a_perfect_model(title):
    split, found = SPLITS[title]
    perfect = [np.eye(3)[[record.label for record in part]] for part in split[1:] if part is not None]
    labels = [[record.label for record in part] for part in split[1:] if part is not None]
    arguments = [value for pair in zip(perfect, labels) for value in pair]
    assert findable(split) == found
    assert recall_at([1], *arguments)[1] == found / len(split.query)
    expected = "" if found == len(split.query) else f"no Recall@K can be above {100 * found / len(split.query):.2f} %: "
    assert ceiling(split).startswith(expected)
    assert bool(ceiling(split)) == bool(expected)


def test_data_states_the_ceiling(tmp_path, capsys):
    file = miniatures.csv(tmp_path, header="path,label,split", tail=",train")
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:-7], *(line.replace(",train", ",test") for line in lines[-7:])]))
    assert main(["data", str(file)]) == 0
    told = "no Recall@K can be above 85.71 %: 1 of 7 test pictures have no other picture of their class to be found"
    assert told in capsys.readouterr().out


def test_one_class_to_train_on_is_refused_and_one_to_test_on_is_said(tmp_path, caplog):
    files(tmp_path / "yolo", *(f"{part}/images/{i}.jpg" for part in ("train", "val") for i in range(4)))
    with pytest.raises(
        ValueError, match="yolo has 1 class to train on, and 2 are needed at least: make a folder for each"
    ):
        settings.fitted({"dataset": str(tmp_path / "yolo")})
    assert "all test pictures are of one class, so that each Recall@K is 100 %" in caplog.text


def test_without_a_class_the_refusal_says_what_is_there(tmp_path):
    files(tmp_path / "phone", "golf/1.HEIC", "golf/2.HEIC", "polo/1.HEIC")
    with pytest.raises(
        ValueError, match=r"phone has 0 classes with pictures: .*; it holds \.heic 3 \(install pillow-heif"
    ):
        settings.fitted({"dataset": str(tmp_path / "phone")})


def test_what_a_person_should_know_is_said_once(tmp_path, capsys):
    files(
        tmp_path / "photos",
        *(f"{name}/{i}.jpg" for name in ("Golf", "polo", "up", "id") for i in range(4)),
        "notes.txt",
    )
    files(tmp_path / "photos", "Golf /5.jpg")
    assert main(["data", str(tmp_path / "photos")]) == 0
    said = capsys.readouterr().err
    assert said.count("'Golf' and 'Golf ' are one class, Golf") == 1
    assert said.count("left out") == 1


def test_all_pictures_that_cannot_be_used_are_named(tmp_path, capsys):
    files(tmp_path / "photos", *(f"{name}/{i}.jpg" for name in "ab" for i in range(8)))
    assert main(["data", str(tmp_path / "photos"), "--verify"]) == 2
    said = capsys.readouterr().err
    assert "16 pictures of " in said
    assert all(f"{tmp_path}/photos/{name}/{i}.jpg is not a picture" in said for name in "ab" for i in range(8))


def test_a_flag_is_checked_in_a_folder_that_may_be_partial(monkeypatch, capsys, tmp_path):
    unreadable(monkeypatch, "/Z")
    files(tmp_path / "photos", *(f"{part}/{name}/1.jpg" for part in ("train", "test") for name in ("a", "Z")))
    command = ["train", "--dataset", str(tmp_path / "photos"), "--allow-partial", "--split", "images", "--out", "run"]
    assert main(command) == 2
    assert "--split images: " in capsys.readouterr().err
