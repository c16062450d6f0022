import hashlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw

from gluon_cgd.datasets import glyphs
from gluon_cgd.machine.sentences import sentence


def bitmap(character, typeface):
    """The ink of a character, 32 x 32 whatever its size, of length 1."""
    canvas = Image.new("L", (160, 160))
    ImageDraw.Draw(canvas).text((40, 30), character, font=glyphs.font(typeface, 64), fill=255)
    ink = canvas.crop(canvas.getbbox())
    square = Image.new("L", (max(ink.size),) * 2)
    square.paste(ink, ((square.width - ink.width) // 2, (square.height - ink.height) // 2))
    vector = np.asarray(square.resize((32, 32), Image.BILINEAR), np.float32).ravel()
    return vector / np.linalg.norm(vector)


def test_there_are_100_characters_to_train_and_100_others_to_test():
    assert len(glyphs.TRAIN) == len(glyphs.TEST) == 100
    assert len(set(glyphs.TRAIN + glyphs.TEST)) == 200


def test_every_typeface_has_every_character():
    for typeface in glyphs.TYPEFACES:
        characters = FT2Font(glyphs.font(typeface, 10).path).get_charmap()
        assert all(ord(character) in characters for character in glyphs.TRAIN + glyphs.TEST), typeface


def test_no_two_characters_look_the_same_in_most_typefaces():
    similarity = []
    for typeface in glyphs.TYPEFACES:
        inks = np.stack([bitmap(character, typeface) for character in glyphs.TRAIN + glyphs.TEST])
        similarity.append(inks @ inks.T)
    median = np.median(similarity, axis=0) - np.eye(200)
    assert median.max() < 0.95  # Latin A and Greek Alpha have 1.0; a and a with an accent 0.9
    assert (median > 0.85).sum() > 20  # and yet many are hard to tell apart


def test_a_picture_depends_on_class_index_and_seed_alone():
    first = glyphs.picture(3, 1)
    assert first.shape == (48, 48, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, glyphs.picture(3, 1))
    for other in (glyphs.picture(4, 1), glyphs.picture(3, 2), glyphs.picture(3, 1, seed=1)):
        assert (first != other).any()


def test_the_benchmark_is_the_same_on_every_machine():
    digest = hashlib.sha256(b"".join(glyphs.picture(label, 0).tobytes() for label in range(0, 200, 10)))
    assert digest.hexdigest()[:16] == "1895d70e765bdb18"


def test_the_folder_is_written_once_and_read_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr(glyphs, "TRAIN_IMAGES", 1)
    monkeypatch.setattr(glyphs, "TEST_IMAGES", 2)
    train, test = glyphs.write(tmp_path / "glyphs")
    assert (len(train), len(test)) == (100, 200)
    assert {label for _, label in train} == set(range(100))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["glyphs", "glyphs.lock"]
    np.testing.assert_array_equal(np.asarray(Image.open(test[3][0])), glyphs.picture(101, 1))
    monkeypatch.setattr(glyphs, "picture", None)  # would fail if it drew again
    assert glyphs.write(tmp_path / "glyphs") == (train, test)


def test_an_interrupted_rendering_leaves_nothing(tmp_path, monkeypatch):
    def broken(label, index):
        if label == 1:
            raise KeyboardInterrupt
        return np.zeros((48, 48, 3), np.uint8)

    monkeypatch.setattr(glyphs, "picture", broken)
    try:
        glyphs.write(tmp_path / "glyphs")
    except KeyboardInterrupt:
        assert [entry.name for entry in tmp_path.iterdir()] == ["glyphs.lock"]
    else:
        raise AssertionError("the interruption was swallowed")


@pytest.fixture
def few(tmp_path, monkeypatch):
    """(folder, files) of a small benchmark that is rendered in no time."""
    monkeypatch.setattr(glyphs, "TRAIN_IMAGES", 1)
    monkeypatch.setattr(glyphs, "TEST_IMAGES", 1)
    monkeypatch.setattr(glyphs, "picture", lambda label, index: np.full((48, 48, 3), label, np.uint8))
    train, test = glyphs.write(tmp_path / "cache" / "glyphs")
    return tmp_path / "cache" / "glyphs", [Path(path) for path, _ in train + test]


def damages(data):
    half = len(data) // 2
    middle = data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]
    zeroed = [data[:-20] + bytes(20), bytes(len(data)), data[: len(data) - 4] + bytes(4)]
    return [b"", data[:half], data[:-1], middle, *zeroed, data + b"\0", b"<html>404</html>", None]


@pytest.mark.parametrize("number", range(10))
def test_a_file_that_is_damaged_or_missing_is_rendered_again(few, number, caplog):
    folder, files = few
    before = {file: file.read_bytes() for file in files}
    damaged = damages(before[files[7]])[number]
    if damaged is None:
        files[7].unlink()
    else:
        assert damaged != before[files[7]]
        files[7].write_bytes(damaged)
    glyphs.write(folder)
    assert {file: file.read_bytes() for file in files} == before
    assert f"1 of 200 files in {folder} are damaged and are rendered again" in caplog.text
    assert sorted(place.name for place in folder.parent.iterdir()) == ["glyphs", "glyphs.lock"]
    caplog.clear()
    glyphs.write(folder)
    assert not caplog.text


def test_another_users_letters_are_read_and_never_written(few, other_user):
    folder, files = few
    with other_user(folder.parent):
        assert len(glyphs.write(folder)[0]) == 100
    files[0].write_bytes(b"")
    with other_user(folder.parent), pytest.raises(OSError) as refused:  # noqa: PT011
        glyphs.write(folder)
    assert re.search("glyphs.* may not be .* by this user: .*choose another place", sentence(refused.value))


def test_a_link_in_the_place_of_half_rendered_letters_is_not_written_through(few, tmp_path):
    folder, files = few
    shutil.rmtree(folder)
    (tmp_path / "victim").mkdir()
    Path(f"{folder}.part").symlink_to(tmp_path / "victim")
    glyphs.write(folder)
    assert list((tmp_path / "victim").iterdir()) == []
    assert not folder.is_symlink()
    assert all(map(glyphs.is_whole, files))
