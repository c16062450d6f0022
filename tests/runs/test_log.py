import gc
import logging
import os
import resource

import portalocker
import pytest

from gluon_cgd.files.lock import locked
from gluon_cgd.machine.sentences import sentence
from gluon_cgd.runs.log import logged_to, losses, mend


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


def test_a_name_that_is_not_utf_8_is_logged_with_escapes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger("gluon_cgd"), "propagate", False)  # pytest's workers send UTF-8 only
    with logged_to(tmp_path / "train.log"):
        logging.getLogger("gluon_cgd.anything").warning("%s has no end mark", os.fsdecode(b"caf\xe9.jpg"))
    assert (tmp_path / "train.log").read_text().endswith(" caf\\udce9.jpg has no end mark\n")
    assert "Logging error" not in capsys.readouterr().err


def test_the_log_is_written_on_python_3_8_too(tmp_path, monkeypatch):
    def of_3_8(self, filename, mode="a", encoding=None, delay=False):  # its handlers know no errors
        self.baseFilename, self.mode, self.encoding, self.delay = os.fspath(filename), mode, encoding, delay
        logging.StreamHandler.__init__(self, self._open())

    monkeypatch.setattr(logging.FileHandler, "__init__", of_3_8)
    with logged_to(tmp_path / "train.log"):
        logging.getLogger("gluon_cgd.anything").info("a line")
    assert (tmp_path / "train.log").read_text().endswith(" a line\n")


def test_the_losses_are_read_from_the_log_of_the_run_that_counts(tmp_path):
    def step(iteration, ranking, more="\tclassification=2.5000"):
        return f"Epoch[1] Batch [{iteration}]\tSpeed: 9.1 samples/sec\tranking={ranking}{more}\tlr=0.0001"

    log = tmp_path / "train.log"
    assert losses(log) == {}
    begun = "200 iterations of 8 pictures on cpu(0)"
    lines = [begun, step(30, 9.0), step(60, 9.0)]  # an older run in the same folder
    lines += [begun, step(50, 0.5), "[Iteration 50] validation: R@1=9.34", step(100, 0.4), step(150, 0.3)]
    lines += [f"resumed at iteration 100 of 200 from {tmp_path}", begun, step(150, 0.2), step(200, 0.1)]
    log.write_text("".join(f"2026-01-01 10:00:00,000 {line}\n" for line in lines))
    assert losses(log) == {
        at: {"ranking": ranking, "classification": 2.5}
        for at, ranking in ((50, 0.5), (100, 0.4), (150, 0.2), (200, 0.1))
    }
    log.write_text(f"2026 {begun}\n2026 {step(50, 0.5, '')}\n2026 Epoch[1] Batch [10")
    assert losses(log) == {50: {"ranking": 0.5}}


def test_a_log_is_a_file_and_not_a_link_or_a_device(tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("link", "is a link, and the log of a run must be a file"), ("pipe", "is a named pipe")):
        with pytest.raises(ValueError, match=message), logged_to(tmp_path / name):
            pass
    assert (tmp_path / "victim").read_text() == "mine"


def test_a_full_disk_is_an_error_of_the_call_that_logs(tmp_path, capsys):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        with logged_to(tmp_path / "train.log"):
            logging.getLogger("gluon_cgd.anything").info("a line")
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # bytes of a file: writing more fails
            logging.getLogger("gluon_cgd.anything").info("another")

    try:
        with pytest.raises(OSError, match="train.log") as full:
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sentence(full.value).startswith(f"{tmp_path / 'train.log'} cannot become so large here")
    gc.collect()
    assert "Traceback" not in capsys.readouterr().err  # logging's own way to say it
    assert (tmp_path / "train.log").read_text().endswith(" a line\n")


@pytest.mark.parametrize("damage", ["gone", "empty", "half", "zeroed tail", "zeros", "a digit"])
def test_losses_that_a_damaged_log_has_lost_are_written_again(tmp_path, damage):
    log, known = tmp_path / "train.log", {50: {"ranking": 0.5}, 100: {"ranking": 0.25}, 150: {"ranking": 0.1}}
    lines = [f"Epoch[1] Batch [{at}]\tSpeed: 9.1 samples/sec\tranking={known[at]['ranking']:.4f}\tlr=1" for at in known]
    data = "".join(f"2026 {line}\n" for line in ["200 iterations of 8 pictures on cpu(0)", *lines]).encode()
    damaged = {"empty": b"", "half": data[: len(data) // 2], "zeroed tail": data[:-99] + bytes(99)}
    damaged.update({"zeros": bytes(len(data)), "a digit": data.replace(b"0.25", b"9.25"), "gone": data})
    log.write_bytes(damaged[damage])
    if damage == "gone":
        log.unlink()
    with logged_to(log):
        mend(log, known)
        logging.getLogger("gluon_cgd.train").info("resumed at iteration 150 of 200 from x")
        logging.getLogger("gluon_cgd.train").info("200 iterations of 8 pictures on cpu(0)")
    assert losses(log) == known
    assert list(losses(log)) == [50, 100, 150]
    text = log.read_bytes()
    assert text.count(b"was damaged: losses of iterations up to") == 1
    with logged_to(log):
        mend(log, known)
    assert log.read_bytes() == text
