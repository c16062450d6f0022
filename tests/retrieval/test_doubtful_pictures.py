"""What is doubtful in a labelled collection: on embeddings whose answer is known, and by the command."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image, ImageFilter

from gluon_cgd import datasets
from gluon_cgd.__main__ import main
from gluon_cgd.retrieval import doubtful, duplicates
from gluon_cgd.retrieval.looks import Look
from tests.commands.test_search import EXPERIMENT
from tests.models.test_opened import published
from tests.retrieval.test_duplicates import scene


def clusters(sizes, seed=0, spread=0.1):
    """(unit vectors (N, 8), the cluster of each) around as many centres as there are `sizes`."""
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    which = np.repeat(np.arange(len(sizes)), sizes)
    vectors = centres[which] + spread * rng.normal(size=(len(which), 8))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), which


def near(vectors):
    return duplicates.neighbours(vectors, np.arange(len(vectors)))


def test_a_wrong_label_is_found_and_a_right_one_is_not():
    vectors, labels = clusters([10, 10, 4])
    assert doubtful.contradicted(labels, near(vectors)) == []
    labels[3] = 1
    assert doubtful.contradicted(labels, near(vectors)) == [(3, 0, 5)]
    labels[22] = 0  # 3 of the small class remain
    assert doubtful.contradicted(labels, near(vectors)) == [(3, 0, 5), (22, 2, 3)]


def test_a_picture_that_is_alone_in_its_class_is_not_contradicted():
    vectors, labels = clusters([10, 10])
    labels[3] = 7
    assert doubtful.contradicted(labels, near(vectors)) == []


def test_two_halves_of_one_class_are_found_and_two_near_classes_are_not():
    vectors, labels = clusters([24, 10, 10])
    assert doubtful.one_class(vectors, labels, near(vectors)) == []
    labels[:24:2] = 5
    ((first, second, share),) = doubtful.one_class(vectors, labels, near(vectors))
    assert (first, second) == (0, 5)
    assert share > doubtful.MIXED
    # By hand: of 24 pictures in halves of 12, each has 12 of the 23 others in the other half
    cosines = vectors[:24] @ vectors[:24].T
    np.fill_diagonal(cosines, -1)
    nearest = np.argsort(-cosines, axis=1)[:, :3]
    assert share == pytest.approx((labels[:24, None] != labels[:24][nearest]).mean() / (12 / 23))


def test_blurred_pictures_stand_out_and_a_collection_that_is_blurred_does_not():
    def seen(blurs):
        return {i: Look(None, contrast, blur, b"", 9, 9, 9) for i, (blur, contrast) in enumerate(blurs)}

    sharp = [(0.3 + 0.01 * (i % 5), 50) for i in range(20)]
    looks = seen([*sharp, (0.7, 50), (0.6, 50), (0.9, 1)])
    assert doubtful.blurred(looks) == [(20, 0.7), (21, 0.6)]
    assert doubtful.empty(looks) == [22]
    assert doubtful.blurred(seen([(0.55 + 0.01 * (i % 5), 50) for i in range(20)])) == []
    assert doubtful.blurred({}) == []


def test_the_command_finds_what_is_doubtful_and_deletes_nothing(tmp_path, capsys):
    photos = tmp_path / "photos"
    for number in range(16):
        file = photos / ("train", "test")[number // 8] / f"class {number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        scene(number).save(file)
    shutil.copy(photos / "train/class 0/0.png", photos / "test/class 1/copy.png")
    scene(50).filter(ImageFilter.GaussianBlur(5)).save(photos / "test/class 1/blurred.png")
    Image.new("RGB", (50, 50), "grey").save(photos / "train/class 0/empty.png")
    (photos / "train/class 0/broken.png").write_bytes(b"broken")
    before = sorted((str(file), file.read_bytes()) for file in photos.rglob("*.*"))
    command = ["check", str(photos), "--checkpoint", published(tmp_path / "model", EXPERIMENT), "--ctx", "cpu"]
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pictures"] == 20
    assert "broken.png is not a picture that can be read" in found["unreadable"][0]["error"]
    for kind in ("in_both_parts", "in_two_classes"):
        (pair,) = found[kind]
        assert pair["likeness"] == 1
        assert [one["path"] for one in pair["pictures"]] == [
            str(photos / "train/class 0/0.png"),
            str(photos / "test/class 1/copy.png"),
        ]
        assert [one["parts"] for one in pair["pictures"]] == [["training"], ["test"]]
        assert [one["class"] for one in pair["pictures"]] == ["class 0", "class 1"]
    assert [finding["path"] for finding in found["blurred"]] == [str(photos / "test/class 1/blurred.png")]
    assert [finding["path"] for finding in found["empty"]] == [str(photos / "train/class 0/empty.png")]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "the same picture is in the training part and in the test: 1" in lines
    assert f"  {photos / 'train/class 0/empty.png'}" in lines
    assert sorted((str(file), file.read_bytes()) for file in photos.rglob("*.*")) == before


def test_the_same_part_of_a_picture_in_training_and_test_is_found(tmp_path, capsys):
    rows = ["path,label,x1,y1,x2,y2,split"]
    for number in range(8):
        scene(number).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{number % 2},10,10,150,110,{('train', 'test')[number // 4]}")
    rows.append("0.png,0,11,10,150,110,test")  # nearly the same box
    rows.append("1.png,1,500,500,510,510,test")  # outside
    (tmp_path / "list.csv").write_text("\n".join(rows))
    command = ["check", str(tmp_path / "list.csv"), "--checkpoint", published(tmp_path / "model", EXPERIMENT), "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    (pair,) = found["in_both_parts"]
    assert [one["path"].rpartition("/")[2] for one in pair["pictures"]] == ["0.png", "0.png"]
    assert found["in_two_classes"] == []
    assert "box (500, 500, 510, 510) is empty or outside" in found["unreadable"][0]["error"]


def test_copies_in_a_training_part_that_is_searched_in_are_not_said_to_be_tested(tmp_path, capsys):
    photos = tmp_path / "photos"
    for number in range(6):  # classes of two: one of each is searched in the others
        file = photos / f"class {number // 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        scene(number).save(file)
    split = datasets.load(str(photos), split="images")
    first, second = (record.path for record in split.train[:2])
    shutil.copy(first, second)
    model = published(tmp_path / "model", EXPERIMENT)
    assert main(["check", str(photos), "--checkpoint", model, "--ctx", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["in_both_parts"] == []
    (pair,) = found["in_two_classes"]
    assert [one["parts"] for one in pair["pictures"]] == [["training"], ["training"]]
