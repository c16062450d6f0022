import errno
import os
import re
import tempfile

import pytest

from gluon_cgd.machine.sentences import MEANINGS, sentence


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_error_of_the_system_is_a_sentence_with_a_remedy(number):
    text = sentence(OSError(number, os.strerror(number), "photos/a.jpg"))
    assert re.fullmatch(r"photos/a\.jpg [a-z][^:]*: [a-z][^:]*", text)
    assert "Errno" not in text
    if number in MEANINGS:
        assert text == "photos/a.jpg {}: {}".format(*MEANINGS[number])


def test_names_of_two_files_of_none_and_of_bytes():
    error = OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b")
    assert sentence(error) == "a -> b cannot be moved to another file system: choose a place on the same disk"
    assert sentence(OSError(errno.ENOSPC, "No space left on device")).startswith("a file cannot be written, because")
    assert sentence(OSError(errno.EACCES, "Permission denied", b"a\xff")).startswith("a\\xff may not be read")
    assert sentence(OSError("a sentence: a remedy")) == "a sentence: a remedy"


def test_a_name_cannot_control_the_terminal():
    assert sentence(FileNotFoundError(errno.ENOENT, "", "a\x1b[2J")) == "a\\x1b[2J does not exist: check its name"
    assert sentence(ValueError("class a\x1b]0;x\x07: rename it")) == "class a\\x1b]0;x\\x07: rename it"
    assert "memory" in sentence(MemoryError())


def test_a_temporary_folder_that_is_missing_is_answered_with_its_variable(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/dev/null/a", "/dev/null/b"])
    with pytest.raises(OSError, match="No usable temporary") as refused:
        tempfile.mkdtemp()
    assert sentence(refused.value).endswith(
        "['/dev/null/a', '/dev/null/b']: set TMPDIR to a folder that you can write to"
    )


def test_a_present_folder_that_is_gone_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    assert sentence(error) == "the system reports: no such file or directory: check its name"
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert sentence(error) == "the present folder was deleted: change to another one (cd), and start again"


@pytest.mark.parametrize("text", ["std::bad_alloc", "[12:00:00] file.cc:7: Error: std::bad_alloc"])
def test_memory_that_c_code_lacks_is_told_as_pythons_own(text):
    assert sentence(RuntimeError(text)) == sentence(MemoryError())


def test_memory_that_numpy_lacks_has_a_remedy_too():
    assert sentence(MemoryError("Unable to allocate 179. MiB for an array")) == sentence(MemoryError())
    assert sentence(MemoryError("a.jpg needs more: save it smaller")) == "a.jpg needs more: save it smaller"


def test_threads_that_cannot_be_started_have_a_remedy():
    assert sentence(RuntimeError("can't start new thread")).endswith("raise their limit (ulimit -u)")
