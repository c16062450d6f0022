"""What a model is tested on after its folder has changed: never a picture that it was trained on."""

import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gluon_cgd import datasets
from gluon_cgd.datasets.cache import fingerprint
from gluon_cgd.datasets.records import Record, Split, certainty, is_by_images
from gluon_cgd.datasets.tested_part import load_tested
from gluon_cgd.datasets.training_part import carried, describe, hashes_of, trained_of
from gluon_cgd.experiment import Experiment
from gluon_cgd.recall import recall_at


def draw(file, seed):
    """A small picture like no other, as PNG, or as BMP, whose size says nothing of its content."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(file)


def photos(folder, classes=4, images=10, suffix=".png"):
    """A folder of `classes` with pictures that are all different."""
    for label in range(classes):
        for index in range(images):
            draw(folder / f"class {label}" / f"{index:02d}{suffix}", 1000 * label + index)
    return folder


def learn(folder, **rule):
    """(the experiment on `folder`, its split, what a model that was trained on it says)."""
    experiment = Experiment(dataset=str(folder), **{"split": "images", "held_out": 0.3, **rule})
    split = datasets.split_of(experiment)
    values = {
        "data": fingerprint([record for part in split for record in part or ()]),
        "training": describe(split, experiment.dataset),
    }
    return experiment, split, trained_of(experiment.dataset, values, "result.json")


def bytes_of(records):
    return sorted(Path(record.path).read_bytes() for record in records)


def test_an_unchanged_folder_is_tested_as_at_the_training(tmp_path, caplog):
    experiment, split, trained = learn(photos(tmp_path / "photos"))
    assert load_tested(experiment, trained) == (split, [])
    shutil.copytree(tmp_path / "photos", tmp_path / "copy")
    copy, said = load_tested(replace(experiment, dataset=str(tmp_path / "copy")), trained)
    assert said == []
    assert bytes_of(copy.query) == bytes_of(split.query)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_new_pictures_are_tested_and_training_pictures_never(tmp_path, caplog):
    experiment, split, trained = learn(photos(tmp_path / "photos"))
    learned = bytes_of(split.train)
    for label in range(4):
        draw(tmp_path / f"photos/class {label}/00b.png", 9000 + label)
    for index in range(2):
        draw(tmp_path / f"photos/class 9/{index}.png", 9900 + index)
    draw(tmp_path / "photos/class 10/0.png", 9910)  # alone, it cannot be found
    drawn = datasets.split_of(experiment)
    assert set(bytes_of(drawn.query)) & set(learned)  # what `evaluate` tested on before
    with caplog.at_level(logging.WARNING):
        tested, (said,) = load_tested(experiment, trained)
    assert bytes_of(tested.train) == learned
    assert len(tested.query) == 12 + 4 + 2
    assert set(bytes_of(split.query)) <= set(bytes_of(tested.query))
    assert "photos has changed since the training: the model was trained on 28 of its pictures (28 at the tr" in said
    assert "the test pictures are 18 others (12 at the training)" in said
    assert said.endswith("; 1 others are in neither part (the only one of their class)")
    assert said in caplog.messages


@pytest.mark.parametrize("change", ["renamed", "moved", "into another class", "copied"])
def test_a_training_picture_is_known_under_another_name(tmp_path, change):
    experiment, split, trained = learn(photos(tmp_path / "photos"))
    learned, path = set(bytes_of(split.train)), Path(split.train[0].path)
    place = {"renamed": "class 0/new.png", "moved": "class 0/in/00.png", "copied": "class 0/again.png"}
    target = tmp_path / "photos" / place.get(change, "class 3/new.png")
    target.parent.mkdir(exist_ok=True)
    (shutil.copy if change == "copied" else os.rename)(path, target)
    tested, (said,) = load_tested(experiment, trained)
    assert not set(bytes_of(tested.query)) & learned
    assert bytes_of(tested.query) == bytes_of(split.query)
    assert "has changed since the training" in said


def test_a_training_picture_that_was_saved_again_is_known_by_its_place(tmp_path):
    """Another kind of file, other tags: the bytes are others, and the picture is the same."""
    experiment, split, trained = learn(photos(tmp_path / "photos"))
    places = sorted(Path(record.path).with_suffix("") for record in split.query)
    for record in [*split.train, *split.query]:
        Image.open(record.path).save(Path(record.path).with_suffix(".jpg"))
        os.remove(record.path)
    tested, _ = load_tested(experiment, trained)
    assert sorted(Path(record.path).with_suffix("") for record in tested.query) == places
    assert len(tested.train) == 28


def test_numbers_that_move_up_do_not_make_a_test_picture_a_training_picture(tmp_path):
    experiment, split, trained = learn(photos(tmp_path / "photos"))
    expected = bytes_of(split.query)
    files = sorted((tmp_path / "photos/class 0").iterdir())
    gone = next(file for file in files if str(file) in {record.path for record in split.train})
    gone.unlink()
    for number, file in enumerate(file for file in files if file != gone):
        file.rename(file.with_name(f"{number:02d}.png"))
    tested, (said,) = load_tested(experiment, trained)
    assert set(bytes_of(tested.query)) <= set(expected)
    assert len(tested.query) >= len(expected) - 1  # the place of the lost picture counts as that picture
    assert "trained on 2" in said


def test_files_of_one_size_that_changed_places_are_noticed(tmp_path):
    experiment, split, trained = learn(photos(tmp_path / "photos", suffix=".bmp"))
    first = next(record for record in split.train if record.label == 0)
    second = next(record for record in split.query if record.label == 0)
    learned, old, new = bytes_of(split.train), Path(first.path).read_bytes(), Path(second.path).read_bytes()
    Path(first.path).write_bytes(new)
    Path(second.path).write_bytes(old)
    assert fingerprint([*split.train, *split.query]) == trained.data
    tested, (said,) = load_tested(experiment, trained)
    assert bytes_of(tested.train) == learned
    assert "has changed" in said


def test_whole_classes_stay_in_training_where_classes_are_held_out(tmp_path):
    experiment, split, trained = learn(photos(tmp_path / "photos"), split="classes", held_out=0.5)
    learned = {Path(record.path).parent.name for record in split.train}
    for label in range(4):
        draw(tmp_path / f"photos/class {label}/new.png", 9000 + label)
    photos(tmp_path / "photos", classes=7)  # 3 classes more
    tested, (said,) = load_tested(experiment, trained)
    assert {Path(record.path).parent.name for record in tested.train} == learned
    assert not {Path(record.path).parent.name for record in tested.query} & learned
    assert len(tested.query) == 2 * 11 + 3 * 10
    assert said.endswith("; 2 others are in neither part (of training classes)")


def test_a_picture_that_moved_from_train_to_test_is_left_out(tmp_path):
    for part in ("train", "test"):
        photos(tmp_path / "photos" / part, images=6 if part == "train" else 3)
    for index in range(3):
        for label in range(4):
            draw(tmp_path / f"photos/test/class {label}/{index:02d}.png", 5000 + 10 * label + index)
    experiment, split, trained = learn(tmp_path / "photos")
    path = Path(split.train[0].path)
    path.rename(tmp_path / "photos/test/class 0/moved.png")
    tested, (said,) = load_tested(experiment, trained)
    assert bytes_of(tested.query) == bytes_of(split.query)
    assert "has changed" in said


def test_classes_of_two_pictures_are_searched_in_the_training_part(tmp_path):
    experiment, split, trained = learn(photos(tmp_path / "photos", images=2))
    assert split.gallery == split.train
    assert trained.part["copies"] == 0
    few = "R@4 and R@8 say nothing of a model: at most 3 pictures are of other classes and could come first"
    assert load_tested(experiment, trained) == (split, [few])
    learned, others = bytes_of(split.train), bytes_of(split.query)
    Path(split.train[0].path).rename(tmp_path / "photos/class 0/zz.png")
    tested, (said, _) = load_tested(experiment, trained)
    assert (bytes_of(tested.query), bytes_of(tested.gallery)) == (others, learned)
    assert "the test pictures are 4 others (4 at the training)" in said
    for label in range(4):
        for index in range(2, 6):
            draw(tmp_path / f"photos/class {label}/{index}.png", 8000 + 10 * label + index)
    tested, _ = load_tested(experiment, trained)
    assert (bytes_of(tested.train), len(tested.query), tested.gallery) == (learned, 20, None)


def test_a_folder_that_holds_nothing_new_is_refused(tmp_path):
    experiment, split, trained = learn(photos(tmp_path / "photos"))
    for record in split.query:
        os.remove(record.path)
    with pytest.raises(ValueError, match="the model was trained on all pictures of .*photos that could be tested"):
        load_tested(experiment, trained)


def test_another_folder_is_told_from_a_changed_one(tmp_path):
    experiment, _, trained = learn(photos(tmp_path / "photos"))
    for label in range(4):
        for index in range(12):
            draw(
                tmp_path / f"other/class {label}/{index:02d}.png", 7000 + 100 * label + index
            )  # names say nothing here
    other = replace(experiment, dataset=str(tmp_path / "other"))
    tested, (said,) = load_tested(other, trained)
    assert tested == datasets.split_of(other)
    assert "none of those files is in" in said


def test_training_pictures_that_were_saved_again_in_another_folder_are_suspected(tmp_path):
    experiment, split, trained = learn(photos(tmp_path / "photos", suffix=".bmp"))
    small = tmp_path / "small"
    for record in [*split.train, *split.query]:
        file = small / Path(record.path).relative_to(tmp_path / "photos").with_suffix(".png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.open(record.path).resize((5, 5)).save(file)
    experiment = replace(experiment, dataset=str(small))
    _, (said,) = load_tested(experiment, trained)
    assert said.endswith(f"none of those files is in {small}; its test part is drawn in the same way")
    for index in range(8):
        draw(small / "class 0" / f"new {index}.png", index)
    tested, (said,) = load_tested(experiment, trained)
    learned = {os.path.relpath(record.path, tmp_path / "photos")[:-4] for record in split.train}
    count = sum(os.path.relpath(record.path, small)[:-4] in learned for record in tested.query)
    assert count
    assert f"; {count} test pictures have the names of training pictures: if they are the same" in said


def test_a_model_without_the_list_says_that_it_cannot_know(tmp_path):
    folder = photos(tmp_path / "photos")
    experiment, split, trained = learn(folder)
    older = trained._replace(part=None)
    assert load_tested(experiment, older) == (split, [])  # as at the training
    draw(folder / "class 0/new.png", 9000)
    for model in (older, older._replace(data=None)):
        _, (said,) = load_tested(experiment, model)
        assert "does not say which pictures it was trained on" in said
    assert load_tested(experiment, None)[1] == []  # a symbol says nothing of any data


def test_copies_between_the_parts_are_told_at_once(tmp_path):
    folder = photos(tmp_path / "photos")
    split = learn(folder)[1]
    train, test = (next(record for record in part if record.label == 1) for part in (split.train, split.query))
    shutil.copy(train.path, test.path)
    experiment, split, trained = learn(folder)
    assert trained.part["copies"] == 1
    tested, (said,) = load_tested(experiment, trained)
    assert tested == split
    assert said.startswith("1 of 12 test pictures are copies of training pictures, so the recall is too high")
    assert "remove the copies (`duplicates` names those of an index)" in said


def test_copies_within_the_test_part_are_told_too(tmp_path, caplog):
    folder = photos(tmp_path / "photos")
    first, second = [record for record in learn(folder)[1].query if record.label == 1][:2]
    shutil.copy(first.path, second.path)
    experiment, split, trained = learn(folder)
    told = "2 of 12 test pictures have a copy among the test pictures, which any model finds, so the recall is too high"
    assert told in caplog.text  # at the training
    tested, (said,) = load_tested(experiment, trained)
    assert (tested, said.startswith(told)) == (split, True)


def test_parts_of_one_photo_are_no_copies(tmp_path):
    photos(tmp_path / "photos", classes=1)
    lines = [f"photos/class 0/{i:02d}.png,dish {c},{c},0,{c + 4},4" for c in range(4) for i in range(10)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,x1,y1,x2,y2", *lines]))
    part = learn(tmp_path / "list.csv")[2].part
    assert (part["copies"], part["twins"], part["boxes"]) == (0, 0, 28)


@pytest.mark.parametrize(
    ("labels", "gallery", "sure"),
    [
        ([0, 0, 1, 1], None, "R@4 says"),
        ([0, 0, 0, 1], None, "R@4 says"),
        ([0, 0, 0, 0], None, "R@1 and R@2 and R@4 say"),
        ([0, 0, 1, 1, 1, 1], None, ""),
        ([0, 1], [0, 1, 1, 1], "R@4 says"),
        ([0, 1], [0, 1, 2, 2, 2], ""),
    ],
)
def test_a_recall_that_any_model_reaches_is_told(labels, gallery, sure):
    query, items = ([Record(str(i), label) for i, label in enumerate(part or [])] for part in (labels, gallery))
    said = certainty(Split([], query, items if gallery else None), (1, 2, 4))
    assert said.startswith(sure + " nothing of a model") if sure else said == ""
    rng = np.random.default_rng(0)
    for _ in range(20):
        vectors = [rng.normal(size=(len(part), 3)) for part in (labels, gallery or [])]
        found = recall_at((1, 2, 4), vectors[0], labels, *((vectors[1], gallery) if gallery else ()))
        findable = np.mean([(gallery or labels).count(label) > (not gallery) for label in labels])
        assert all(found[k] == findable for k in (1, 2, 4) if f"R@{k}" in sure)


def test_boxes_that_differ_from_the_training_are_told(tmp_path):
    experiment, _, trained = learn(photos(tmp_path / "photos"))
    lines = [f"photos/class {c}/{i:02d}.png,dish {c},0,0,4,4" for c in range(4) for i in range(10)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,x1,y1,x2,y2", *lines]))
    _, said = load_tested(replace(experiment, dataset=str(tmp_path / "list.csv")), trained)
    assert "trained on whole pictures, and" in said[-1]
    assert "pictures cut out by their boxes: expect" in said[-1]


@pytest.mark.parametrize(
    "damage",
    [
        dict(hashes="AAAA"),
        dict(hashes=5),
        dict(hashes="*" * 16),
        dict(pictures="9"),
        dict(test_hash=None),
        None,
        [1],
        7,
    ],
)
def test_a_damaged_list_is_a_sentence(tmp_path, damage):
    part = learn(photos(tmp_path / "photos"))[2].part
    damaged = {**part, **damage} if isinstance(damage, dict) else {"pictures": 1} if damage is None else damage
    with pytest.raises(ValueError, match="the list of training pictures in m.json is damaged"):
        trained_of("photos", {"training": damaged}, "m.json")


def test_a_benchmark_has_no_list_and_a_folder_a_short_one(tmp_path):
    assert describe(Split([Record("a", 0)], [Record("b", 1)]), "glyphs") is None
    assert carried({"data": "x", "training": None}) == {}
    _, split, trained = learn(photos(tmp_path / "photos"))
    assert len(hashes_of(trained.part)) == 28
    assert len(trained.part["hashes"]) < 22 * 28
    assert carried({"data": "x", "training": trained.part, "more": 1}) == {"data": "x", "training": trained.part}
    assert is_by_images(split)
    assert not is_by_images(split._replace(gallery=split.query))
    assert not is_by_images(learn(tmp_path / "photos", split="classes", held_out=0.5)[1])
