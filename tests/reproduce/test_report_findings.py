"""What a student report finds, tested on the mini form: the claims, the section, and the audit of it."""

import pytest

from gluon_cgd.experiment import Experiment
from reproduce import recorded, selection, student
from reproduce.auditing import declared, evidence
from reproduce.auditing import report as audited
from reproduce.documents import findings, record
from reproduce.report import comparison
from reproduce.tables import TABLES
from reproduce.training import plan

NUMBERS = {  # R@1 of the first seed: M far below S and G, SG above GS at 512 alone, networks that differ
    "S 1536": 0.8,
    "G 1536": 0.81,
    "M 1536": 0.3,
    "SG 512": 0.7,
    "GS 512": 0.6,
    "small_resnet": 0.8,
    "small_se_resnet": 0.7,
    "small_shufflenet_v2": 0.6,
}


def entries(table, numbers=NUMBERS):
    """The entries of `table` in the mini form with five seeds that differ a little."""
    results = {
        selection.experiment_of(row, True): [
            {"seed": seed, "experiment": {}, "last": {"R@1": numbers[row.name] + noise}, "untrained": {}}
            for seed, noise in enumerate((0, 0.01, -0.01, 0.005, 0.001 * index))
        ]
        for index, row in enumerate(table.rows)
        if row.mini and row.name in numbers
    }
    return comparison.entries(table, lambda experiment: results.get(experiment, []), True, "last")


def test_its_findings_are_claims_of_the_mini_form_with_a_verdict_each():
    table = student.table(Experiment(), True)
    lines = student.claim_lines(table, entries(table), True)
    assert lines[0].startswith("The report's findings, in our numbers (Holm's correction over 6 tested orderings")
    for better, worse in (("S 1536", "M 1536"), ("G 1536", "M 1536"), ("SG 512", "GS 512")):
        line = next(line for line in lines if line.startswith(f"{better} R@1 > {worse} R@1: "))
        assert ", holds (p = " in line
    assert "SG 768 R@1 > GS 768 R@1: not run" in lines
    assert lines[-1].startswith("The backbone matters: 3 of 3 pairs of small networks differ")
    assert not any("paper" in line for line in lines)


def test_nothing_is_said_before_a_run_and_of_networks_only_in_the_mini_form():
    table = student.table(Experiment(), True)
    assert student.claim_lines(table, entries(table, {}), True) == []
    whole = student.table(Experiment(), False)
    assert [claim[0][0] for claim in whole.orderings] == ["S 1536", "G 1536", "SG 512", "SG 768"]


def test_its_networks_are_those_of_table_7_pretrained_on_other_letters():
    table7 = {selection.experiment_of(row, True) for row in selection.rows_in(TABLES["table7"], True)}
    rows = {row.name: row.mini for row in findings.table().rows}
    assert {rows[name] for name in student.NETWORKS} <= table7
    assert all(e.pretrained and (e.learning_rate, e.passes) == (2e-3, 54) for e in rows.values())
    assert {rows[f"{letters} 1536"].dim for letters in "SGM"} == {192}


def test_its_runs_are_recorded_with_those_of_the_tables():
    known = plan.experiments((findings.table(),))
    assert {row.mini for row in findings.table().rows} <= known


@pytest.mark.slow
def test_the_audit_has_its_experiments_and_says_the_same_of_the_recorded_runs():
    ours, theirs = findings.table(), declared.report()
    assert [(row.name, row.mini.to_dict()) for row in ours.rows] == [(r.name, r.experiment) for r in theirs.mini]
    assert [list(claim) for claim in ours.orderings] == theirs.orderings
    assert ours.title == theirs.title
    assert findings.section().splitlines() == audited.part(evidence.read(recorded.FOLDER)[0])


def test_without_runs_the_section_says_how_to_make_them(monkeypatch, tmp_path):
    monkeypatch.setattr(recorded.read, "__defaults__", (tmp_path,))
    assert findings.section() == "Not run yet: `bash reproduce/report.sh --mini --seeds 10`."
    assert audited.part({}) == [findings.section()]
    assert record.record(tmp_path, (findings.table(),), tmp_path) == []
