import logging

import portalocker
import pytest

from gluon_cgd.files.lock import locked
from gluon_cgd.runs.log import logged_to, losses


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
