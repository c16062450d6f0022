"""The small form of the tables: photographs and a smaller pretrained network."""

import json
import re

import pytest

from gluon_cgd import datasets
from gluon_cgd.experiment import CONFIGURATIONS
from reproduce import recorded as results
from reproduce import selection
from reproduce.auditing import compare, declared, evidence, photographs, plain
from reproduce.command import main
from reproduce.documents import attestation, generated, record, summary
from reproduce.report import comparison
from reproduce.small import SEEDS, small, small_table, small_tables
from reproduce.tables import DETAILS, EVERYTHING, FIGURE3, FIGURE4, TABLES, TEXT, mini
from reproduce.training import costs, plan
from tests.reproduce.test_reproduce import run_of

TABLE1 = small_table(TABLES["table1"])


def experiments(table):
    return {row.name: selection.experiment_of(row, True) for row in selection.rows_in(table, True)}


def test_every_row_keeps_what_it_is_about_and_has_a_name_of_its_own():
    for table in small_tables(EVERYTHING):
        for row in selection.rows_in(table, True):
            own = selection.experiment_of(row, True)
            assert (own.dataset, own.backbone, own.pretrained) == ("cars196_train_half", "squeezenet1.1", True)
            for name in ("descriptors", "classification", "smoothing", "temperature", "margin", "loss", "combine"):
                assert getattr(own, name) == getattr(row.experiment, name)
            assert own.architecture == row.experiment.architecture
            assert own.key() not in (row.experiment.key(), mini(row.experiment).key())
            assert own.key().startswith("cars196_train_half-squeezenet1.1-")
    assert len({e.key() for e in experiments(small_table(TABLES["table2"])).values()}) == 4


def test_its_dimensions_can_be_divided_among_the_branches():
    dims = {letters: experiments(small_table(FIGURE3))[f"cars {letters}"].dim for letters in CONFIGURATIONS}
    assert dims == {letters: 510 if len(letters) == 3 else 512 for letters in CONFIGURATIONS}


def test_figure_3_has_one_panel_and_shares_its_runs_with_the_tables():
    figure = experiments(small_table(FIGURE3))
    assert list(figure) == [f"cars {letters}" for letters in CONFIGURATIONS]
    assert set(experiments(small_table(TABLES["table5"])).values()) == set(figure.values())
    assert experiments(small_table(TABLES["table2"]))["Both"] == figure["cars SM"]
    assert experiments(small_table(TABLES["table3"]))["CGD"] == figure["cars SM"]  # birds in the paper's form


def test_the_details_have_the_batches_and_no_batch_norm():
    rows = experiments(small_table(DETAILS))
    assert list(rows) == ["default", "4 x 32"]
    assert (rows["4 x 32"].batch_classes, rows["4 x 32"].batch_images) == (4, 6)
    assert rows["4 x 32"].batch_size == rows["default"].batch_size


@pytest.mark.parametrize("table", [TABLES["table7"], TEXT, FIGURE4])
def test_a_table_without_this_form_is_refused_with_those_that_have_it(table, capsys):
    with pytest.raises(ValueError, match=f"{table.name} has no small form: leave out --small, or choose from table1"):
        small_table(table)
    if table is not FIGURE4:  # there --small has no effect at all
        assert main([table.name, "--small"]) == 2
        assert f"{table.name} has no small form" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table1", "--mini", "--small"], "--mini and --small are two forms of a table: choose one"),
        (["table1", "--small", "--from-scratch"], "--from-scratch changes the mini form of a table: add --mini"),
        (["report", "--small"], "--small has no form of the report"),
        (["figure4", "--small"], "--small has no effect on figure4: leave it out"),
        (["efficiency", "--small"], "--small has no effect on efficiency: leave it out"),
        (["--html", "--small"], "--small has no effect on --html: leave it out"),
        (["--write", "--small"], "--small has no effect on --write: leave it out"),
        (["table1", "--small", "--rows", "X*"], "no row of table1 matches 'X*'"),
    ],
)
def test_what_does_not_go_with_it_is_refused_in_a_sentence(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_it_is_planned_with_three_seeds(tmp_path, capsys):
    assert len(plan.wanted([TABLE1], None, True, tmp_path)) == 2 * SEEDS == 6
    assert len(plan.wanted([TABLES["table1"]], None, True, tmp_path)) == 2  # the mini form
    assert main(["table1", "table2", "--small", "--plan", "--runs", str(tmp_path)]) == 0
    assert re.search(r"together +15 +15 +0 +0 +15", capsys.readouterr().out)
    run = plan.wanted([TABLE1], 1, True, tmp_path)[0]
    assert costs.pictures(run.experiment.dataset) == (4052, 4092)
    assert costs.parameters(run.experiment) < 2e6


def test_it_says_which_data_are_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("gluon_cgd.backbones.imagenet_file", lambda name: name)
    where = ["--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs")]
    assert main(["table1", "--small", *where]) == 2
    told = "the folder of cars196_train_half, does not exist (python -m gluon_cgd data cars196_train_half)"
    assert told in capsys.readouterr().err


def test_its_runs_are_printed_as_small_and_never_judged(tmp_path, capsys):
    for seed in range(SEEDS):
        for name, recall in (("Rank", 0.3), ("Both", 0.6)):
            run_of(tmp_path, experiments(TABLE1)[name], seed, recall + 0.01 * seed)
    arguments = ["table1", "--small", "--report", "--runs", str(tmp_path)]
    assert main([*arguments, "--rows", "Rank"]) == 1  # R@2 to R@8 are not there
    out = capsys.readouterr().out
    assert re.search(r"\n +small +31\.0 ± 1\.0 ", out)
    assert "SMALL: real photographs, half of CARS196" in out
    assert "verdict" not in out
    assert "Both > Rank: 61.0 ± 1.0 against 31.0 ± 1.0" in out
    assert main(["table1", "--mini", *arguments[2:]]) == 1
    assert "61.0" not in capsys.readouterr().out
    main([*arguments[:2], "--json", *arguments[3:]])
    rows = json.loads(capsys.readouterr().out)
    assert [row["ours"]["R@1"]["runs"] for row in rows] == [3, 3]
    assert not any(row["verdicts"] for row in rows)


def test_only_its_mini_form_changes_in_a_table():
    for table in small_tables(EVERYTHING):
        usual = next(other for other in EVERYTHING if other.name == table.name)
        assert table.orderings == usual.orderings
        if table.name not in ("figure3", "details"):
            assert [row._replace(mini=None) for row in table.rows] == [row._replace(mini=None) for row in usual.rows]


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """Three recorded runs of each row of Table 1 in the small form."""
    folder = tmp_path / "results"
    monkeypatch.setattr(results, "FOLDER", folder)
    for function in (results.read, results.read_ranks):
        monkeypatch.setattr(function, "__defaults__", (folder,))
    for seed in range(SEEDS):
        for name, recall in (("Rank", 0.3), ("Both", 0.6)):
            run_of(tmp_path / "runs", experiments(TABLE1)[name], seed, recall + 0.01 * seed)
    summary.entries.cache_clear()
    yield folder
    summary.entries.cache_clear()


def test_the_documents_have_its_section_only_where_runs_are_recorded(recorded, tmp_path):
    assert summary.photographs() == ""
    assert generated.regenerated("<!-- photographs -->\nx\n<!-- end of photographs -->", generated.PARTS) == (
        "<!-- photographs -->\n\n<!-- end of photographs -->"
    )
    names = record.record(tmp_path / "runs", (TABLES["table1"],), recorded)
    assert [name.partition("-")[0] for name in names] == ["cars196_train_half"] * 2
    summary.entries.cache_clear()
    text = summary.photographs()
    assert text.startswith("## The small form\n\nReal photographs, half of CARS196")
    assert '<a id="table1-small"></a>\n\n### Table 1, the small form. ' in text
    assert "|  | small | 61.0 ± 1.0 |" in text
    assert "Both > Rank: 61.0 ± 1.0 against 31.0 ± 1.0" in text
    assert "Table 2" not in text  # its None is Table 1's Both, and the other rows have no run
    assert summary.status().count("| not run |") >= 10  # it does not count there


def test_the_audit_recomputes_the_section_by_code_of_its_own(recorded, tmp_path):
    tables = declared.small_tables(declared.tables())
    assert photographs.section(tables, {}) == [""]
    record.record(tmp_path / "runs", (TABLES["table1"],), recorded)
    summary.entries.cache_clear()
    runs, _ = evidence.read(recorded)
    assert photographs.section(tables, runs) == summary.photographs().split("\n")
    changed = summary.photographs().replace("61.0 ± 1.0", "62.0 ± 1.0", 1).split("\n")
    assert list(compare.differences("REPRODUCE.md", 1, changed, photographs.section(tables, runs)))
    assert plain.origins(declared.tables(), runs, tables) == summary.origins().split("\n")


def test_its_runs_can_be_attested(recorded, tmp_path):
    file = attestation.write(tmp_path / "runs", EVERYTHING, "somebody")
    kept = json.loads(file.read_text())["experiments"]
    assert set(kept) == {experiment.key() for experiment in experiments(TABLE1).values()}
    own = {
        e: [{"experiment": e.to_dict(), **run} for run in kept[e.key()]["runs"]] for e in experiments(TABLE1).values()
    }
    assert attestation.compared(TABLE1, True, own)[0] == 6
    assert attestation.compared(TABLES["table1"], True, own) is None


def test_its_dataset_is_one_that_exists():
    assert small(TABLES["table1"].rows[0].experiment).dataset in datasets.COUNTS
    assert (
        comparison.recall({"experiment": {"dataset": "cars196_train_half"}, "last": {"R@1": 0.5}}, "last", "R@1") == 50
    )
