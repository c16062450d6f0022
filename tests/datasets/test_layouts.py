import numpy as np
import pytest
import scipy.io

from gluon_cgd import datasets
from gluon_cgd.datasets import images, layouts
from tests import miniatures


def loaded(name, root):
    return datasets.load(name, root, allow_partial=True)


def test_cub200_is_split_by_class_with_its_boxes(tmp_path):
    split = loaded("cub200", miniatures.cub200(tmp_path))
    assert [r.label for r in split.train] == [0] * 3 + [1] * 3 + [99] * 3
    assert [r.label for r in split.query] == [100] * 3 + [149] * 3 + [199] * 3
    assert split.train[0].box == (4, 3, 54, 43)  # x, y, width, height -> corners
    assert split.train[0].path.endswith("CUB_200_2011/images/001.Bird_1/Bird_1_0000_1.jpg")
    assert split.gallery is None
    assert images.load_picture(split.train[0].path, 20, split.train[0].box).shape == (20, 20, 3)
    assert loaded("cub200", tmp_path / "CUB_200_2011") == split


def test_the_box_of_a_bird_may_reach_a_pixel_over_the_border(tmp_path):
    miniatures.cub200(tmp_path)
    file = tmp_path / "CUB_200_2011/bounding_boxes.txt"
    file.write_text(file.read_text().replace("1 4.0 3.0 50.0 40.0", "1 4.0 3.0 61.0 46.0", 1))
    record = loaded("cub200", tmp_path).train[0]
    assert images.crop(images.decode(record.path), record.box, "").shape == (45, 60, 3)


@pytest.mark.parametrize("nested", [False, True])
def test_cars196_in_two_folders_is_split_by_class_over_both(tmp_path, nested):
    split = loaded("cars196", miniatures.cars196_devkit(tmp_path, nested=nested))
    assert sorted(r.label for r in split.train) == [0] * 6 + [97] * 6
    assert sorted(r.label for r in split.query) == [98] * 6 + [195] * 6
    assert {r.path.split("/")[-2] for r in split.train} == {"cars_train", "cars_test"}
    assert split.train[0].box == (4, 3, 60, 45)


def test_sop_is_split_by_its_two_lists(tmp_path):
    split = loaded("sop", miniatures.sop(tmp_path))
    assert {r.label for r in split.train} == set(range(26))
    assert {r.label for r in split.query} == set(range(11318, 11344))
    assert split.train[0].box is None


def test_the_mini_test_set_of_sop_is_drawn_from_each_super_class(tmp_path):
    miniatures.sop(tmp_path, products=40)
    split = loaded("sop", tmp_path)
    drawn = layouts.sop_mini_products(tmp_path, products=2)
    assert len(drawn) == 24
    assert drawn == layouts.sop_mini_products(tmp_path, products=2) != layouts.sop_mini_products(tmp_path, 2, seed=1)
    kinds = {r.label: r.path.split("/")[-2] for r in split.query}
    assert all(list(map(kinds.get, drawn)).count(kind) == 2 for kind in set(kinds.values()))
    small = loaded("sop_mini", tmp_path)  # 100 of each: all of them here
    assert small == split
    assert datasets.recall_ks("sop_mini") == (1, 10, 100, 1000)


def test_inshop_has_a_query_and_a_gallery_of_the_same_items(tmp_path):
    split = loaded("inshop", miniatures.inshop(tmp_path))
    assert [r.label for r in split.train] == [1] + [2] * 4 + [3] * 4 + [4] * 4 + [5] * 4
    assert {r.label for r in split.query} == {r.label for r in split.gallery} == set(range(6, 11))
    assert (len(split.query), len(split.gallery)) == (10, 10)
    assert split.query[0].path.endswith("Img/img/WOMEN/Dresses/id_00000006/00_1_front.jpg")


def names_only(monkeypatch):
    """Pretend that every picture is there: an annotation-only copy."""
    monkeypatch.setattr(datasets, "present", lambda split, allow_partial: split)


@pytest.mark.parametrize("lacking", [0, 1])
def test_the_official_counts_of_cub200(tmp_path, monkeypatch, lacking):
    names_only(monkeypatch)
    labels = np.concatenate([np.arange(5864) % 100 + 1, np.arange(5924 - lacking) % 100 + 101])
    for name, column in (("images", [f"{i}.jpg" for i in range(len(labels))]), ("image_class_labels", labels),
                         ("bounding_boxes", ["0.0 0.0 9.0 9.0"] * len(labels))):  # fmt: skip
        (tmp_path / f"{name}.txt").write_text("".join(f"{i} {value}\n" for i, value in enumerate(column, 1)))
    expect_counts(
        "cub200",
        tmp_path,
        lacking,
        "5,923 test pictures of 100 classes, where cub200 has 5,864 of 100 and 5,924 of 100",
    )


@pytest.mark.slow
@pytest.mark.parametrize("lacking", [0, 1])
def test_the_official_counts_of_cars196_in_two_folders(tmp_path, monkeypatch, lacking):
    names_only(monkeypatch)
    (tmp_path / "cars_train").mkdir()
    labels = np.concatenate([np.arange(8054) % 98 + 1, np.arange(8131 - lacking) % 98 + 99])
    fields = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
    for file, part in (("cars_train_annos.mat", labels[:8144]), ("cars_test_annos_withlabels.mat", labels[8144:])):
        rows = [(1, 1, 9, 9, label, f"{i:05d}.jpg") for i, label in enumerate(part)]
        scipy.io.savemat(tmp_path / file, {"annotations": np.array([rows], dtype=[(f, object) for f in fields])})
    expect_counts("cars196", tmp_path, lacking, "8,130 test pictures of 98 classes")


@pytest.mark.slow
@pytest.mark.parametrize("lacking", [0, 1])
def test_the_official_counts_of_sop(tmp_path, monkeypatch, lacking):
    names_only(monkeypatch)
    for part, pictures, products, first in (("train", 59551, 11318, 1), ("test", 60502 - lacking, 11316, 11319)):
        rows = "".join(f"{i} {first + i % products} 1 {part}/{i}.JPG\n" for i in range(pictures))
        (tmp_path / f"Ebay_{part}.txt").write_text("image_id class_id super_class_id path\n" + rows)
    expect_counts("sop", tmp_path, lacking, "60,501 test pictures of 11,316 classes")


@pytest.mark.parametrize("lacking", [0, 1])
def test_the_official_counts_of_inshop(tmp_path, monkeypatch, lacking):
    names_only(monkeypatch)
    rows = []
    for part, pictures, items, first in (
        ("train", 25882, 3997, 1),
        ("query", 14218, 3985, 5000),
        ("gallery", 12612 - lacking, 3985, 5000),
    ):
        rows += [f"img/{part}{i}.jpg id_{first + i % items:08d} {part}" for i in range(pictures)]
    text = "\n".join([str(len(rows)), "image_name item_id evaluation_status", *rows])
    (tmp_path / "list_eval_partition.txt").write_text(text)
    expect_counts("inshop", tmp_path, lacking, "12,611 gallery pictures of 3,985 classes")


def expect_counts(name, root, lacking, message):
    if not lacking:
        datasets.load(name, root)
        return
    with pytest.raises(ValueError, match="--allow-partial") as refusal:
        datasets.load(name, root)
    assert message in str(refusal.value)
