"""The table of what is not in the paper: each row against the one that it extends, at equal seeds."""

import re

import pytest
from scipy import stats

from gluon_cgd.experiment import ATTENTIONS, CLASSIFICATION_LOSSES, DESCRIPTOR_NAMES, LOSSES
from reproduce import recorded, selection
from reproduce.auditing import beyond as audited_beyond
from reproduce.auditing import declared
from reproduce.auditing import effects as audited
from reproduce.auditing import evidence as audit_evidence
from reproduce.auditing.samples import entries as audited_entries
from reproduce.documents import beyond, record, summary
from reproduce.report import comparison, formats
from reproduce.small import small_table
from reproduce.tables import EXTENSIONS, TABLES
from reproduce.training import costs, plan
from reproduce.verdicts import effects
from tests.reproduce.test_reproduce import run_of

ROWS = {row.name: row for row in EXTENSIONS.rows}
SIX = (0.80, 0.81, 0.82, 0.80, 0.79, 0.81)
NUMBERS = {  # R@1 of six seeds: clearly above G, clearly below M, neither, and one that has not run
    "S": SIX,
    "M": SIX,
    "G": SIX,
    "SG": SIX,
    "P": tuple(x + 0.03 + 0.001 * i for i, x in enumerate(SIX)),
    "R": tuple(x - 0.03 - 0.001 * i for i, x in enumerate(SIX)),
    "W": tuple(x + 0.001 * (-1) ** i for i, x in enumerate(SIX)),
    "SGA": SIX[:1],
}


def entries(numbers=NUMBERS):
    """The entries of the mini form from runs with the R@1 `numbers`, {row: (a seed, ...)}."""
    results = {
        selection.experiment_of(row, True): [
            {"seed": seed, "experiment": {}, "last": {"R@1": value}, "untrained": {}}
            for seed, value in enumerate(numbers.get(row.name, ()))
        ]
        for row in EXTENSIONS.rows
    }
    return comparison.entries(EXTENSIONS, results.__getitem__, True, "last")


def test_every_descriptor_and_loss_that_is_not_the_papers_has_a_row():
    experiments = [row.experiment for row in EXTENSIONS.rows]
    assert {letter for e in experiments for letter in e.descriptors} == set(DESCRIPTOR_NAMES)
    assert {e.classification_loss for e in experiments} == set(CLASSIFICATION_LOSSES)
    assert {e.whiten for e in experiments} == {False, True}
    assert {e.attention for e in experiments} == set(ATTENTIONS)
    assert {e.loss for e in experiments} == {"batch_hard", *LOSSES[5:]}


def test_a_row_differs_from_its_baseline_in_one_thing_alone():
    for row in EXTENSIONS.rows:
        if row.against:
            apart = row.experiment.changes().items() ^ ROWS[row.against].experiment.changes().items()
            assert len({name for name, _ in apart}) == 1, row.name
    assert {row.name for row in EXTENSIONS.rows if not row.against} == {"S", "M", "G", "SG"}


def test_the_rows_of_the_paper_are_those_of_its_table_5():
    table5 = {row.name: row.experiment for row in TABLES["table5"].rows}
    assert all(table5[name] == ROWS[name].experiment for name in ("S", "M", "G", "SG"))


def test_a_verdict_is_a_paired_t_test_with_holms_correction():
    found = effects.judged(EXTENSIONS, entries())
    p = {
        name: stats.ttest_rel(NUMBERS[name], NUMBERS[ROWS[name].against], alternative="greater").pvalue
        for name in ("P", "R", "W")
    }
    assert found["P"].p_holds == pytest.approx(3 * p["P"])
    assert found["R"].p_opposite == pytest.approx(3 * (1 - p["R"]))
    words = {name: effects.outcome(found[name]).partition(" (")[0] for name in found}
    told = {"P": "helps", "R": "harms", "W": "undecided", "SGA": "undecided"}
    assert words == {**dict.fromkeys(words, "not run"), **told}


def test_the_report_says_what_helps_and_what_does_not():
    text = formats.as_text(EXTENSIONS, entries(), True, "last")
    assert "Against the baseline at equal seeds (Holm's correction over 3 tested rows, 5 % on each side):" in text
    assert re.search(r"P against G: \+3\.\d points of R@1 \(95 % interval .*; 6 pairs of runs\); helps \(p = ", text)
    assert re.search(r"R against M: -3\.\d points of R@1 .*; harms \(p = ", text)
    assert re.search(r"W against S: [+-]0\.0 points of R@1 .*; undecided .*\(p = ", text)
    assert re.search(r"S against SG: \+0\.0 points of R@1 \([^;]*; 6 pairs of runs\)\n", text)  # no test of it
    assert "Q against G: not run" in text
    assert "SGA against SG: +0.0 points of R@1 (one pair of runs); undecided" in text


def test_without_runs_nothing_is_said_to_help():
    lines = effects.sentences(EXTENSIONS, entries({}))
    assert len(lines) == 23
    assert all(line.endswith(": not run") for line in lines[1:])


@pytest.fixture
def evidence(tmp_path, monkeypatch):
    """Runs with the R@1 of NUMBERS, recorded in the place of ours, and as the audit takes them."""
    folder = tmp_path / "results"
    for name, values in NUMBERS.items():
        for seed, value in enumerate(values):
            run_of(tmp_path / "runs", selection.experiment_of(ROWS[name], True), seed, value)
    record.record(tmp_path / "runs", (EXTENSIONS,), folder)
    monkeypatch.setattr(recorded, "FOLDER", folder)
    for reader in (recorded.read, recorded.read_ranks):
        monkeypatch.setattr(reader, "__defaults__", (folder,))
    summary.entries.cache_clear()
    yield audit_evidence.read(folder)[0]
    summary.entries.cache_clear()


@pytest.mark.slow
def test_the_audit_comes_to_the_same_words(evidence):
    table = next(table for table in declared.tables() if table.name == EXTENSIONS.name)
    theirs = audited.sentences(table, audited_entries(table, evidence, True))
    assert theirs == effects.sentences(EXTENSIONS, summary.entries(EXTENSIONS.name, True))
    assert sum("helps" in line for line in theirs) == sum("harms" in line for line in theirs) == 1


@pytest.mark.slow
def test_the_section_says_what_helps_and_the_audit_says_the_same(evidence):
    lines = beyond.as_markdown_text().splitlines()
    assert lines == audited_beyond.part(declared.tables(), evidence)
    assert lines[0].startswith("- **Helps**: P (+3.")
    assert lines[1].startswith("- **Harms**: R (-3.")
    assert lines[2].startswith("- **Neither is shown**: W (")
    assert lines[3].startswith("- **Not run**: Q, A, C, SP, ")
    row = next(line for line in lines if line.startswith("| P |"))
    assert re.fullmatch(r"\| P \| G \| 83\.\d ± .* \| helps \(p = .*\) (\| \+3\.\d ){4}\| 206,021 \| - \|", row)


def test_without_runs_the_section_says_how_to_make_them(tmp_path, monkeypatch):
    monkeypatch.setattr(summary, "entries", lambda name, form: entries({}))
    assert beyond.as_markdown_text() == "Not run yet: `bash reproduce/extensions.sh --mini --seeds 10`."
    assert audited_beyond.part(declared.tables(), {}) == [beyond.as_markdown_text()]


@pytest.mark.slow
def test_the_audit_counts_the_parameters_as_the_networks_have_them():
    for row in EXTENSIONS.rows:
        own = selection.experiment_of(row, True)
        assert audited_beyond.parameters(own.to_dict()) == costs.parameters(own), row.name


@pytest.mark.slow
def test_it_is_planned_like_a_table_of_the_paper_and_shares_its_runs(tmp_path):
    for form in (lambda table: table, small_table):
        runs = plan.wanted([form(EXTENSIONS), form(TABLES["table5"])], 10, True, tmp_path)
        assert len(runs) == (23 + 12 - 4) * 10
