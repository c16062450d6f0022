"""Uploaded pictures: which are kept, and how long."""

import io
import multiprocessing
import os
import tempfile
import threading
from pathlib import Path

import pytest
from PIL import Image

from gluon_cgd.serve.pictures import Picture, Pictures
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


def upload_as_another_user(cache, home, answers):
    os.setuid(65534)
    os.environ.update(GLUON_CGD_CACHE=str(cache), HOME=str(home))
    own = uploads()
    name = own.store(picture(1))
    answers.put((str(own.path(name)), own.path(name).read_bytes() == picture(1)))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("mode", [0o1777, 0o755])
def test_every_user_of_a_shared_cache_can_upload(monkeypatch, mode):
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        place, fork = Path(name), multiprocessing.get_context("fork")
        cache, home = place / "cache", place / "home"
        for folder, access in ((place, 0o755), (cache, mode), (home, 0o777)):
            folder.mkdir(exist_ok=True)
            folder.chmod(access)
        monkeypatch.setenv("GLUON_CGD_CACHE", str(cache))
        assert uploads().path(uploads().store(picture(1))).parent == cache / "serve-0"
        answers = fork.Queue()
        other = fork.Process(target=upload_as_another_user, args=(cache, home, answers))
        other.start()
        other.join()
        assert other.exitcode == 0
        file, same = answers.get()
        assert Path(file).parent == (cache if mode == 0o1777 else home / ".cache/gluon_cgd") / "serve-65534"
        assert same


def test_a_folder_of_uploads_that_another_user_put_there_is_not_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    own = uploads().folder
    assert own == tmp_path / "cache" / f"serve-{os.getuid()}"
    own.rmdir()
    (tmp_path / "other").mkdir()
    own.symlink_to(tmp_path / "other")
    assert uploads().folder == tmp_path / "home/.cache/gluon_cgd" / own.name


def test_an_upload_that_may_not_be_touched_is_not_found_and_a_folder_that_cannot_be_made_is_a_sentence(
    monkeypatch, tmp_path
):
    (tmp_path / "home").write_text("no folder")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GLUON_CGD_CACHE", str(tmp_path / "home"))
    with pytest.raises(Refusal, match="could not be kept: .* cannot be made .*: set GLUON_CGD_CACHE") as refusal:
        uploads().store(picture(1))
    assert refusal.value.status == 507
    assert str(tmp_path) not in refusal.value.sentence
    with pytest.raises(Refusal, match="is no uploaded picture, or it is not kept any more") as refusal:
        uploads().path("u" + 40 * "0")
    assert refusal.value.status == 404


def test_a_lack_of_memory_is_told_as_one_that_passes(monkeypatch, tmp_path):
    def lacking(*_):
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lacking)
    with pytest.raises(Refusal, match="the picture needs more memory than there is .*: close other") as refusal:
        uploads().store(picture(1))
    assert refusal.value.status == 503
    Path(tmp_path / "a.png").write_bytes(picture(1))
    with pytest.raises(Refusal, match="^a.png needs more memory than there is") as refusal:
        Pictures().sent(Picture("x", str(tmp_path / "a.png"), "a.png"), 8)
    assert refusal.value.status == 503


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
