"""What `index` and `embed` leave out of a folder is said on one line; nothing is found twice, and nothing is lost."""

import os

import numpy as np
import pytest

from gluon_cgd.__main__ import main
from gluon_cgd.retrieval import collection, index
from tests.datasets.test_tree import files, unreadable
from tests.retrieval.test_index import cheap, picture, right, update


@pytest.fixture
def photos(tmp_path):
    """A folder with four pictures, two of them behind a link, and what is no picture."""
    root = tmp_path / "photos"
    paths = [picture(root / "golf" / f"{i}.png", i) for i in range(2)]
    for i in range(2):
        picture(tmp_path / "elsewhere" / f"{i}.png", 10 + i)
        paths.append(str(root / "polo" / f"{i}.png"))
    (root / "polo").symlink_to(tmp_path / "elsewhere")
    (root / "golf/loop").symlink_to(root)
    files(root, "a.heic", "b.heic", "golf/c.avif", "notes.txt", "@eaDir/golf/0.png", ".ipynb_checkpoints/1.png")
    return paths


def told(err):
    lines = [line for line in err.splitlines() if "left out" in line]
    assert len(lines) == 1
    return lines[0]


def test_each_picture_is_indexed_once_and_the_others_are_counted_on_one_line(tmp_path, photos, exported, capsys):
    command = ["index", "--images", tmp_path / "photos", "--model", exported / "model.onnx", "--out", tmp_path / "idx"]
    assert main(list(map(str, command))) == 0
    said = capsys.readouterr()
    assert said.out == f"4 pictures in {tmp_path}/photos: 4 added, 0 changed, 0 as before\n"
    line = told(said.err)
    assert "4 files are no pictures that can be read and are left out" in line
    assert ".heic 2, .avif 1 (install pillow-heif to read them), .txt 1" in line
    assert "@eaDir 1" in line
    assert "1 links to a folder around them" in line
    snapshot = collection.read(tmp_path / "idx")
    assert sorted(snapshot.path(row) for row in np.flatnonzero(snapshot.live)) == photos


def test_embed_says_the_same(tmp_path, photos, exported, capsys):
    command = [
        "embed",
        "--images",
        tmp_path / "photos",
        "--model",
        exported / "model.onnx",
        "--out",
        tmp_path / "v.npy",
    ]
    assert main(list(map(str, command))) == 0
    assert ".heic 2, .avif 1 (install pillow-heif to read them), .txt 1" in told(capsys.readouterr().err)
    assert (tmp_path / "v.txt").read_text().splitlines() == photos


def test_a_folder_that_cannot_be_read_is_counted_and_what_is_known_of_it_is_not_pruned(tmp_path, photos, monkeypatch):
    update(tmp_path / "idx", tmp_path / "photos")
    os.remove(photos[0])
    unreadable(monkeypatch, "/polo")
    with pytest.raises(
        PermissionError, match="polo is a folder that cannot be read .*or say --skip-bad to leave it out"
    ):
        update(tmp_path / "idx", tmp_path / "photos", prune=True)
    done = update(tmp_path / "idx", tmp_path / "photos", prune=True, skip_bad=True)
    assert (done.found, done.same, done.removed, done.gone) == (1, 1, 1, 0)
    assert done.left_out.unreadable == [str(tmp_path / "photos/polo")]
    right(tmp_path / "idx", photos[1:])


def test_a_disk_that_is_not_mounted_is_no_reason_to_prune(tmp_path, photos):
    update(tmp_path / "idx", tmp_path / "photos")
    (tmp_path / "elsewhere").rename(tmp_path / "away")
    with pytest.raises(OSError, match="polo is a link that cannot be followed"):
        update(tmp_path / "idx", tmp_path / "photos", prune=True)
    assert update(tmp_path / "idx", tmp_path / "photos", prune=True, skip_bad=True).removed == 0
    (tmp_path / "away").rename(tmp_path / "elsewhere")
    right(tmp_path / "idx", photos)


@pytest.mark.parametrize("prune", [False, "gone", "all"])
def test_where_nothing_can_be_read_nothing_is_pruned(tmp_path, photos, monkeypatch, prune):
    update(tmp_path / "idx", tmp_path / "photos")
    unreadable(monkeypatch, "/photos")
    with pytest.raises(PermissionError, match="photos is a folder that cannot be read"):
        update(tmp_path / "idx", tmp_path / "photos", prune=prune, skip_bad=True)
    right(tmp_path / "idx", photos)


@pytest.mark.parametrize("command", ["index", "embed"])
def test_a_class_that_cannot_be_read_goes_through_the_commands(
    tmp_path, photos, exported, monkeypatch, capsys, command
):
    unreadable(monkeypatch, "/golf")
    words = [command, "--images", tmp_path / "photos", "--model", exported / "model.onnx", "--out", tmp_path / "o.npy"]
    assert main(list(map(str, words))) == 2
    assert "golf is a folder that cannot be read (Permission denied)" in capsys.readouterr().err
    assert main([*map(str, words), "--skip-bad"]) == 0
    said = capsys.readouterr()
    assert "2 " in said.out
    assert f"1 folders that cannot be read: {tmp_path}/photos/golf" in told(said.err)


def test_without_pictures_the_refusal_says_what_is_there(tmp_path):
    files(tmp_path / "phone", "1.heic", "2.heic", "3.txt")
    with pytest.raises(
        ValueError, match=r"holds no pictures .*, but \.heic 2 \(install pillow-heif to read them\), \.txt 1"
    ):
        list(index.update(None, tmp_path / "phone", cheap, 4))
