"""Near-duplicates: which pairs of pictures look the same, which groups they make, and the command that prints them."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image, ImageFilter

from gluon_cgd.__main__ import main
from gluon_cgd.commands import duplicates as command
from gluon_cgd.retrieval import collection, duplicates, looks
from gluon_cgd.retrieval.picture import spare
from tests.commands.test_search import EXPERIMENT
from tests.models.test_opened import published


def scene(seed, width=160, height=120):
    """A picture of coloured rectangles, different for each seed."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)
    for _ in range(25):
        x, y = rng.integers(0, width - 10), rng.integers(0, height - 10)
        picture[y : y + rng.integers(8, 50), x : x + rng.integers(8, 60)] = rng.integers(0, 256, 3)
    return Image.fromarray(picture)


COPIES = {
    "compressed": lambda image, file: image.save(file, "JPEG", quality=20),
    "smaller": lambda image, file: image.resize((80, 60)).save(file, "PNG"),
    "darker": lambda image, file: image.point(lambda value: value * 0.6).save(file, "PNG"),
    "cut": lambda image, file: image.crop((6, 5, 154, 115)).save(file, "PNG"),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_looks_the_same_and_another_picture_does_not(kind, tmp_path):
    copies, others = [], []
    for seed in range(8):
        scene(seed).save(tmp_path / "a.png")
        COPIES[kind](scene(seed), tmp_path / "b")
        scene(seed + 100).save(tmp_path / "c.png")
        first, second, third = (looks.look_at(tmp_path / name) for name in ("a.png", "b", "c.png"))
        copies.append(looks.likeness(first, second))
        assert copies[-1] == looks.likeness(second, first)
        others.append(looks.likeness(first, third))
    assert min(copies) > duplicates.LEAST > 0.8 > max(others)


def test_pictures_of_one_colour_are_the_same_only_to_the_pixel(tmp_path):
    for name, colour in (("a", "white"), ("b", "white"), ("c", "black")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{name}.png")
    first, second, third = (looks.look_at(tmp_path / f"{name}.png") for name in "abc")
    assert looks.likeness(first, second) == 1
    assert looks.likeness(first, third) == 0
    Image.new("RGB", (30, 40), "white").save(tmp_path / "a.png")  # as many pixels
    assert looks.likeness(looks.look_at(tmp_path / "a.png"), second) == 0


def test_blur_grows_with_the_blur_and_not_with_the_size():
    values = []
    for radius in (0, 1, 2, 4):
        image = scene(1).filter(ImageFilter.GaussianBlur(radius)).convert("L")
        values.append(looks.blur_of(np.asarray(image)))
    assert values == sorted(values)
    assert values[0] < 0.4
    assert values[-1] > 0.6
    large = scene(1).resize((1600, 1200), Image.NEAREST).convert("L")
    assert looks.blur_of(np.asarray(large)) < 0.4
    assert looks.blur_of(np.full((20, 20), 7, np.uint8)) == 1


@pytest.mark.parametrize("shape", [(1, 600), (600, 1), (20, 30_000), (30_000, 20)])
def test_a_strip_that_is_thinner_than_its_small_copy_has_a_look(tmp_path, shape):
    file = tmp_path / "strip.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)).save(file)
    look = looks.look_at(file)
    assert (look.height, look.width) == shape
    assert 0 <= look.blur <= 1


def test_groups_are_what_pairs_connect():
    assert duplicates.groups_of([(4, 7), (1, 2), (2, 9), (1, 9), (7, 8), (8, 11)]) == [[4, 7, 8, 11], [1, 2, 9]]
    assert duplicates.groups_of([]) == []


def test_neighbours_are_the_nearest_others(monkeypatch):
    monkeypatch.setattr(duplicates, "ASKED", 3)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    live = np.arange(20) != 5
    rows = np.flatnonzero(live)
    near = duplicates.neighbours(vectors, rows, live, count=3)
    for row, found in zip(rows, near):
        order = [other for other in np.argsort(-vectors @ vectors[row]) if other not in (row, 5)]
        assert found.tolist() == order[:3]
    assert duplicates.neighbours(vectors[:2], np.arange(2)).tolist() == [[1], [0]]
    assert duplicates.neighbours(vectors[:1], np.arange(1)).shape == (1, 0)
    assert duplicates.neighbours(vectors, np.arange(0), np.zeros(20, bool)).shape == (0, 0)  # of an emptied index


def test_a_figure_says_what_it_leaves_out():
    def groups(count, pictures):
        return [dict(pictures=[{}] * pictures)] * count

    assert command.left_out(groups(30, 6)) == ""
    assert command.left_out(groups(31, 2)) == "; of 30 groups up to 6 pictures are drawn"
    assert command.left_out(groups(2, 7)) == "; of 2 groups up to 6 pictures are drawn"


def test_a_picture_of_an_index_is_spared_by_each_of_its_names(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "photos").symlink_to("data")
    picture, other = tmp_path / "photos/0.png", tmp_path / "data/1.png"
    for file in (picture, other):
        file.write_bytes(b"")
    with collection.writing(tmp_path / "idx", 2, {}) as writer:
        writer.commit(np.eye(2, dtype=np.float32)[:1], [str(picture)], [picture.stat()])
        writer.describe({}, tmp_path / "photos")
    snapshot = collection.read(tmp_path / "idx")
    for name in (picture, tmp_path / "data/0.png"):
        with pytest.raises(ValueError, match="0.png would overwrite a picture of .*idx: name another file"):
            spare(name, snapshot)
    for name in (other, tmp_path / "data/2.png"):
        spare(name, snapshot)


def test_the_command_names_the_groups_and_deletes_nothing(tmp_path, capsys, caplog):
    photos = tmp_path / "photos"
    for folder in ("a", "b"):
        (photos / folder).mkdir(parents=True)
    for seed in range(6):
        scene(seed).save(photos / "ab"[seed % 2] / f"{seed}.png")
    shutil.copy(photos / "a/0.png", photos / "b/again.png")
    COPIES["compressed"](scene(3), photos / "a/small.jpg")
    model, idx = published(tmp_path / "model", EXPERIMENT), tmp_path / "idx"
    assert main(["index", "--images", str(photos), "--checkpoint", model, "--out", str(idx)]) == 0
    before = sorted(file.read_bytes() for file in photos.rglob("*.*"))
    capsys.readouterr()
    figure = tmp_path / "out.png"
    assert main(["duplicates", str(idx), "--figure", str(figure)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["2 groups of near-duplicates: 4 of 8 pictures", "group 1, the same pixels:"]
    assert [line.split("  (")[0] for line in lines[2:4]] == [f"  {photos / 'a/0.png'}", f"  {photos / 'b/again.png'}"]
    assert lines[4].startswith("group 2, likeness 0.9")
    with Image.open(figure) as picture:
        assert picture.height > 400
    assert main(["duplicates", str(idx), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pictures"], told["unreadable"], [group["same_pixels"] for group in told["groups"]]) == (
        8,
        0,
        [True, False],
    )
    small = told["groups"][1]["pictures"][0]
    assert (small["folder"], small["name"], small["width"], small["height"]) == ("a", "small.jpg", 160, 120)
    (photos / "b/again.png").unlink()
    assert main(["duplicates", str(idx), "--likeness", "1", "--figure", str(tmp_path / "none.png")]) == 0
    said = capsys.readouterr()
    assert said.out == "no near-duplicates among 8 pictures\n"
    assert "again.png cannot be read" in caplog.text
    assert "none.png is not written" in said.err
    (photos / "b/again.png").write_bytes((photos / "a/0.png").read_bytes())
    assert sorted(file.read_bytes() for file in photos.rglob("*.*")) == before
    (tmp_path / "link.png").symlink_to(photos / "a/0.png")
    for own in (photos / "a/0.png", tmp_path / "link.png", photos / "b/../a/0.png"):
        for typed in (["duplicates", str(idx)], ["search", str(idx), str(photos / "b/again.png")]):
            assert main([*typed, "--figure", str(own)]) == 2
            assert f"{own} would overwrite a picture of {idx}" in capsys.readouterr().err
    assert sorted(file.read_bytes() for file in photos.rglob("*.*")) == before
    for wrong in ("0", "1.1", "nan"):
        assert main(["duplicates", str(idx), "--likeness", wrong]) == 2
        assert "must be above 0 and at most 1" in capsys.readouterr().err
    assert main(["duplicates", str(photos)]) == 2
    assert "is not an index" in capsys.readouterr().err
