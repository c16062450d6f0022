import errno
import logging
import multiprocessing
import os
import threading

import portalocker
import pytest

from gluon_cgd.files import lock, whole


def test_a_file_system_without_locks_is_not_taken_for_another_process(tmp_path, monkeypatch, caplog):
    for number in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):

        def refuse(*arguments, number=number):
            raise portalocker.LockException(OSError(number, os.strerror(number)))

        monkeypatch.setattr(portalocker, "lock", refuse)
        with caplog.at_level(logging.WARNING), lock.locked(tmp_path):
            assert "has no locks" in caplog.text
        with lock.waiting(tmp_path / "other.lock", "pictures"):
            pass
        caplog.clear()


def test_another_fault_of_a_lock_is_not_hidden(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise portalocker.LockException(OSError(errno.EIO, os.strerror(errno.EIO)))

    monkeypatch.setattr(portalocker, "lock", refuse)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)) as caught, lock.locked(tmp_path):
        pass
    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize("writer", [False, True])
def test_on_nfs_who_may_only_read_the_lock_waits_for_its_writer(tmp_path, monkeypatch, caplog, writer):
    asked, open_file, busy = [], os.open, [writer]

    def lock_of_nfs(descriptor, flags):
        asked.append(flags)
        if flags & lock.EXCLUSIVE:
            raise portalocker.LockException(OSError(errno.EBADF, os.strerror(errno.EBADF)))
        if busy[0] and flags & lock.NON_BLOCKING:
            raise portalocker.AlreadyLocked(OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)))

    def opened_by_another_user(file, flags, *mode):
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        return open_file(file, flags, *mode)

    (tmp_path / "lock").touch()
    monkeypatch.setattr(portalocker, "lock", lock_of_nfs)
    with monkeypatch.context() as context, caplog.at_level(logging.INFO):
        context.setattr(os, "open", opened_by_another_user)
        with lock.waiting(tmp_path / "lock", "the pictures"):
            pass
    shared = [flags for flags in asked if flags & lock.SHARED]
    assert shared == [lock.SHARED | lock.NON_BLOCKING, lock.SHARED][: 1 + writer]
    assert ("another process is making the pictures: waiting for it" in caplog.text) == writer


def test_a_descriptor_that_no_lock_can_be_had_on_is_an_error(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise portalocker.LockException(OSError(errno.EBADF, os.strerror(errno.EBADF)))

    monkeypatch.setattr(portalocker, "lock", refuse)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)), lock.locked(tmp_path):
        pass


def test_a_locked_folder_is_busy_for_another(tmp_path):
    busy = pytest.raises(ValueError, match="another process is writing to .*: wait for it")
    with lock.locked(tmp_path), busy, lock.locked(tmp_path, "writing to"):
        pass
    with lock.locked(tmp_path):
        pass


def test_a_second_one_waits_and_says_so(tmp_path, caplog):
    order = []

    def second():
        with lock.waiting(tmp_path / "x.lock", "the pictures"):
            order.append("second")

    thread = threading.Thread(target=second)
    with caplog.at_level(logging.INFO):
        with lock.waiting(tmp_path / "x.lock", "the pictures"):
            thread.start()
            while "waiting for it" not in caplog.text:
                thread.join(0.01)
            order.append("first")
        thread.join()
    assert order == ["first", "second"]
    assert "another process is making the pictures: waiting" in caplog.text


def test_a_lock_that_is_a_link_or_a_pipe_is_refused(tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "lock").symlink_to("victim")
    with pytest.raises(ValueError, match="is a link"), lock.locked(tmp_path):
        pass
    (tmp_path / "lock").unlink()
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(ValueError, match="is a named pipe"), lock.locked(tmp_path):
        pass
    assert (tmp_path / "victim").read_text() == "mine"


def _take_as_another_user(folder, answers):
    os.setuid(65534)
    with lock.waiting(folder / "lock", "it"):
        answers.put("taken")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_users_lock_can_be_taken_by_who_may_only_read_it(tmp_path_factory):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "lock").write_text("")
        (folder / "lock").chmod(0o644)
        answers = multiprocessing.get_context("fork").Queue()
        process = multiprocessing.get_context("fork").Process(target=_take_as_another_user, args=(folder, answers))
        process.start()
        process.join()
        assert process.exitcode == 0
        assert answers.get() == "taken"


def test_who_locks_a_folder_deletes_what_killed_processes_left_in_it(tmp_path):
    orphan, other, own = ".result.json.0123456789ab.part", ".my.part", "notes.0123456789ab.part"
    for name in (orphan, other, own):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (0, 0))
    with whole.replacing(tmp_path / "card.md") as living:
        os.utime(living, (0, 0))
        with lock.locked(tmp_path):
            assert os.path.exists(living)
    assert {file.name for file in tmp_path.iterdir()} == {"lock", "card.md", other, own}
