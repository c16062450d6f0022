"""How much of the processor other programs use."""

import time

import pytest

from gluon_cgd.machine import load


def test_what_others_use_is_everything_but_our_own():
    before, after = load.Reading(100.0, 5000.0, 40.0), load.Reading(110.0, 5018.0, 45.0)
    assert load.others(before, after) == pytest.approx(1.3)
    assert load.others(before, after._replace(everyone=5004.0)) == 0  # never less than nothing
    assert load.others(None, after) is None
    assert load.others(before, before) is None


def test_only_a_busy_machine_is_warned_of():
    assert load.warning(1.3).startswith("other programs used 1.3 of ")
    assert load.warning(load.QUIET) == load.warning(None) == ""


def test_our_own_work_is_seen():
    before = load.now()
    if before is None:
        pytest.skip("the system does not tell")
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    after = load.now()
    assert after.ours - before.ours > 0.03  # the system counts in hundredths
    assert after.everyone >= before.everyone
    assert load.others(before, after) >= 0
