"""`data NAME --root R --download --verify --prepare`, again and again, at once, and after kill -9 at any moment."""

import hashlib
import itertools
import multiprocessing
import os
import shutil
import signal
import sys
import threading

import pytest

from gluon_cgd.__main__ import main
from gluon_cgd.fetch import sources
from tests import miniatures
from tests.fetch.test_connection import Server, part, reply
from tests.fetch.test_download import archived

LEFT = [".CUB_200_2011.tgz.unpacked.json", ".download.lock", "CUB_200_2011", "CUB_200_2011.tgz"]
FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def cub200(tmp_path_factory):
    """A miniature CUB200-2011: the folder, and its .tgz as bytes."""
    place = tmp_path_factory.mktemp("cub200")
    folder = miniatures.cub200(place / "birds")
    return folder, archived(folder, place / "birds.tgz").read_bytes()


@pytest.fixture
def birds(cub200, monkeypatch):
    """A server that has a miniature CUB200-2011, `birds.data`; `birds.folder` is what it unpacks to."""
    running = Server()
    running.folder, running.data = cub200
    running.answers = [reply(running.data)]
    source = sources.Source("", running.url[:-1] + "CUB_200_2011.tgz", hashlib.md5(running.data).hexdigest())
    monkeypatch.setitem(sources.SOURCES, "cub200", source)
    yield running
    running.listening.close()


def command(root):
    flags = ["--download", "--verify", "--prepare", "--allow-partial", "--input-size", "16"]
    return main(["data", "cub200", "--root", str(root), *flags])


def there(folder):
    """{path: content} of the files below `folder`, without ours and the archive."""
    ours = (".CUB_200_2011.tgz.unpacked.json", ".download.lock", "CUB_200_2011.tgz")
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in ours)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_command_can_be_repeated_and_does_nothing_twice(birds, tmp_path, capsys):
    root = tmp_path / "data"
    assert command(root) == 0
    said, before = capsys.readouterr().out, {path: os.stat(root / path) for path in there(root)}
    assert command(root) == 0
    assert capsys.readouterr().out == said
    assert {path: os.stat(root / path) for path in there(root)} == before
    (root / "CUB_200_2011.tgz").unlink()
    assert command(root) == 0
    assert len(birds.requests) == 1
    assert there(root) == there(birds.folder)


def test_the_folder_that_is_filled_is_the_one_that_is_read(birds, tmp_path):
    root = tmp_path / "data"
    (root / "cub200").mkdir(parents=True)
    assert command(root) == 0
    assert os.listdir(root) == ["cub200"]
    assert there(root / "cub200") == there(birds.folder)
    assert command(root / "cub200") == 0
    assert len(birds.requests) == 1


def test_what_is_unpacked_by_another_user_is_only_read(birds, tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    sources.obtain("cub200", tmp_path)
    monkeypatch.setattr(sources, "waiting", refused)
    before = os.stat(tmp_path).st_mtime_ns
    sources.obtain("cub200", tmp_path)
    assert os.stat(tmp_path).st_mtime_ns == before
    (tmp_path / "CUB_200_2011/images.txt").unlink()
    with pytest.raises(PermissionError):
        sources.obtain("cub200", tmp_path)


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "zeros", "another", "folder gone", "note"])
def test_a_file_that_is_no_longer_whole_is_unpacked_again(birds, tmp_path, damage):
    root = tmp_path / "data"
    sources.obtain("cub200", root)
    picture = sorted(root.rglob("*.jpg"))[3]
    if damage == "gone":
        picture.unlink()
    elif damage == "note":
        note = root / LEFT[0]
        note.write_bytes(note.read_bytes()[:-100] + bytes(100))
    elif damage == "folder gone":
        shutil.rmtree(root / "CUB_200_2011")
    else:
        content = picture.read_bytes()
        half = len(content) // 2
        kinds = {"cut": content[:half], "empty": b"", "zeros": content[:half] + bytes(len(content) - half)}
        picture.write_bytes(kinds.get(damage, content[::-1]))
    if damage in ("gone", "zeros"):
        (root / "CUB_200_2011.tgz").unlink()
    sources.obtain("cub200", root)
    assert there(root) == there(birds.folder)
    assert len(birds.requests) == (2 if damage in ("gone", "zeros") else 1)


def test_what_was_unpacked_before_there_were_notes_is_recognised(birds, tmp_path, caplog):
    root = tmp_path / "data"
    shutil.copytree(birds.folder, root)
    sources.obtain("cub200", root)
    sources.obtain("cub200", root)
    assert there(root) == there(birds.folder)
    assert len(birds.requests) == 1
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_what_killed_processes_left_is_used_or_goes(birds, tmp_path):
    root = tmp_path / "data"
    (root / ".unpacking-abcd1234/CUB_200_2011").mkdir(parents=True)
    (root / ".unpacking-abcd1234/CUB_200_2011/images.txt").write_bytes(b"half")
    half = len(birds.data) // 2
    (root / "CUB_200_2011.tgz.part").write_bytes(birds.data[:half])
    birds.answers = [part(half, birds.data)]
    assert command(root) == 0
    assert birds.header("Range") == [f"bytes={half}-"]
    assert there(root) == there(birds.folder)
    assert sorted(os.listdir(root)) == LEFT


@pytest.mark.parametrize("state", ["only the archive", "all"])
def test_what_is_left_beside_what_is_whole_goes(birds, tmp_path, state):
    root = tmp_path / "data"
    if state == "all":
        sources.obtain("cub200", root)
    (root / ".unpacking-abcd1234").mkdir(parents=True)
    (root / "CUB_200_2011.tgz").write_bytes(birds.data)
    for name in ("CUB_200_2011.tgz.part", "CUB_200_2011.tgz.part.json", "..CUB_200_2011.tgz.unpacked.json.ab.part"):
        (root / name).write_bytes(b"half")
    sources.obtain("cub200", root)
    assert sorted(os.listdir(root)) == LEFT
    assert there(root) == there(birds.folder)


def test_two_at_once_do_it_once(birds, tmp_path, caplog):
    caplog.set_level("INFO")
    root, begun, go_on = tmp_path / "data", threading.Event(), threading.Event()

    def answer(connection, request):
        begun.set()
        go_on.wait(10)
        connection.sendall(reply(birds.data))

    birds.answers = [answer]
    both = [threading.Thread(target=sources.obtain, args=("cub200", root)) for _ in range(2)]
    both[0].start()
    begun.wait(10)
    both[1].start()
    while "another process is making" not in caplog.text and both[1].is_alive():
        threading.Event().wait(0.01)
    go_on.set()
    for thread in both:
        thread.join(20)
    assert len(birds.requests) == 1
    assert there(root) == there(birds.folder)


def killed(moment, work, *arguments):
    """Run `work` in a process that is killed when it opens, makes, renames or deletes its file number `moment`.

    Returns whether it was killed.
    """
    process = FORK.Process(target=_until, args=(moment, work, *arguments))
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def _until(moment, work, *arguments):
    events = itertools.count(1)
    kinds = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir")

    def hook(event, _):
        if event in kinds and next(events) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    work(*arguments)


@pytest.mark.parametrize("moment", [5, 12, 40, 70, 90])
def test_after_kill_9_the_same_call_ends_with_the_same_files(birds, tmp_path, moment):
    root = tmp_path / "data"
    killed(moment, sources.obtain, "cub200", root)
    sources.obtain("cub200", root)
    assert there(root) == there(birds.folder)
    assert sorted(os.listdir(root)) == LEFT


@pytest.mark.slow
def test_after_kill_9_at_every_moment_the_same_call_ends_with_the_same_files(birds, tmp_path):
    for moment in itertools.count(1):
        root = tmp_path / str(moment)
        was_killed = killed(moment, sources.obtain, "cub200", root)
        sources.obtain("cub200", root)
        assert there(root) == there(birds.folder)
        assert sorted(os.listdir(root)) == LEFT
        shutil.rmtree(root)
        if not was_killed:
            break
    assert moment > 50


@pytest.mark.slow
def test_after_kill_9_while_verifying_or_preparing_the_same_command_ends_with_status_0(birds, tmp_path):
    root = tmp_path / "data"
    sources.obtain("cub200", root)
    for moment in range(5, 400, 13):
        was_killed = killed(moment, command, root)
        assert command(root) == 0
        assert there(root) == there(birds.folder)
        assert len(list((tmp_path / "cache/pictures").glob("*.uint8"))) == 2
        assert not list((tmp_path / "cache/pictures").glob("*.part"))
        shutil.rmtree(tmp_path / "cache")
        if not was_killed:
            break
    assert moment > 100
