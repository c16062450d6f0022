import numpy as np
import pytest
import scipy.io

from gluon_cgd import datasets
from tests.conftest import write_cars


def test_cars_are_split_by_class_and_boxed(tmp_path, caplog):
    split = datasets.load("cars196", write_cars(tmp_path, classes=(1, 98, 99, 196), images=2), allow_partial=True)
    assert [r.label for r in split.train] == [0, 0, 97, 97]
    assert [r.label for r in split.query] == [98, 98, 195, 195]
    assert split.gallery is None
    assert split.train[0].path == str(tmp_path / "car_ims/000001.jpg")
    assert split.train[0].box == (5, 4, 55, 36)
    assert (
        "4 training pictures of 2 classes and 4 test pictures of 2 classes, where cars196 has 8,054 of 98"
        in caplog.text
    )


def test_box_corners_are_numbers_that_can_be_subtracted(tmp_path):
    split = datasets.load("cars196", write_cars(tmp_path, box=(200, 0, 255, 30)), allow_partial=True)
    x1, _, x2, _ = split.train[0].box
    assert x1 - x2 == -55  # uint8 would say 201


def test_a_copy_with_other_counts_is_refused_with_both_counts(tmp_path):
    with pytest.raises(
        ValueError,
        match="holds 9 training pictures of 3 classes and 6 test .* cars196 has 8,054 of 98 .*--allow-partial",
    ):
        datasets.load("cars196", write_cars(tmp_path))


def test_missing_pictures_are_counted_and_the_first_is_named(tmp_path, caplog):
    write_cars(tmp_path)
    (tmp_path / "car_ims/000002.jpg").unlink()
    (tmp_path / "car_ims/000005.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="2 of 9 training pictures are missing, the first is .*000002.jpg"):
        datasets.load("cars196", tmp_path)
    split = datasets.load("cars196", tmp_path, allow_partial=True)
    assert len(split.train) == 7
    assert "2 of 9 training pictures are missing" in caplog.text


@pytest.mark.slow
def test_a_whole_copy_passes_the_official_counts_without_a_word(tmp_path, caplog):
    (tmp_path / "car_ims").mkdir()
    rows = []
    for i in range(16185):
        (tmp_path / f"car_ims/{i:06d}.jpg").touch()
        label = 1 + i % 98 if i < 8054 else 99 + i % 98
        rows.append((f"car_ims/{i:06d}.jpg", 1, 1, 2, 2, label, 0))
    fields = ("relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test")
    scipy.io.savemat(
        tmp_path / "cars_annos.mat", {"annotations": np.array([rows], dtype=[(f, object) for f in fields])}
    )
    split = datasets.load("cars196", tmp_path)
    assert (len(split.train), len(split.query)) == (8054, 8131)
    assert len({r.label for r in split.train}) == len({r.label for r in split.query}) == 98
    assert not caplog.text


def test_unreadable_annotations_are_refused_by_name(tmp_path):
    write_cars(tmp_path)
    file = tmp_path / "cars_annos.mat"
    whole = file.read_bytes()
    for broken in (b"", b"not a mat file", whole[: len(whole) // 2]):
        file.write_bytes(broken)
        with pytest.raises(ValueError, match="cars_annos.mat"):
            datasets.load("cars196", tmp_path)
    scipy.io.savemat(file, {"annotations": np.array([[("a.jpg", 1)]], dtype=[("fname", object), ("class", object)])})
    with pytest.raises(ValueError, match="has no field relative_im_path"):
        datasets.load("cars196", tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match="cars_annos.mat does not exist"):
        datasets.load("cars196", tmp_path)


def test_names_and_folders_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'flowers' is unknown: choose glyphs, glyphs_mini, cub200"):
        datasets.load("flowers", tmp_path)
    with pytest.raises(ValueError, match="dataset '' is unknown: choose glyphs"):  # not the present folder
        datasets.load("")
    assert not datasets.is_own("")
    (tmp_path / "query.jpg").write_text("")
    with pytest.raises(ValueError, match="query.jpg is a file, but no .csv file: choose .* folder or .csv file"):
        datasets.load(str(tmp_path / "query.jpg"))
    with pytest.raises(ValueError, match="query.jpg is a file: --data names the folder that holds the datasets"):
        datasets.load("cars196", tmp_path / "query.jpg")
    with pytest.raises(FileNotFoundError, match="nowhere, the folder of cars196, does not exist"):
        datasets.load("cars196", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="--data"):
        datasets.load("cars196")


def test_the_mini_form_of_glyphs_trains_on_the_first_pictures_of_each_class(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.glyphs, "TRAIN_IMAGES", 3)
    monkeypatch.setattr(datasets.glyphs, "TEST_IMAGES", 1)
    monkeypatch.setattr(datasets.glyphs, "MINI_IMAGES", 2)
    blank = np.zeros((48, 48, 3), np.uint8)
    monkeypatch.setattr(datasets.glyphs, "picture", lambda label, index: blank)
    whole, small = datasets.load("glyphs", tmp_path), datasets.load("glyphs_mini", tmp_path)
    assert small.query == whole.query
    assert small.train == [record for record in whole.train if not record.path.endswith("02.png")]
    assert len(small.train) == 200


def test_glyphs_have_100_classes_to_train_and_100_others_to_test(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.glyphs, "TRAIN_IMAGES", 1)
    monkeypatch.setattr(datasets.glyphs, "TEST_IMAGES", 1)
    split = datasets.load("glyphs", tmp_path)
    assert {r.label for r in split.train} == set(range(100))
    assert {r.label for r in split.query} == set(range(100, 200))
    assert all(r.path.startswith(str(tmp_path)) and r.box is None for r in split.train)
