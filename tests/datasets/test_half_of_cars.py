"""`cars196_train_half`: the pictures that CARS196 marks as training pictures, in both of its layouts."""

import shutil

import numpy as np
import pytest
import scipy.io
from numpy.lib.recfunctions import repack_fields

from gluon_cgd import datasets
from gluon_cgd.__main__ import main
from gluon_cgd.commands import effects
from gluon_cgd.datasets import training_part
from tests import miniatures
from tests.conftest import write_cars

NAME = "cars196_train_half"


def loaded(root):
    return datasets.load(NAME, root, allow_partial=True)


def files(part):
    return [record.path.rpartition("/")[2] for record in part]


def test_in_one_folder_it_is_what_the_field_test_says(tmp_path):
    write_cars(tmp_path, classes=(1, 98, 99, 196), images=3)  # test is 0, 1, 0, 1, ...
    half, whole = loaded(tmp_path), datasets.load("cars196", tmp_path, allow_partial=True)
    assert files(half.train) == ["000001.jpg", "000003.jpg", "000005.jpg"]
    assert files(half.query) == ["000007.jpg", "000009.jpg", "000011.jpg"]
    assert [r.label for r in half.train] == [0, 0, 97]
    assert [r.label for r in half.query] == [98, 98, 195]
    assert half.train == [r for r in whole.train if r in half.train]  # the same classes and boxes
    assert half.gallery is None


@pytest.mark.parametrize("nested", [False, True])
def test_in_two_folders_the_other_half_need_not_be_there(tmp_path, nested):
    miniatures.cars196_devkit(tmp_path, nested=nested)
    half = loaded(tmp_path)
    assert {r.path.split("/")[-2] for r in half.train + half.query} == {"cars_train"}
    assert (len(half.train), len(half.query)) == (6, 6)
    shutil.rmtree(tmp_path / "cars_test")
    for file in (tmp_path / "devkit").glob("cars_test*"):
        file.unlink()
    assert loaded(tmp_path) == half
    with pytest.raises(FileNotFoundError, match="cars_test_annos_withlabels.mat does not exist"):
        datasets.load("cars196", tmp_path, allow_partial=True)


def test_it_is_found_in_its_own_folder_in_that_of_the_whole_or_as_the_folder(tmp_path):
    write_cars(tmp_path / "cars196")
    assert loaded(tmp_path) == loaded(tmp_path / "cars196")
    write_cars(tmp_path / NAME, classes=(3, 100))
    assert {r.label for r in loaded(tmp_path).train} == {2}


@pytest.mark.parametrize("test", [2, -1, 0.5])
def test_another_value_of_test_is_refused_and_does_not_harm_the_whole(tmp_path, test):
    write_cars(tmp_path, change=lambda rows: [(*rows[0][:-1], test), *rows[1:]])
    with pytest.raises(ValueError, match=r"cars_annos.mat has no usable path.* in row 1 .*: get it again"):
        loaded(tmp_path)
    assert len(datasets.load("cars196", tmp_path, allow_partial=True).train) == 9


def test_annotations_without_the_field_are_refused_by_its_name(tmp_path):
    write_cars(tmp_path)
    annotations = scipy.io.loadmat(str(tmp_path / "cars_annos.mat"))["annotations"]
    fields = [name for name in annotations.dtype.names if name != "test"]
    scipy.io.savemat(tmp_path / "cars_annos.mat", {"annotations": repack_fields(annotations[fields])})
    with pytest.raises(ValueError, match="has no field test: get the cars_annos.mat that belongs to"):
        loaded(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("lacking", [0, 1])
def test_its_counts_are_compared_with_the_official_ones(tmp_path, monkeypatch, lacking):
    monkeypatch.setattr(datasets, "present", lambda split, allow_partial: split)  # an annotation-only copy
    (tmp_path / "cars_train").mkdir()
    labels = np.concatenate([np.arange(4052) % 98 + 1, np.arange(4092 - lacking) % 98 + 99])
    rows = [(1, 1, 9, 9, label, f"{i:05d}.jpg") for i, label in enumerate(labels)]
    fields = [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    scipy.io.savemat(tmp_path / "cars_train_annos.mat", {"annotations": np.array([rows], dtype=fields)})
    if not lacking:
        datasets.load(NAME, tmp_path)
        return
    official = f"4,091 test pictures of 98 classes, where {NAME} has 4,052 of 98 and 4,092 of 98: complete the copy"
    with pytest.raises(ValueError, match=official):
        datasets.load(NAME, tmp_path)


def test_the_command_says_where_it_comes_from_and_counts_it(tmp_path, capsys):
    assert main(["data", NAME]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{NAME}: its authors' links are dead")
    assert f"data {NAME} --root DIR" in said
    write_cars(tmp_path)
    assert main(["data", NAME, "--root", str(tmp_path), "--allow-partial", "--verify"]) == 0
    assert f"{NAME}: 5 training pictures of 3 classes and 3 test pictures of 2 classes" in capsys.readouterr().out
    assert main(["data", NAME, "--root", str(tmp_path), "--download"]) == 2
    assert "cars196 cannot be downloaded" in capsys.readouterr().err


def test_what_holds_for_a_benchmark_holds_for_its_parts():
    class Options:
        dataset = NAME

    assert effects.is_benchmark(Options)
    assert NAME in datasets.NAMES
    assert not datasets.is_own(NAME)
    assert training_part.learned_boxes(training_part.Trained(NAME))
    wholes = {"cars196_train_half": "cars196", "sop_mini": "sop", "sop": "sop", "glyphs": "glyphs"}
    assert {name: datasets.whole_of(name) for name in wholes} == wholes
