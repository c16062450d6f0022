"""A folder with every oddity of people's folders at once goes through the commands with the right counts."""

import json
import re
import unicodedata

import numpy as np
import pytest
from PIL import Image

from gluon_cgd.__main__ import main
from gluon_cgd.datasets import glyphs
from gluon_cgd.retrieval import collection
from tests import miniatures
from tests.datasets.test_tree import unreadable

CLASSES = ("Golf", "polo", unicodedata.normalize("NFD", "café"), "up ", "linked")
IMAGES = 8
SMALL = ["--backbone", "cifar_resnet10", "--no-pretrained", "--input-size", "16", "--dim", "8", "--passes", "1"]


def fill(folder, label):
    """Eight pictures as people have them: many endings, transparent, grey, rotated, no end mark, a motion photo."""
    for index in range(IMAGES):
        miniatures.picture(folder / f"{index}.jpg", label, index)
    picture = Image.fromarray(glyphs.picture(label, 20))
    picture.convert("RGBA").save(folder / "0.PNG")
    (folder / "0.jpg").unlink()
    picture.convert("L").save(folder / "1.webp")
    (folder / "1.jpg").unlink()
    (folder / "2.jpg").rename(folder / "2.JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "3.jpg", exif=exif)
    whole = (folder / "4.jpg").read_bytes()
    (folder / "4.jpg").write_bytes(whole + b"\0\0\0\x18ftypmp42\xff\xda\x00")
    (folder / "5.jpg").write_bytes((folder / "5.jpg").read_bytes()[:-2])
    (folder / "deep").mkdir()
    (folder / "6.jpg").rename(folder / "deep/6 with blanks.jpg")


@pytest.fixture
def odd(tmp_path):
    """The folder, and the paths of its pictures."""
    root = tmp_path / "photos"
    for label, name in enumerate(CLASSES):
        fill(tmp_path / "elsewhere" if name == "linked" else root / name, 10 * label)
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "all").symlink_to(root)  # circles
    (root / "polo/up").symlink_to("..")
    pictures = [str(path) for path in root.rglob("*") if path.is_file() and path.suffix]
    pictures += [
        str(root / "linked" / path.relative_to(tmp_path / "elsewhere"))
        for path in (tmp_path / "elsewhere").rglob("*.*")
    ]
    thumbnail = (root / "polo/7.jpg").read_bytes()
    for foreign in (
        "@eaDir",
        "#recycle",
        "__MACOSX",
        ".ipynb_checkpoints",
        ".DS_Store",
        "polo/@eaDir",
        "polo/.thumbnails",
    ):
        (root / foreign / "polo").mkdir(parents=True)
        (root / foreign / "1.jpg").write_bytes(thumbnail)
        (root / foreign / "polo/1.jpg").write_bytes(thumbnail)
    for name in ("polo/Thumbs.db", "Golf/._1.jpg", "Golf/desktop.ini", "notes.txt", "polo/notes.txt", "README"):
        (root / name).write_text("no picture")
    (root / "iPhone").mkdir()
    for number in range(40):
        (root / "iPhone" / f"IMG_{number}.HEIC").write_text("no picture")
    for number in range(4):
        (root / "Golf" / f"{number}.avif").write_text("no picture")
    return root, sorted(set(pictures))


def summary(err):
    """The one line on what is left out."""
    lines = [line for line in err.splitlines() if "left out" in line]
    assert len(lines) == 1, err
    return lines[0]


def in_summary(line):
    for part in (
        ".heic 40, .avif 4 (install pillow-heif to read them)",
        ".txt 2",
        "without an ending 1",
        "@eaDir 2",
        *("#recycle 1", "__MACOSX 1", ".ipynb_checkpoints 1", ".DS_Store 1", ".thumbnails 1", "Thumbs.db 1", "._* 1"),
        "desktop.ini 1",
        "2 links to a folder around them: ",
    ):
        assert part in line, (part, line)


@pytest.mark.slow
def test_every_oddity_at_once_goes_through_data_train_index_and_search(odd, tmp_path, capsys, monkeypatch):
    from gluon_cgd.datasets import tree

    monkeypatch.setattr(tree, "installed", lambda name: False)
    root, pictures = odd
    total = len(CLASSES) * IMAGES
    assert len(pictures) == total
    assert main(["data", str(root), "--verify"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{root}: 30 training pictures of 5 classes and 10 test pictures of 5 classes\n")
    assert "every picture can be read" in said.out
    line = summary(said.err)
    in_summary(line)
    assert f"1 class folders without pictures: {root}/iPhone" in line
    assert main(["train", "--dataset", str(root), "--out", str(tmp_path / "run"), *SMALL]) == 0
    said = capsys.readouterr()
    in_summary(summary(said.err))
    assert json.loads((tmp_path / "run/result.json").read_text())["classes"] == 5
    card = (tmp_path / "run/card.md").read_text()
    assert "30 training pictures of 5 classes and 10 test pictures of 5 classes" in card
    index = ["index", "--images", str(root), "--out", str(tmp_path / "idx")]
    assert main([*index, "--checkpoint", str(tmp_path / "run")]) == 0
    said = capsys.readouterr()
    assert said.out == f"{total} pictures in {root}: {total} added, 0 changed, 0 as before\n"
    in_summary(summary(said.err))
    snapshot = collection.read(tmp_path / "idx")
    assert sorted(snapshot.path(row) for row in np.flatnonzero(snapshot.live)) == pictures
    assert main([*index, "--prune"]) == 0
    assert f"0 added, 0 changed, {total} as before, 0 removed" in capsys.readouterr().out
    query = str(root / "linked/7.jpg")
    assert main(["search", str(tmp_path / "idx"), query, "-k", str(total), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert sorted(result["path"] for result in results) == pictures  # each once
    assert results[0]["path"] == query
    assert results[0]["is_query"]


@pytest.mark.slow
def test_what_cannot_be_read_in_it_is_refused_by_name_then_counted(odd, tmp_path, capsys, monkeypatch):
    root, pictures = odd
    (root / "polo/gone.jpg").symlink_to("nowhere")
    unreadable(monkeypatch, "/Golf")
    train = ["train", "--dataset", str(root), "--out", str(tmp_path / "run"), *SMALL]
    assert main(train) == 2
    assert "Golf is a folder that cannot be read (Permission denied)" in capsys.readouterr().err
    assert main([*train, "--allow-partial"]) == 0
    said = capsys.readouterr()
    assert re.search(r": 24 training pictures of 4 classes and 8 test pictures of 4 classes", said.out)
    assert "1 of 33 " in said.err or "missing" in said.err
    index = ["index", "--images", str(root), "--out", str(tmp_path / "idx"), "--checkpoint", str(tmp_path / "run")]
    assert main(index) == 2
    assert "Golf is a folder that cannot be read" in capsys.readouterr().err
    assert main([*index, "--skip-bad"]) == 0
    said = capsys.readouterr()
    assert said.out == f"33 pictures in {root}: 32 added, 0 changed, 0 as before, 1 left out that cannot be read\n"
    assert "1 folders that cannot be read: " in said.err
    kept = [path for path in pictures if not path.startswith(str(root / "Golf"))]
    snapshot = collection.read(tmp_path / "idx")
    assert sorted(snapshot.path(row) for row in np.flatnonzero(snapshot.live)) == kept
