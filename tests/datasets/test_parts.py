"""Folders and lists that say which pictures are to train and which to test, as people name them."""

import os

import pytest

from gluon_cgd import datasets
from gluon_cgd.datasets import folders


def made(root, *places, images=2):
    """A folder with `images` files named like pictures in each of `places`."""
    for place in places:
        (root / place).mkdir(parents=True, exist_ok=True)
        for number in range(images):
            (root / place / f"{number}.jpg").write_bytes(b"x")
    return str(root)


def tops(root, records):
    return sorted({os.path.relpath(record.path, root).split(os.sep)[0] for record in records})


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("train", "val"),
        ("train", "valid"),
        ("Train", "Test"),
        ("TRAIN", "VALIDATION"),
        ("Training", "Testing"),
        ("train ", "query"),
    ],
)
def test_split_folders_are_no_classes_whatever_their_case(tmp_path, train, test):
    source = made(tmp_path, f"{train}/a", f"{train}/b", f"{test}/b", f"{test}/c", "__MACOSX/train/a", ".git/x")
    split = datasets.load(source)
    assert (tops(source, split.train), tops(source, split.query), split.gallery) == ([train], [test], None)
    assert folders.class_names(source) == ["a", "b", "c"]
    assert {record.label for record in split.query} == {1, 2}


@pytest.mark.parametrize("val", ["val", "Valid", "validation"])
def test_beside_a_test_part_validation_is_not_used_and_that_is_said(tmp_path, caplog, val):
    source = made(tmp_path, "train/a", "train/b", f"{val}/only here", "test/a", "test/b")
    split = datasets.load(source)
    assert (tops(source, split.train), tops(source, split.query)) == (["train"], ["test"])
    assert folders.class_names(source) == ["a", "b"]
    assert f"{val} not used (2 pictures)" in caplog.text
    assert "train for training" in caplog.text


def test_where_validation_is_the_test_part_that_is_said(tmp_path, caplog):
    source = made(tmp_path, "train/a", "train/b", "val/a", "val/b")
    datasets.load(source)
    assert "train for training, val for the test" in caplog.text


def test_query_and_gallery_in_any_case(tmp_path):
    source = made(tmp_path, "Train/a", "Train/b", "Query/a", "Query/b", "Gallery/a", "Gallery/b")
    split = datasets.load(source)
    assert [tops(source, part) for part in split] == [["Train"], ["Query"], ["Gallery"]]


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (
            ["train/a", "test/a", "extra/b"],
            r"holds test/ and train/, .* and beside them extra/: move extra/ into the part",
        ),
        (
            ["train/a", "golf"],
            r"holds train/, which split it into parts, and beside them golf/: .*; if train/ is a class, rename it",
        ),
        (["Train/a", "Val/a", "new/x", "old/x"], "beside them new/, old/"),
        (["train/a", "Train/a", "test/a"], "holds Train/ and train/, which are the same part: merge"),
        (["train/a", "val/a", "validation/a"], "holds val/ and validation/, which are the same part"),
        (["train/a", "test/a", "query/a"], "holds query/ and test/, which are the same part"),
        (["val/a", "test/a"], r"holds test/ and val/ and lacks train/: add the folder"),
        (["query/a", "gallery/a"], "lacks train/"),
        (
            ["train/a", "train/b"],
            r"lacks a folder to test on \(test/ or val/\): add the folder; or name .*/train, to let",
        ),
        (["train/a", "gallery/b"], "lacks a folder to test on"),
        (
            ["train", "test"],
            "has 0 pictures to train and 0 to test: both are needed; 4 pictures are in no class folder",
        ),
        (["seg_train/a", "seg_test/a"], "holds seg_test/ and seg_train/, which look like parts of a split: rename"),
        (["train_images/a", "val_images/a"], "rename them to train/ and val/"),
        (["trainset/a", "testset/a", "x"], "rename them to test/ and train/"),
        (["train2017/a", "val2017/a"], "rename them to train/ and val/"),
        (
            ["trainA", "trainB", "testA", "testB"],
            "holds testA/ and testB/ and trainA/ and trainB/, .* to test/ and train/",
        ),
        (["bounding_box_train", "bounding_box_test", "query"], "which look like parts of a split: rename"),
        (["TrainSet", "TESTSET"], "rename them to test/ and train/, with a folder for each class in each of them"),
    ],
)
def test_anything_else_is_refused_by_name(tmp_path, places, message):
    source = made(tmp_path, *places)
    with pytest.raises(ValueError, match=message):
        datasets.load(source)


def test_classes_may_have_the_names_of_parts(tmp_path):
    source = made(tmp_path, "train", "bus", "train station/old", "test tube", "car", images=4)
    assert folders.class_names(source) == ["bus", "car", "test tube", "train", "train station"]
    assert not folders.listed(source).parted


def test_split_folders_inside_classes_are_said_not_to_be_used(tmp_path, caplog):
    places = [f"{name}/{part}" for name in ("golf", "polo", "up", "id") for part in ("train", "test")]
    split = datasets.load(made(tmp_path, *places, "lupo/train"))
    assert len(split.train) + len(split.query) == 18
    assert (
        "4 classes hold train/ and other split folders, which are not used as such, the first is golf: put"
        in caplog.text
    )


def test_a_link_into_another_part_is_refused(tmp_path):
    source = made(tmp_path, "train/a", "train/b", "test/a")
    (tmp_path / "test/b").symlink_to("../train/b")
    with pytest.raises(
        ValueError, match=r"test/b and .*train/b are one folder \(a link\): its pictures would be in two"
    ):
        datasets.load(source)


def test_a_list_names_its_parts_as_people_do(tmp_path, caplog):
    made(tmp_path, "p", images=8)
    parts = ("Train", "train ", "TRAIN", "train", "valid", "Val", "Test", "test")
    rows = [f"p/{number}.jpg,{'ab'[number % 2]},{part}" for number, part in enumerate(parts)]
    (tmp_path / "all.csv").write_text("\n".join(["path,label,split", *rows]))
    split = datasets.load(str(tmp_path / "all.csv"))
    assert [os.path.basename(record.path)[0] for part in split[:2] for record in part] == list("012367")
    assert "test for the test, train for training, val not used (2 pictures)" in caplog.text
    (tmp_path / "two.csv").write_text("\n".join(["path,label,split", *rows[:6]]))
    split = datasets.load(str(tmp_path / "two.csv"))
    assert [len(part) for part in split[:2]] == [4, 2]


def test_folders_that_all_hold_the_same_folders_may_be_no_classes(tmp_path):
    colours = [f"fold{i}/{colour}" for i in (1, 2, 3, 4) for colour in ("blue", "green", "red", "white")]
    assert folders.listed(made(tmp_path / "folds", *colours)).notes == [
        "each of the 4 classes, fold1, fold2, fold3, ..., holds the folders blue/, green/, red/, ...: if those are the "
        "classes, put them into train/ and test/"
    ]
    for others in (("fold5/blue",), ("fold5",)):  # then the folders in them are of no matter
        assert not folders.listed(made(tmp_path / others[0].replace("/", "_"), *colours, *others)).notes
    assert not folders.listed(made(tmp_path / "years", "bus/2019", "car/2019")).notes
