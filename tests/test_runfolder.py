import logging

import portalocker
import pytest

from gluon_cgd.runfolder import forget, locked, logged_to


def test_a_folder_belongs_to_one_process_at_a_time(tmp_path):
    with locked(tmp_path), pytest.raises(portalocker.LockException):
        portalocker.Lock(str(tmp_path / "lock"), timeout=0).acquire()
    with locked(tmp_path):  # free again
        pass


def test_the_log_is_appended_to_and_the_level_is_as_before(tmp_path):
    package = logging.getLogger("gluon_cgd")
    before = package.level, list(package.handlers)
    for number in (1, 2):
        with logged_to(tmp_path / "train.log"):
            logging.getLogger("gluon_cgd.anything").info("line %d", number)
    assert [line.split()[-1] for line in (tmp_path / "train.log").read_text().splitlines()] == ["1", "2"]
    assert (package.level, list(package.handlers)) == before


def test_what_is_not_there_is_forgotten_too(tmp_path):
    (tmp_path / "file").write_text("")
    for _ in range(2):
        forget(tmp_path / "file")
    assert not list(tmp_path.iterdir())
