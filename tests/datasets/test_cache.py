import errno
import os
import resource
from pathlib import Path

import cv2
import numpy as np
import pytest

from gluon_cgd.datasets import cache, images
from gluon_cgd.datasets.records import Record
from gluon_cgd.machine import facts
from tests.datasets.test_images import photo, saved


def records(folder, n=5):
    return [Record(saved(folder / f"{i}.png", np.roll(photo(), i, axis=1)), i % 2, (2, 1, 50, 39)) for i in range(n)]


@pytest.mark.parametrize("side", [16, 18])
@pytest.mark.parametrize("n", [5, 70])
def test_the_cache_holds_every_picture_cropped_then_resized(tmp_path, side, n):
    pictures = cache.cached(records(tmp_path, n), side)
    assert isinstance(pictures, np.memmap)
    assert pictures.shape == (n, side, side, 3)
    assert Path(pictures.filename).stat().st_size == pictures.size
    for i in range(n):
        expected = cv2.resize(np.roll(photo(), i, axis=1)[1:39, 2:50], (side, side), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(pictures[i], expected)
    assert not pictures.flags.writeable


def test_the_cache_is_reused_until_a_file_a_box_or_the_side_changes(tmp_path, monkeypatch):
    given = records(tmp_path)
    cache.cached(given, 18)
    calls = []
    load = images.load_picture
    monkeypatch.setattr(images, "load_picture", lambda path, *rest: calls.append(path) or load(path, *rest))
    cache.cached(given, 18)
    assert not calls
    cache.cached(given, 16)
    cache.cached([r._replace(box=None) for r in given], 18)
    os.utime(given[0].path, (1, 1))
    cache.cached(given, 18)
    assert len(calls) == 15


def damages(data):
    """{kind: `data` after a power cut or a fault of the disk}."""
    half = len(data) // 2
    return {
        "nothing": b"",
        "other": b"not a cache",
        "cut": data[:-100],
        "half": data[:half],
        "zeroed tail": data[:-100] + b"\0" * 100,
        "zeroed middle": data[:half] + b"\0" * 7 + data[half + 7 :],
        "zeros": b"\0" * len(data),
        "a bit": data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :],
        "longer": data + b"\0",
    }


@pytest.mark.parametrize("damage", damages(b"x" * 1000))
def test_a_damaged_cache_is_made_again(tmp_path, damage, caplog):
    given = records(tmp_path)
    before = cache.cached(given, 18)
    file, expected = Path(before.filename), np.array(before)
    del before
    file.write_bytes(damages(file.read_bytes())[damage])
    again = cache.cached(given, 18)
    np.testing.assert_array_equal(again, expected)
    assert again.filename == file
    assert f"{file} is damaged and is made again" in caplog.text
    caplog.clear()
    cache.cached(given, 18)
    assert not caplog.text


def test_a_cache_of_an_earlier_version_is_read_and_one_of_another_length_is_made_again(tmp_path, monkeypatch, caplog):
    given = records(tmp_path)
    file = Path(cache.cached(given, 18).filename)
    old = file.with_name(f"{file.stem.rpartition('-')[0]}.uint8")
    file.rename(old)
    assert cache.cached(given, 18).filename == old
    old.write_bytes(b"cut")
    assert cache.cached(given, 18).filename == file
    assert f"{old} is damaged" in caplog.text
    assert not old.exists()


@pytest.mark.parametrize("what", ["part", "count"])
@pytest.mark.parametrize("damage", damages(b"x" * 1000))
def test_pictures_half_done_that_are_damaged_are_never_taken_for_whole(tmp_path, what, damage, monkeypatch):
    given, load, calls = records(tmp_path, 12), images.load_picture, []
    expected = np.array(cache.cached(given, 18, tmp_path / "other"))

    def interrupted(path, *rest):
        calls.append(path)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return load(path, *rest)

    monkeypatch.setattr(facts, "cores", lambda: 1)
    monkeypatch.setattr(cache, "BLOCK", 2)
    monkeypatch.setattr(images, "load_picture", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.cached(given, 18)
    monkeypatch.setattr(images, "load_picture", load)
    (file,) = (tmp_path / "cache" / "pictures").glob(f"*.{what}")
    file.write_bytes(damages(file.read_bytes())[damage])
    np.testing.assert_array_equal(cache.cached(given, 18), expected)


def test_what_was_written_is_read_back_before_it_is_kept(tmp_path, monkeypatch):
    given, sync = records(tmp_path), os.fsync

    def lose(out):
        sync(out)
        for file in (tmp_path / "cache" / "pictures").glob("*.part"):
            file.write_bytes(b"\0" * file.stat().st_size)

    monkeypatch.setattr(os, "fsync", lose)
    with pytest.raises(OSError, match="does not hold what was written to it: check its disk"):
        cache.cached(given, 18)
    assert left(tmp_path) == []


def test_a_link_in_the_place_of_half_done_pictures_is_not_written_through(tmp_path):
    given, victim = records(tmp_path), tmp_path / "victim"
    victim.write_text("mine")
    file = Path(cache.cached(given, 18).filename)
    file.unlink()
    file.with_name(f"{file.stem.rpartition('-')[0]}.part").symlink_to(victim)
    assert cache.cached(given, 18).filename == file
    assert victim.read_text() == "mine"


def test_another_users_cache_is_read_and_never_written(tmp_path, other_user):
    """The pictures of a shared GLUON_CGD_CACHE that its owner alone can write to."""
    given = records(tmp_path)
    made = cache.cached(given, 18)
    with other_user(tmp_path / "cache"):
        np.testing.assert_array_equal(cache.cached(given, 18), made)
        with pytest.raises(
            OSError, match="lacks these pictures and may not be written by this user: set GLUON_CGD_CACHE"
        ):
            cache.cached(given, 16)


def left(tmp_path):
    return [f.name for f in (tmp_path / "cache" / "pictures").iterdir() if not f.name.endswith(".lock")]


def test_a_broken_picture_leaves_no_half_made_cache(tmp_path):
    given = records(tmp_path)
    (tmp_path / "3.png").write_bytes(b"gone")
    with pytest.raises(ValueError, match="3.png.*`data --verify` names all pictures that cannot be used"):
        cache.cached(given, 18)
    assert left(tmp_path) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    given, limits = records(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    sentence = "has no room for 0.0 GB of pictures: free some"
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # bytes of a file: writing fails
    try:
        with pytest.raises(OSError, match=sentence):
            cache.cached(given, 18)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert left(tmp_path) == []
    for place, name in ((os, "fsync"), (cache.shutil, "disk_usage")):  # at the end, and before
        with monkeypatch.context() as patch:
            patch.setattr(place, name, full)
            with pytest.raises(OSError, match=sentence):
                cache.cached(given, 18)
        assert left(tmp_path) == []


def test_a_fingerprint_is_of_names_sizes_labels_and_boxes_not_of_the_place(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = records(tmp_path / "a"), records(tmp_path / "b")
    assert cache.fingerprint(one) == cache.fingerprint(two)
    assert cache.fingerprint(one) != cache.fingerprint([one[0]._replace(label=7), *one[1:]])


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interrupted_preparation_goes_on_and_a_failed_one_starts_again(tmp_path, monkeypatch, interruption):
    given, load, calls = records(tmp_path, 12), images.load_picture, []

    def interrupted(path, *rest):
        calls.append(path)
        if len(calls) == 8:
            raise interruption("now")
        return load(path, *rest)

    monkeypatch.setattr(facts, "cores", lambda: 1)
    monkeypatch.setattr(images, "load_picture", interrupted)
    monkeypatch.setattr(cache, "BLOCK", 2)
    with pytest.raises(interruption):
        cache.cached(given, 18)
    assert bool(left(tmp_path)) == (interruption is KeyboardInterrupt)
    before = len(calls)
    pictures = cache.cached(given, 18)
    assert len(calls) - before == (6 if interruption is KeyboardInterrupt else 12)
    for i, record in enumerate(given):
        np.testing.assert_array_equal(pictures[i], load(record.path, 18, record.box))
    assert left(tmp_path) == [os.path.basename(pictures.filename)]
