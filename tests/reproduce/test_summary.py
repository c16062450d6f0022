"""What the documents say of the recorded runs."""

import re
from dataclasses import fields

import pytest

from gluon_cgd.experiment import Experiment
from reproduce import recorded as results
from reproduce import selection
from reproduce.documents import ledger, record, summary
from reproduce.tables import FIGURE3, TABLES
from tests.reproduce.test_reproduce import run_of


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """Recorded runs: Table 1 with three seeds in its mini form and five in the paper's."""
    folder = tmp_path / "results"
    folder.mkdir()
    monkeypatch.setattr(results, "FOLDER", folder)
    monkeypatch.setattr(results.read, "__defaults__", (folder,))
    for small, seeds, values in ((True, 3, (0.09, 0.6)), (False, 5, (0.867, 0.95))):
        for row, value in zip(TABLES["table1"].rows, values):
            for seed in range(seeds):
                run_of(tmp_path / "runs", selection.experiment_of(row, small), seed, value + 0.001 * seed)
    record.record(tmp_path / "runs", (TABLES["table1"],), folder)
    summary.entries.cache_clear()
    summary.everything_tested.cache_clear()
    yield folder
    summary.entries.cache_clear()
    summary.everything_tested.cache_clear()


def test_the_state_of_a_table_counts_its_runs_and_verdicts(recorded):
    lines = dict(zip((one.name for one in summary.EVERYTHING), summary.status().splitlines()[2:]))
    assert lines["table1"].startswith(
        "| [Table 1](#table1) | 10 of 10 | 1 within a point, 1 higher, 6 not run | not reproduced | 6 | 1 holds |"
    )
    assert "| not run: `bash reproduce/table3.sh` | 12 not run | not run | not run | 2 not run |" in lines["table3"]
    assert "a figure" in lines["figure3"]


def test_claims_stand_with_published_and_own_numbers(recorded):
    lines = summary.claims().splitlines()[2:]
    assert re.search(r"\| Table 1 \| Both > Rank \| 93.1 / 86.7 \| 60.1 ± 0.1 / 9.1 ± 0.1 \| holds \(p = ", lines[0])
    assert len(lines) == 1 + 4 + 2 + 1 + 9 + 5 + 5 + 14 + 3
    assert sum("| no mini form |" in line for line in lines) == 14  # earlier work of Table 7
    assert sum("| not run |" in line for line in lines) == len(lines) - 1 - 14


def test_the_digest_counts_the_orderings_and_names_those_that_are_decided(recorded):
    first, _, decided, figure3 = summary.digest().splitlines()
    told = "Of 30 orderings that rendered letters can show: 1 hold, 29 have not run (Holm's correction over 1 tested "
    assert first == told + ("ordering, 5 % on each side). 14 more compare with earlier work and have no mini form.")
    assert decided.startswith("- Table 1: Both > Rank: 60.1 ± 0.1 against 9.1 ± 0.1, holds (p = ")
    assert figure3 == "- not run: `bash reproduce/figure3.sh --mini`"


def test_every_table_is_there_in_both_forms_or_says_how_to_run_it(recorded):
    text = summary.tables()
    for table in (*TABLES.values(), FIGURE3):
        assert f'<a id="{table.name}"></a>' in text
    assert "| Rank | published | 86.7 ± 0.3 |" in text
    assert "|  | ours | 86.9 ± 0.2 | - | - | - |" in text
    assert "|  | mini | 9.1 ± 0.1 | - | - | - |" in text
    assert "On the embedded benchmark: not run, `bash reproduce/table3.sh --mini`." in text


def test_the_ledger_reads_its_defaults_from_the_experiment():
    names = {field.name for field in fields(Experiment)}
    for one in ledger.read():
        assert set(one.fields) <= names, one.detail
        assert one.ours or one.fields
    text = ledger.as_markdown()
    assert "`passes=32.7`, `decay_at=[0.267, 0.533]`, `decay_factor=0.1`" in text
    assert len(text.splitlines()) == 2 + len(ledger.read()) >= 22
    flags = re.findall(r"`--(?:no-)?([a-z-]+)", text)
    assert {flag.replace("-", "_") for flag in flags} <= names | {"seeds", "compare"}
