import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gluon_cgd.files import whole


def test_a_failed_write_keeps_the_old_file(tmp_path):
    file = tmp_path / "result.json"
    whole.write_json(file, {"a": "é"})

    def fail():
        with whole.replacing(file) as temporary:
            open(temporary, "w").close()
            raise KeyboardInterrupt

    pytest.raises(KeyboardInterrupt, fail)
    assert file.read_text(encoding="utf-8") == '{\n "a": "é"\n}'
    assert [f.name for f in tmp_path.iterdir()] == ["result.json"]


def test_a_failed_write_leaves_nothing_whether_or_not_it_had_begun(tmp_path):
    def fail(begun):
        with whole.replacing(tmp_path / "file") as temporary:
            if begun:
                open(temporary, "w").close()
            raise RuntimeError("no room")

    for begun in (True, False):
        pytest.raises(RuntimeError, fail, begun)
    assert not list(tmp_path.iterdir())


def test_a_link_in_the_way_is_not_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in ("file.part", ".file.part", "file"):
        (tmp_path / name).symlink_to(victim)
    whole.write_text(tmp_path / "file", "ours")
    assert victim.read_text() == "mine"
    assert (tmp_path / "file").read_text() == "ours"
    assert not (tmp_path / "file").is_symlink()


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    with whole.replacing(tmp_path / "file") as first, whole.replacing(tmp_path / "file") as second:
        assert first != second
        for temporary, text in ((first, "first"), (second, "second")):
            with open(temporary, "w") as handle:
                handle.write(text)
    assert (tmp_path / "file").read_text() == "first"  # the one that ended last
    assert [f.name for f in tmp_path.iterdir()] == ["file"]


def test_many_writers_and_readers_see_whole_files_only(tmp_path):
    texts = [letter * 5000 for letter in "abcdefgh"]
    whole.write_text(tmp_path / "file", texts[0])
    torn = []

    def read(stop):
        while not stop.is_set():
            if (tmp_path / "file").read_text() not in texts:
                torn.append(1)

    stop = threading.Event()
    reader = threading.Thread(target=read, args=(stop,))
    reader.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: [whole.write_text(tmp_path / "file", text) for _ in range(10)], texts))
    stop.set()
    reader.join()
    assert not torn
    assert [f.name for f in tmp_path.iterdir()] == ["file"]


def test_the_mode_is_that_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        whole.write_text(tmp_path / "file", "")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_what_a_killed_writer_left_is_deleted_and_what_a_living_one_writes_is_not(tmp_path):
    orphan, other = tmp_path / ".file.0123456789ab.part", tmp_path / ".other.0123456789ab.part"
    for file in (orphan, other):
        file.write_text("half")
        os.utime(file, (0, 0))
    with whole.replacing(tmp_path / "file") as living:
        os.utime(living, (0, 0))
        whole.write_text(tmp_path / "file", "whole")
        assert [os.path.exists(file) for file in (living, orphan, other)] == [True, False, True]


def test_a_device_or_a_folder_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="fifo is a named pipe"):
        whole.write_text(tmp_path / "fifo", "")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        whole.write_text(tmp_path / "folder", "")
    with pytest.raises(ValueError, match="/dev/null is a device"):
        whole.write_text("/dev/null", "")


def test_a_long_name_and_a_folder_that_is_not_there(tmp_path):
    whole.write_text(tmp_path / ("ä" * 127), "")  # 254 bytes; file systems allow 255
    with pytest.raises(FileNotFoundError) as caught:
        whole.write_text(tmp_path / "nowhere" / "file", "")
    assert caught.value.filename == str(tmp_path / "nowhere" / "file")


def test_the_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))[1])
    whole.write_text(tmp_path / "file", "text")
    assert calls == ["fsync", "replace", "fsync"]  # the content, the name, the folder


def test_a_name_that_is_not_utf_8_can_be_written_as_json(tmp_path):
    for name in (os.fsdecode(b"/a/\xff.jpg"), "/ä.jpg"):
        whole.write_json(tmp_path / "a.json", {"query": name})
        assert json.loads((tmp_path / "a.json").read_bytes()) == {"query": name}
    assert "ä" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_what_cannot_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    os.mkfifo(tmp_path / "pipe")
    for good in ("file", "new", "new/folder/file"):
        whole.check_target(tmp_path / good)
    for bad, error in (
        (tmp_path, IsADirectoryError),
        ("pipe", ValueError),
        ("file/x", NotADirectoryError),
        ("file/x/y", NotADirectoryError),
        ("nowhere/x", ValueError),
    ):
        with pytest.raises(error):
            whole.check_target(tmp_path / bad)
    assert not (tmp_path / "new").exists()
