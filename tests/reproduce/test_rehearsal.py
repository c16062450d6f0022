"""Runs of a rehearsal: every place that shows them says so, nothing judges them and nothing keeps them."""

import json

import pytest

from gluon_cgd.files import stand_in
from reproduce import store
from reproduce.command import main
from reproduce.documents import record
from reproduce.report import comparison
from reproduce.tables import TABLES
from tests.reproduce.test_table_verdict import printed, runs_of, stored


def made_up(folder, name, keys=("data", "weights"), only=None):
    """Put runs with the published numbers of the table `name` into the store; those of row `only` are made up."""
    stored(folder, name, printed(name))
    for row in TABLES[name].rows:
        for seed in range(5 if only in (None, row.name) else 0):
            file = store.folder(folder, row.experiment, seed) / "result.json"
            values = {**json.loads(file.read_text()), **dict.fromkeys(keys, f"{stand_in.MARK}0123")}
            file.write_text(json.dumps(values))


@pytest.mark.parametrize(("keys", "only"), [(("data", "weights"), None), (("weights",), "Both"), (("data",), None)])
def test_a_report_with_made_up_runs_says_so_and_judges_nothing(tmp_path, capsys, keys, only):
    made_up(tmp_path, "table1", keys, only)
    assert main(["table1", "--report", "--runs", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert out.split("\n")[1].startswith("Table 1, REHEARSAL. Ranking loss alone")
    assert "REHEARSAL, no result: made-up pictures, or made-up ImageNet parameters" in out
    assert f"runs that are stand-ins: {'Rank (5 of 5), ' * (only is None)}Both (5 of 5)" in out
    assert "published  93.1" in out
    assert "made up    93." in out
    for word in ("ours", "verdict", "difference", "reproduced", "within a point", "Both > Rank", "orderings"):
        assert word not in out


@pytest.mark.slow  # it draws
def test_the_files_of_a_report_and_the_page_say_so_too(tmp_path, monkeypatch):
    made_up(tmp_path, "table1")
    monkeypatch.setattr("reproduce.command.train", lambda *_: None)
    assert main(["table1", "--runs", str(tmp_path)]) == 1
    reports = tmp_path / "reports"
    assert {file.name for file in reports.iterdir()} == {f"table1-rehearsal{end}" for end in (".md", ".json", ".png")}
    text = (reports / "table1-rehearsal.md").read_text()
    assert text.startswith("# Table 1, REHEARSAL.")
    assert "- runs that are stand-ins: Rank (5 of 5), Both (5 of 5)" in text
    entries = json.loads((reports / "table1-rehearsal.json").read_text())
    assert [(entry["claims"], entry["verdicts"], entry["findings"]) for entry in entries] == [
        ([], {}, {stand_in.FINDING: 5})
    ] * 2
    assert main(["table1", "--html", "--runs", str(tmp_path)]) == 0
    page = (reports / "reproduction.html").read_text()
    assert "REHEARSAL, no result:" in page
    assert "made up" in page
    assert "is reproduced" not in page.partition("<header>")[2].partition("A table is reproduced when")[2]


def test_real_runs_are_reported_as_before(tmp_path, capsys):
    stored(tmp_path, "table1", printed("table1"))
    assert main(["table1", "--report", "--runs", str(tmp_path)]) == 0
    assert "REHEARSAL" not in capsys.readouterr().out


def test_made_up_runs_are_neither_recorded_nor_attested(tmp_path, capsys):
    made_up(tmp_path, "table1")
    experiment = TABLES["table1"].rows[1].experiment
    sentence = "is a rehearsal's run, whose pictures and parameters are made up: it is no result to keep"
    with pytest.raises(ValueError, match=sentence):
        record.prepared(tmp_path, experiment, tmp_path / "recorded")
    assert not (tmp_path / "recorded").exists()
    for mode in ("--record", "--attest"):
        assert main([mode, "table1", "--runs", str(tmp_path)]) == 2
        assert sentence in capsys.readouterr().err


def test_made_up_and_real_runs_are_not_averaged(tmp_path):
    made_up(tmp_path, "table1", only="Both")
    experiment = TABLES["table1"].rows[1].experiment
    file = store.folder(tmp_path, experiment, 2) / "result.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "data": "0123", "weights": "4567"}))
    with pytest.raises(ValueError, match="are of different copies of the data: keep only those that agree"):
        store.results(tmp_path, experiment, 5)


def test_a_row_without_made_up_runs_is_judged_alone_as_ever():
    rows = comparison.entries(TABLES["table1"], runs_of("table1", printed("table1")), False, "last")
    assert not comparison.is_rehearsal(rows)
    assert all(row.verdicts for row in rows)
