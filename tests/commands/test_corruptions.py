"""Wrong data of every kind: one sentence that names the file and the remedy, status 2, no half-made cache."""

import errno
import os
import re

import numpy as np
import pytest
import scipy.io

from gluon_cgd.__main__ import main
from tests import miniatures

BIRDS = "CUB_200_2011"


def replace(name, old, new, count=1):
    """A corruption: replace text in file `name`."""

    def change(root):
        file = root / name
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new, count))

    return change


def write(name, data):
    """A corruption: overwrite file `name`."""
    return lambda root: (root / name).write_bytes(data)


def cut(name, share=0.5):
    """A corruption: keep the first `share` of file `name`."""

    def change(root):
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: int(len(data) * share)])

    return change


def remove(name):
    return lambda root: (root / name).unlink()


def rename(name, other):
    return lambda root: (root / name).rename(root / other)


def swap_columns(name):
    def change(root):
        lines = (root / name).read_text().splitlines()
        (root / name).write_text("\n".join(" ".join(reversed(line.split())) for line in lines))

    return change


def into_folder(name):
    def change(root):
        (root / name).unlink()
        (root / name).mkdir()

    return change


def birds_of_2010(root):
    (root / BIRDS / "images.txt").unlink()
    (root / BIRDS / "lists").mkdir()
    (root / BIRDS / "lists/files.txt").write_text("".join(f"001.Albatross/{i}.jpg\n" for i in range(6033)))


def car_boxes(**values):
    """A corruption of cars_train_annos.mat: fields of its first row get other values."""

    def change(root):
        file = root / "devkit/cars_train_annos.mat"
        annotations = scipy.io.loadmat(file)["annotations"]
        for field, value in values.items():
            annotations[0, 0][field] = value
        scipy.io.savemat(file, {"annotations": annotations})

    return change


def no_annotated_test_cars(root):
    (root / "devkit/cars_test_annos_withlabels.mat").unlink()


def without_field(root):
    rows = np.array([[("a.jpg", 1)]], dtype=[("fname", object), ("class", object)])
    scipy.io.savemat(root / "devkit/cars_train_annos.mat", {"annotations": rows})


BIRD = f"{BIRDS}/images/001.Bird_1/Bird_1_0001_2.jpg"
EVAL = "Eval/list_eval_partition.txt"
DRESS = "Img/img/WOMEN/Dresses/id_00000002/01_1_front.jpg"
CORRUPTIONS = {
    "birds: a picture is missing": ("cub200", remove(BIRD), "1 of 9 training pictures are missing, the first is .*_2.jpg"),
    "birds: a cut picture": ("cub200", cut(BIRD), "Bird_1_0001_2.jpg is cut off .* get the picture again"),
    "birds: a page for a picture": ("cub200", write(BIRD, b"<html>404"), "_2.jpg is not a picture .* get it again"),
    "birds: an empty picture": ("cub200", write(BIRD, b""), "Bird_1_0001_2.jpg is empty: get the picture again"),
    "birds: swapped columns": ("cub200", swap_columns(f"{BIRDS}/images.txt"), "images.txt line 1 reads .* get it again"),
    "birds: no boxes": ("cub200", remove(f"{BIRDS}/bounding_boxes.txt"), "bounding_boxes.txt does not exist"),
    "birds: a label is missing": ("cub200", replace(f"{BIRDS}/image_class_labels.txt", "3 1\n", ""), "no row for picture 3"),
    "birds: classes from 0": ("cub200", replace(f"{BIRDS}/image_class_labels.txt", "1 1", "1 0"), "class 0 is not in 1 to 200"),
    "birds: no label": ("cub200", replace(f"{BIRDS}/image_class_labels.txt", "1 1", "1"), "line 1 has 1 fields and should have 2"),
    "birds: a box of no width": ("cub200", replace(f"{BIRDS}/bounding_boxes.txt", "50.0", "0.0"), "box .* of .*_1.jpg has no area"),
    "birds: a box outside": ("cub200", replace(f"{BIRDS}/bounding_boxes.txt", "4.0", "90.0"), "outside of .*_1.jpg.* 64 x 48"),
    "birds: a box of nan": ("cub200", replace(f"{BIRDS}/bounding_boxes.txt", "4.0", "nan"), "bounding_boxes.txt line 1 reads"),
    "birds: listed twice": ("cub200", replace(f"{BIRDS}/images.txt", "Bird_1_0001_2", "Bird_1_0000_1"), "_1.jpg is listed twice"),
    "birds: a path outside": ("cub200", replace(f"{BIRDS}/images.txt", "001.Bird_1", "../../secret"), "images.txt names .* not inside"),
    "birds: of another year": ("cub200", birds_of_2010, r"is CUB-200-2010 \(6,033 pictures\).* get CUB_200_2011.tgz"),
    "birds: a binary list": ("cub200", write(f"{BIRDS}/images.txt", b"\xff\xfe\x00"), "images.txt is not a text file: get it"),
    "birds: an empty list": ("cub200", write(f"{BIRDS}/images.txt", b""), "images.txt is cut off after 0 lines"),
    "birds: a folder for a picture": ("cub200", into_folder(BIRD), "Bird_1_0001_2.jpg"),
    "cars: uint8 overflow": ("cars196", car_boxes(bbox_x2=np.array([[2]], np.uint8)), r"box \(4, 3, 2, 45\) of .*00001.jpg has no area"),
    "cars: a box outside": ("cars196", car_boxes(bbox_x2=np.array([[250]], np.uint8)), "outside of .*00001.jpg, which is 64 x 48"),
    "cars: class 197": ("cars196", car_boxes(**{"class": np.array([[197]], np.uint8)}), "class 197 is not in 1 to 196"),
    "cars: an empty class": ("cars196", car_boxes(**{"class": np.zeros((1, 0), np.uint8)}), "cars_train_annos.mat has no usable path, box and class in row 1"),
    "cars: no labels": ("cars196", no_annotated_test_cars, "cars_test_annos.mat has no classes: get cars_test_annos_withlabels.mat"),
    "cars: cut annotations": ("cars196", cut("devkit/cars_train_annos.mat"), "cars_train_annos.mat cannot be read .* get it again"),
    "cars: other annotations": ("cars196", without_field, "cars_train_annos.mat has no field bbox_x1: get the"),
    "cars: no folder": ("cars196", rename("cars_train", "train"), "training pictures are missing, the first is .*cars_train"),
    "cars: no annotations": ("cars196", rename("devkit", "kit"), "cars_train_annos.mat does not exist"),
    "products: another header": ("sop", replace(f"{'Stanford_Online_Products'}/Ebay_train.txt", "image_id", "id"), "Ebay_train.txt starts with 'id"),
    "products: a short line": ("sop", replace("Stanford_Online_Products/Ebay_test.txt", " 1 kind1", " kind1"), "Ebay_test.txt line 2 has 3 fields"),
    "products: a word for a number": ("sop", replace("Stanford_Online_Products/Ebay_train.txt", "2 1 1 kind", "2 one 1 kind"), "Ebay_train.txt line 3"),
    "products: no test list": ("sop", remove("Stanford_Online_Products/Ebay_test.txt"), "Ebay_test.txt does not exist"),
    "clothes: a wrong count": ("inshop", replace(EVAL, "37", "38"), "says 38 pictures and lists 37: get it again"),
    "clothes: cut": ("inshop", cut(EVAL, 0.7), "list_eval_partition.txt"),
    "clothes: no header": ("inshop", replace(EVAL, "image_name item_id evaluation_status\n", ""), "not In-shop's header"),
    "clothes: another part": ("inshop", replace(EVAL, "train", "training"), "line 3 reads .*, not picture, item and part"),
    "clothes: a cut picture": ("inshop", cut(DRESS), "01_1_front.jpg is cut off"),
    "folder: one class": ("folder", lambda root: [p.rename(root / f"x{p.name}") for p in root.iterdir() if "0" not in p.name] and
                          [(root / f"xclass {i}").rename(root / f"class 0/{i}") for i in range(1, 5)], "has 1 classes with pictures"),
    "folder: an empty picture": ("folder", write("class 1/2.jpg", b""), "2.jpg is empty"),
    "csv: another header": ("csv", replace("list.csv", "path,label", "file,class"), "its header must be path,label"),
    "csv: half a box": ("csv", replace("list.csv", "path,label,x1,y1,x2,y2", "path,label,x1,y1"), "its header must be"),
    "csv: a short line": ("csv", replace("list.csv", "dish 0,4,3", "dish 0"), "list.csv line 2 has another number of fields"),
    "csv: no label": ("csv", replace("list.csv", "dish 0", ""), "list.csv line 2 has no path or no label"),
    "csv: a word in a box": ("csv", replace("list.csv", "4,3,60", "4,three,60"), "list.csv line 2 has a box that is not four numbers"),
    "csv: no such picture": ("csv", remove("photos/3-2.jpg"), "pictures are missing, the first is .*3-2.jpg"),
    "csv: a path outside": ("csv", replace("list.csv", "photos/0-0", "../photos/0-0"), "list.csv line 2 names .* not inside"),
    "csv: another encoding": ("csv", write("list.csv", "path,label\ncafé.jpg,été\n".encode("latin-1")), "list.csv is not a CSV file in UTF-8"),
    "csv: empty": ("csv", write("list.csv", b""), "its header must be path,label"),
}  # fmt: skip


def prepared(name, root, capsys, *more):
    """(status, stderr) of preparing a miniature."""
    where = {"folder": [str(root)], "csv": [str(root / "list.csv")]}.get(name, [name, "--root", str(root)])
    status = main(["data", *where, "--prepare", "--input-size", "16", *more])
    return status, capsys.readouterr().err


def made(name, root):
    return {"cars196": miniatures.cars196_devkit}.get(name, getattr(miniatures, name, None))(root)


def cache_of(tmp_path):
    return [file.name for file in (tmp_path / "cache").rglob("*") if file.is_file() and file.suffix != ".lock"]


@pytest.mark.parametrize("name", ["cub200", "cars196", "sop", "inshop", "folder", "csv"])
def test_the_miniatures_themselves_are_prepared(name, tmp_path, capsys):
    made(name, tmp_path / "data")
    status, said = prepared(name, tmp_path / "data", capsys, "--allow-partial", "--verify")
    assert status == 0, said
    assert len(cache_of(tmp_path)) == (3 if name == "inshop" else 2)


@pytest.mark.parametrize("title", CORRUPTIONS)
def test_wrong_data_is_refused_in_a_sentence_and_leaves_no_cache(title, tmp_path, capsys):
    name, corrupt, message = CORRUPTIONS[title]
    made(name, tmp_path / "data")
    corrupt(tmp_path / "data")
    partial = [] if "are missing" in message else ["--allow-partial"]
    status, said = prepared(name, tmp_path / "data", capsys, *partial)
    assert status == 2
    sentences = [
        line for line in said.strip().splitlines() if "as allow_partial says" not in line and "are left out" not in line
    ]
    assert len(sentences) == 1, said
    assert re.search(message, sentences[0])
    # Of two parts the first may be whole; of the one that is wrong nothing may be left
    assert not [file for file in cache_of(tmp_path) if not file.endswith(".uint8")]
    assert len(cache_of(tmp_path)) < (3 if name == "inshop" else 2)


def test_verifying_names_every_bad_picture(tmp_path, capsys):
    made("cub200", tmp_path / "data")
    for title in ("birds: a cut picture", "birds: a box outside"):
        CORRUPTIONS[title][1](tmp_path / "data")
    status = main(["data", "cub200", "--root", str(tmp_path / "data"), "--allow-partial", "--verify"])
    said = capsys.readouterr().err
    assert status == 2
    assert "2 pictures of cub200 cannot be used:" in said
    assert "Bird_1_0001_2.jpg is cut off" in said
    assert "Bird_1_0000_1.jpg, which is 64 x 48" in said


def test_a_picture_that_may_not_be_read_is_named(tmp_path, capsys, monkeypatch):
    from gluon_cgd.datasets import images

    made("folder", tmp_path / "data")

    def forbidden(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(images, "decode", forbidden)
    status, said = prepared("folder", tmp_path / "data", capsys)
    assert status == 2
    assert re.search(r"/class \d/\d.jpg may not be read or written by this user: change its permissions", said)
    assert not cache_of(tmp_path)


def test_a_disk_that_fills_up_is_one_sentence(tmp_path, capsys, monkeypatch):
    made("folder", tmp_path / "data")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    status, said = prepared("folder", tmp_path / "data", capsys)
    assert status == 2
    assert "has no room for" in said
    assert not cache_of(tmp_path)
