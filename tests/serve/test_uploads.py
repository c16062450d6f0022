"""Uploaded pictures: which are kept, and how long."""

import io
import os
import threading

import pytest
from PIL import Image

from gluon_cgd.serve.recent import Recent
from gluon_cgd.serve.refusal import Refusal
from gluon_cgd.serve.uploads import Uploads


def picture(shade):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def uploads(**limits):
    return Uploads(threading.BoundedSemaphore(2), **limits)


def test_an_upload_is_there_after_a_restart_for_its_user_alone():
    name = uploads().store(picture(1))
    path = uploads().path(name)
    assert path.read_bytes() == picture(1)
    assert path.parent.stat().st_mode & 0o077 == 0
    assert name == uploads().store(picture(1)) != uploads().store(picture(2))


def test_the_latest_are_kept():
    few = uploads(most=3)
    names = [few.store(picture(shade)) for shade in range(3)]
    for age, name in enumerate(names):
        os.utime(few.folder / name, (1000 + age, 1000 + age))
    few.path(names[0])  # whoever uses one renews it
    few.store(picture(9))
    assert few.path(names[0])
    with pytest.raises(Refusal, match="not kept any more .the 3 latest pictures are kept.: drop it again") as refusal:
        few.path(names[1])
    assert refusal.value.status == 404
    full = uploads(room=3 * len(picture(1)))
    full.store(picture(10))
    assert sum(file.stat().st_size for file in full.folder.iterdir()) <= 3 * len(picture(1))


def test_what_is_refused_is_not_kept_and_named_without_a_path(tmp_path):
    for data in (b"no picture", picture(1)[:45]):
        with pytest.raises(Refusal) as refusal:
            uploads().store(data)
        assert refusal.value.status == 422
        assert refusal.value.sentence.startswith("the picture ")
        assert str(tmp_path) not in refusal.value.sentence
    assert not list(uploads().folder.iterdir())


def test_a_picture_of_too_many_pixels_or_bytes_is_refused(monkeypatch):
    monkeypatch.setattr("gluon_cgd.serve.uploads.PIXELS", 15)
    with pytest.raises(Refusal, match="the picture has 4 x 4 pixels, and at most 15 are decoded") as refusal:
        uploads().store(picture(1))
    assert refusal.value.status == 422
    monkeypatch.setattr("gluon_cgd.serve.uploads.BYTES", 15)
    with pytest.raises(Refusal, match="and at most 15 are taken: save it smaller") as refusal:
        uploads().store(picture(1))
    assert refusal.value.status == 413


def test_a_full_disk_is_a_sentence(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(Refusal, match="the disk is full: free some space") as refusal:
        uploads().store(picture(1))
    assert refusal.value.status == 507


def test_a_memory_forgets_what_was_not_used_and_weighs_no_more_than_it_may():
    recent, computed = Recent(10, len), []

    def get(key):
        return recent.get(key, lambda: computed.append(key) or key * 4)

    for key in "abacab":
        assert get(key) == key * 4
    assert computed == ["a", "b", "c", "b"]  # c pushed b out, and a was used before
    assert recent.weight <= 10
    assert recent.get("long", lambda: "x" * 11) == "x" * 11
    assert recent.weight <= 10
