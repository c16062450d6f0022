from gluon_cgd.doctor import findings
from gluon_cgd.doctor.findings import info, note, ok, wrong

GOOD = [ok("memory", "23 GB"), info("Slurm", "not here"), note("cub200", "is not here", "get it")]


def test_only_what_is_wrong_keeps_a_machine_from_being_ready():
    assert findings.ready(GOOD)
    assert not findings.ready([*GOOD, wrong("NumPy", "2.1.3", "install 1.23.5")])


def test_the_report_has_a_line_each_with_the_remedy_behind_it():
    assert findings.text(GOOD).splitlines() == [
        "ok     memory  23 GB",
        "       Slurm   not here",
        "note   cub200  is not here: get it",
        "ready: everything that training needs is there",
    ]
    *_, bad, last = findings.text([*GOOD, wrong("NumPy", "2.1.3", "install 1.23.5")]).splitlines()
    assert bad == "WRONG  NumPy   2.1.3: install 1.23.5"
    assert last == "not ready, fix first: NumPy"


def test_programs_get_the_same():
    report = findings.as_dict([wrong("NumPy", "2.1.3", "install 1.23.5")])
    assert report == {
        "ready": False,
        "lines": [{"name": "NumPy", "state": "wrong", "says": "2.1.3", "remedy": "install 1.23.5"}],
    }


def test_a_look_that_fails_is_a_line_and_not_the_end():
    def check(number):
        raise KeyError(f"no\nkey {number}")

    (line,) = findings.run_check("disk", check, 7)
    assert line.state == "note"
    assert line.says == "could not be checked (KeyError: 'no\\nkey 7')"
    assert findings.run_check("disk", lambda: [GOOD[0]]) == [GOOD[0]]
