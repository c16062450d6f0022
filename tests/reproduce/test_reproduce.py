import json
import re
from pathlib import Path

import pytest

from gluon_cgd.experiment import CONFIGURATIONS, REVISION, Experiment
from reproduce import selection, store
from reproduce.command import main
from reproduce.documents.summary import duration
from reproduce.report import formats
from reproduce.tables import FIGURE3, TABLES, TEXT, Cell, Row, Table, from_scratch, mini, scratch
from reproduce.training import backends

SCRIPTS = Path(__file__).resolve().parents[2] / "reproduce"


def published(table, row, cell):
    """The one number of a row; in Table 7 a row has a part for each benchmark."""
    found = [r.published[cell] for r in TABLES[table].rows if r.name == row and cell in r.published]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("table", "row", "cell", "expected"),
    [
        ("table1", "Rank", "R@1", Cell(86.7, 0.3, 5)),
        ("table1", "Both", "R@8", Cell(98.3, 0.2, 5)),
        ("table2", "LS", "R@2", Cell(96.1, 0.1, 5)),
        ("table2", "Both", "R@1", Cell(94.4, 0.2, 5)),
        ("table3", "B", "R@4", Cell(89.2, 0.2, 5)),
        ("table3", "CGD", "R@1", Cell(75.3, 0.5, 5)),
        ("table4", "Sum", "R@8", Cell(93.7, 0.1, 5)),
        ("table5", "SG", "Combined", Cell(94.5, None, 10, "median")),
        ("table5", "M", "MAC", Cell(93.6, None, 10, "median")),
        ("table5", "MSG", "GeM", Cell(93.8, None, 10, "median")),
        ("table6", "S + Triplet‡", "R@1", Cell(89.5, 0.1, 5)),
        ("table6", "SM + HAP2S_P", "R@1", Cell(95.0, 0.1, 5)),
        ("table6", "SM + Margin", "R@8", Cell(98.6, 0.1, 5)),
        ("table7", "CGD ResNet-50‡ 1536", "CUB200 R@1", Cell(76.8, None, None, "single")),
        ("table7", "CGD SE-ResNet-50‡ 1536", "In-shop R@50", Cell(99.3, None, None, "single")),
        ("table7", "CGD BN-Inception 512", "SOP R@1000", Cell(98.9, None, None, "single")),
        ("table7", "HTL BN-Inception 128", "In-shop R@1", Cell(80.9, None, None, "single")),
        ("table7", "BFE† ResNet-50‡ 1536", "CARS196 R@4", Cell(98.3, None, None, "single")),
        ("table7", "Facility BN-Inception 64", "SOP R@100", Cell(93.2, None, None, "single")),
    ],
)
def test_published_numbers_are_the_papers(table, row, cell, expected):
    assert published(table, row, cell) == expected


def test_every_table_has_all_of_its_cells():
    cells = {name: sum(len(row.published) for row in table.rows) for name, table in TABLES.items()}
    assert cells == {"table1": 8, "table2": 16, "table3": 12, "table4": 8, "table5": 33, "table6": 40, "table7": 192}


def test_recall_never_falls_with_k():
    for table in TABLES.values():
        for row in table.rows:
            if table.name != "table5":
                for benchmark in {cell.rpartition(" ")[0] for cell in row.published}:
                    values = [
                        value.mean for cell, value in row.published.items() if cell.rpartition(" ")[0] == benchmark
                    ]
                    assert values == sorted(values), (table.name, row.name)


def test_equal_rows_of_different_tables_are_one_experiment():
    experiment = {(t, r.name): r.experiment for t, table in TABLES.items() for r in table.rows}
    assert experiment["table1", "Both"] == experiment["table2", "None"]
    assert experiment["table2", "Both"] == experiment["table6", "SM + Triplet†"] == experiment["table5", "SM"]
    assert experiment["table3", "CGD"] == experiment["table4", "Concat"]
    assert len({r.experiment.key() for table in TABLES.values() for r in table.rows if r.experiment}) == 51


def test_rows_are_what_the_paper_says_of_them():
    rank, both = (row.experiment for row in TABLES["table1"].rows)
    assert (rank.classification, both.classification) == (False, True)
    assert (both.smoothing, both.temperature, both.descriptors, both.dataset) == (0, 1, "SM", "cars196")
    assert tuple(row.name for row in TABLES["table5"].rows) == CONFIGURATIONS
    strides = {
        (row.name, row.experiment.keep_stride)
        for row in TABLES["table7"].rows
        if row.experiment and "ResNet-50" in row.name
    }
    assert strides == {("CGD ResNet-50 128", True), ("CGD ResNet-50‡ 1536", None), ("CGD SE-ResNet-50‡ 1536", None)}
    chosen = {row.experiment.dataset: row.experiment.descriptors for row in TABLES["table7"].rows if row.experiment}
    assert chosen == {"cub200": "MG", "cars196": "SG", "sop": "SG", "inshop": "GS"}


def test_a_mini_experiment_keeps_what_its_row_is_about():
    for row in (*TABLES["table1"].rows, *TABLES["table2"].rows):
        small = mini(row.experiment)
        assert (small.dataset, small.pretrained) == ("glyphs_mini", True)
        for field in ("descriptors", "classification", "smoothing", "temperature", "margin", "loss"):
            assert getattr(small, field) == getattr(row.experiment, field)
    assert len({mini(row.experiment).key() for row in TABLES["table2"].rows}) == 4
    for descriptors in CONFIGURATIONS:
        mini(Experiment(descriptors=descriptors))


def test_the_form_of_earlier_versions_starts_from_random_parameters_and_has_its_own_reports(tmp_path, capsys):
    for table in (*TABLES.values(), FIGURE3):
        for old, row in zip(from_scratch(table).rows, table.rows):
            assert (old.name, old.experiment, old.published) == (row.name, row.experiment, row.published)
            if not row.experiment:
                assert old.mini is None
                continue
            small = selection.experiment_of(old, True)
            assert (small.dataset, small.backbone, small.pretrained) == ("glyphs", "cifar_resnet10", False)
            assert (small.passes, small.learning_rate, small.batch_size, small.input_size) == (5, 2e-3, 64, 24)
            usual = selection.experiment_of(row, True)
            for field in ("descriptors", "dim", "loss", "combine", "architecture", "classification", "temperature"):
                assert getattr(small, field) == getattr(usual, field)
    run_of(tmp_path, scratch(mini(TABLES["table1"].rows[0].experiment)), 0, 0.05)
    arguments = ["table1", "--mini", "--rows", "Rank", "--runs", str(tmp_path)]
    main([*arguments, "--report", "--from-scratch"])
    out = capsys.readouterr().out
    assert re.search(r"mini +5\.0", out)
    assert "from random parameters" in out
    assert main([*arguments, "--report"]) == 1
    stem = formats.write_files(from_scratch(TABLES["table1"]), [], True, "last", tmp_path, "")
    assert stem.name == "table1-mini-from-scratch"


def test_json_lists_every_row_of_every_table(capsys, tmp_path):
    assert main(["--json", "--runs", str(tmp_path)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["table"] for row in rows} == set(TABLES)
    for row in rows:
        assert row["ours"] is None
        assert (row["experiment"] is None) == (row["table"] == "table7" and not row["row"].startswith("CGD"))
        if row["experiment"]:
            Experiment.from_dict(row["experiment"])
    assert rows[0]["published"]["R@1"] == {"mean": 86.7, "std": 0.3, "runs": 5, "statistic": "mean"}


def test_the_list_shows_rows_as_differences_from_the_defaults(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert re.search(
        r"Rank +dataset='cars196', descriptors='SM', classification=False, smoothing=0.0, temperature=1.0\n", out
    )
    assert "table3: " in out
    assert out.count("published only") == 7
    assert re.search(r"\n  SG +dataset='cars196'\n", out)  # all defaults


@pytest.fixture
def quick(monkeypatch, small_experiment, small_split):
    """A table of two rows that trains in seconds, on the small split."""
    from dataclasses import replace

    rows = tuple(
        Row(name, replace(small_experiment, classification=name == "Both"), TABLES["table1"].rows[0].published)
        for name in ("Rank", "Both")
    )
    monkeypatch.setitem(TABLES, "table1", Table("table1", "quick", rows, orderings=(("Both", "Rank"),)))
    monkeypatch.setattr(selection, "mini", lambda experiment: experiment)
    monkeypatch.setattr(store, "load_data", lambda name, data: small_split)
    # The workers of --mini are other processes, which know neither this table nor this split
    monkeypatch.setattr(
        backends.local,
        "train",
        lambda todo, *_, runs, data, weights, progress, parts, engine: backends.here(
            todo, None, runs, data, weights, parts, engine
        ),
    )


def test_a_table_is_trained_printed_and_written_once(quick, tmp_path, capsys, monkeypatch):
    command = ["table1", "--mini", "--seeds", "2", "--runs", str(tmp_path)]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "MINI: a working model of the experiment" in out
    assert "take its orderings as no evidence for or against the paper's" in out
    assert re.search(r"Rank +published +86\.7 ± 0\.3", out)
    assert re.search(r" mini +\d+\.\d ± \d+\.\d", out)
    assert re.search(r"Both > Rank: .* against .*, (holds|opposite here|undecided).* \((p = \S+; )?runs: 2, 2\)", out)
    assert sorted(f.name for f in (tmp_path / "reports").iterdir()) == [
        "table1-mini.json",
        "table1-mini.md",
        "table1-mini.png",
    ]
    monkeypatch.setattr(store, "train", None)  # would fail if anything were trained again
    assert main(command) == 0
    assert capsys.readouterr().out == out
    assert main([*command, "--report"]) == 0
    assert main([*command[:3], "3", *command[4:], "--report"]) == 1  # two of three seeds are there: means of two
    rows = json.loads((tmp_path / "reports" / "table1-mini.json").read_text())
    assert rows[0]["ours"]["R@1"]["runs"] == 2


def test_a_stored_run_of_another_experiment_is_refused(quick, tmp_path, capsys):
    assert main(["table1", "--mini", "--runs", str(tmp_path), "--rows", "Rank"]) == 0
    stored = next(tmp_path.glob(f"*/r{REVISION}-seed0/result.json"))
    result = json.loads(stored.read_text())
    result["experiment"]["margin"] = 0.5
    stored.write_text(json.dumps(result))
    capsys.readouterr()
    assert main(["table1", "--mini", "--runs", str(tmp_path), "--rows", "Rank"]) == 2
    assert "is of another run (margin 0.5 there, 0.1 asked for)" in capsys.readouterr().err


def test_a_real_table_without_data_and_weights_says_all_that_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("gluon_cgd.fetch.download.time.sleep", lambda seconds: None)
    assert main(["table1", "--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    assert "the folder of cars196, does not exist" in said
    assert "resnet50_v1b's ImageNet parameters cannot be had" in said
    assert "resnet50_v1b-0ecdba34.params" in said
    assert "--mini" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table1", "--mini", "--slurm", "partition=gpu"], "partition=gpu works only with --backend slurm: add it"),
        (["table1", "--measure"], "--measure works only with --plan: add --plan"),
        (["figure4", "table1"], "figure4 is drawn on its own"),
        (["table8"], "table8 is unknown: choose from table1"),
        (
            ["table1", "--data", __file__],
            "test_reproduce.py is a file: --data names the folder that holds",
        ),
        (["table1", "--seeds", "0"], "--seeds 0 must be from 1 to 1000"),
        (["table1", "--mini", "--rows", "X*"], "no row of table1 matches 'X*'"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(arguments, message, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--parts", "0"], "--parts 0 must be at least 1"),
        (["--backend", "slurm", "--slurm", "nonsense=1"], "--slurm nonsense=1 is not KEY=VALUE with one of the keys"),
        (["--backend", "slurm", "--slurm", "time_minutes=never"], "time_minutes 'never' must be a whole number from 5"),
        (["--backend", "slurm", "--parts", "2"], "--parts 2 works only on this machine"),
        (["--runs", f"{__file__}/runs"], f"runs is inside {__file__}, which is a file"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_data_are_prepared(flags, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(store, "missing_parts", lambda *_: pytest.fail("the data were prepared"))
    assert main(["table1", "--mini", "--runs", str(tmp_path / "runs"), *flags]) == 2
    assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_cell_beyond_the_tolerance_makes_the_exit_status_1(quick, tmp_path):
    assert main(["table1", "--runs", str(tmp_path), "--seeds", "1"]) == 1  # a dozen steps do not reach 86.7
    assert main(["table1", "--runs", str(tmp_path / "none"), "--seeds", "1", "--report"]) == 1  # nothing run


def test_published_numbers_can_be_reported_for_every_table(tmp_path, capsys):
    for name in TABLES:
        assert main([name, "--report", "--runs", str(tmp_path)]) == 1
        assert f"Table {name[-1]}. " in capsys.readouterr().out


def run_of(folder, experiment, seed, recall, branches=None):
    """Put a finished run into the store, without training."""
    recalls = {which: {"R@1": value} for which, value in zip(("untrained", "last", "best"), (0.02, recall, recall))}
    stored = {"experiment": experiment.to_dict(), "seed": seed, "revision": REVISION, "classes": 100, **recalls}
    stored["branches"] = {which: branches or {} for which in recalls}
    file = store.folder(folder, experiment, seed) / "result.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(stored))


@pytest.mark.parametrize("form", [lambda table: table, from_scratch])
def test_the_mini_form_of_table_7_has_columns_of_its_own(form, tmp_path, capsys):
    row = next(row for row in selection.rows_in(form(TABLES["table7"]), True) if row.name == "CGD ResNet-50 128")
    run_of(tmp_path, selection.experiment_of(row, True), 0, 0.5)
    flags = ["--from-scratch"] if form is from_scratch else []
    main(["table7", "--mini", "--rows", row.name, "--report", "--runs", str(tmp_path), *flags])
    assert re.search(r"\n +mini( +-){4} +50\.0( +-){3}\n", capsys.readouterr().out)


def test_claims_on_how_rows_learn_are_undecided_after_one_run(tmp_path, capsys):
    for row in TEXT.rows[2:]:
        experiment = selection.experiment_of(row, True)
        run_of(tmp_path, experiment, 0, 0.5)
        file = store.folder(tmp_path, experiment, 0) / "result.json"
        history = [
            {"iteration": step, "recall": {"R@1": recall}} for step, recall in ((0, 0.02), (80, 0.48), (160, 0.5))
        ]
        file.write_text(json.dumps({**json.loads(file.read_text()), "history": history}))
    main(["text", "--mini", "--report", "--runs", str(tmp_path)])
    assert "Both spreads less over seeds than Rank: - against - points of standard deviation, undecided" in (
        capsys.readouterr().out
    )


def test_table5_compares_medians_and_every_branch(tmp_path, capsys):
    for row in TABLES["table5"].rows:
        for seed, recall in enumerate((0.5, 0.6, 0.9)):
            letters = row.experiment.descriptors
            branches = {column: {"R@1": recall - 0.1 - 0.01 * seed} for column in row.published if column != "Combined"}
            if len(letters) == 1:
                branches = {next(iter(row.published)): {"R@1": recall}}
            run_of(tmp_path, mini(row.experiment), seed, recall, branches)
    command = ["table5", "--mini", "--seeds", "3", "--report", "--runs", str(tmp_path)]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert re.search(r"\n +mini +60\.0 \(50\.0-90\.0\) +49\.0 \(40\.0-78\.0\) +49\.0 \(40\.0-78\.0\) +-\n", out)
    told = "60.0 (50.0-90.0) against 49.0 (40.0-78.0), 49.0 (40.0-78.0), undecided"
    assert f"SM Combined > SM SPoC, SM MAC: {told}" in out
    assert main([*command[:2], "--report", "--runs", str(tmp_path / "none")]) == 1


def test_figure3_shows_every_run_and_says_whether_the_papers_claims_hold(tmp_path, capsys):
    recall = dict(zip(CONFIGURATIONS, (0.5, 0.3, 0.4, *[0.45] * 8, 0.6)))
    for row in FIGURE3.rows[:12]:
        for seed in range(2):
            run_of(tmp_path, mini(row.experiment), seed, recall[row.experiment.descriptors] + 0.01 * seed)
    command = ["figure3", "--mini", "--seeds", "2", "--runs", str(tmp_path)]
    assert main(command) == 0  # all of it is there
    out = capsys.readouterr().out
    assert re.search(r"GSM +60\.5 \(60\.0 to 61\.0, 2\)", out)
    assert "1 of 9 combined descriptors are above the best single one, S: 'the majority outperforms' undecided" in out
    assert "are S and G, the best configuration is GSM: 'the best one combines the two best' undecided" in out
    assert (tmp_path / "reports/figure3-mini.png").stat().st_size > 10_000
    assert len(FIGURE3.rows) == 48
    assert len({row.experiment.dataset for row in FIGURE3.rows}) == 4
    cars = [row.experiment for row in FIGURE3.rows if row.name.startswith("CARS196")]
    assert cars == [row.experiment for row in TABLES["table5"].rows]  # the same runs
    assert main(["figure3", "--report", "--runs", str(tmp_path / "none")]) == 1


def test_the_scripts_only_call_and_all_alike():
    scripts = sorted(SCRIPTS.glob("*.sh"))
    assert [s.stem for s in scripts] == [
        "details",
        "efficiency",
        "extensions",
        "figure3",
        "figure4",
        "report",
        *(f"table{i}" for i in range(1, 8)),
        "text",
    ]
    bodies = {"\n".join(line for line in s.read_text().splitlines() if not line.startswith("#")) for s in scripts}
    assert len(bodies) == 1
    assert len(bodies.pop().splitlines()) == 3


def test_training_a_row_reports_the_whole_table(quick, tmp_path, capsys):
    command = ["table1", "--mini", "--runs", str(tmp_path)]
    assert main([*command, "--rows", "Rank"]) == 0  # all that was asked for
    assert "Both > Rank: not run" in capsys.readouterr().out
    assert main([*command, "--report"]) == 1
    assert main([*command, "--compare", "best"]) == 0
    names = sorted(f.name for f in (tmp_path / "reports").iterdir())
    assert names == [f"table1-mini{which}.{suffix}" for which in ("-best", "") for suffix in ("json", "md", "png")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("there", "other", "message"),
    [
        ('"weights": null', '"weights": "abc"', "are of different ImageNet parameters: keep only those that agree"),
        ('"parts": 1', '"parts": 2', "learned from batches in different numbers of parts"),
    ],
)
def test_runs_that_differ_in_weights_or_parts_are_not_averaged(there, other, message, quick, tmp_path, capsys):
    command = ["table1", "--mini", "--seeds", "2", "--runs", str(tmp_path)]
    assert main(command) == 0
    stored = next(tmp_path.glob(f"*/r{REVISION}-seed1/result.json"))
    stored.write_text(stored.read_text().replace(there, other))
    assert main([*command, "--report"]) == 2
    assert message in capsys.readouterr().err
    (tmp_path / "w.params").write_bytes(b"other")
    assert main([*command, "--weights", str(tmp_path / "w.params")]) == 2
    assert "is of another run (weights None there" in capsys.readouterr().err


def test_a_row_that_somebody_added_has_the_columns_that_fit_it():
    def columns(table, **experiment):
        row = Row("mine", Experiment(**experiment), {})
        return list(selection.columns_of(TABLES[table], row))

    assert columns("table6", descriptors="SG") == ["R@1", "R@2", "R@4", "R@8"]
    assert columns("table5", descriptors="SG") == ["Combined", "SPoC", "GeM"]
    assert columns("table5", descriptors="G") == ["GeM"]
    assert columns("table7", dataset="sop") == ["SOP R@1", "SOP R@10", "SOP R@100", "SOP R@1000"]


def test_rows_of_the_mini_figure_are_asked_for_by_the_name_they_are_shown_with(tmp_path, capsys):
    assert main(["figure3", "--mini", "--rows", "glyphs S*", "--report", "--runs", str(tmp_path)]) == 1
    assert main(["figure3", "--mini", "--rows", "CUB200 *", "--report", "--runs", str(tmp_path)]) == 2
    assert "no row of figure3 matches 'CUB200 *': its rows are glyphs S, glyphs M" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["empty", "missing", "a file", "of others"])
@pytest.mark.parametrize("flag", ["--record", "--plan", "--report", "--html"])
def test_a_folder_of_runs_that_cannot_be_one_is_refused(kind, flag, tmp_path, capsys):
    places = {"empty": "", "missing": tmp_path / "none", "a file": __file__, "of others": tmp_path}
    command = ["table1", "--mini", flag, "--runs", str(places[kind])]
    if kind == "empty":
        with pytest.raises(SystemExit, match="2"):
            main(command)
        assert "an empty name" in capsys.readouterr().err
    elif kind == "a file" or flag == "--record":
        assert main(command) == 2
        said = {"missing": "does not exist: name", "a file": "is a file: name", "of others": "holds no finished run"}
        assert said[kind] in capsys.readouterr().err
    else:
        assert main(command) in (0, 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["efficiency", "--json"],
        ["efficiency", "table1"],
        ["table1", "--write"],
        ["efficiency", "--plan"],
        ["efficiency", "--record"],
        ["efficiency", "--html"],
        ["efficiency", "--parity"],
    ],
)
def test_commands_that_do_not_go_together_are_refused(arguments, capsys):
    assert main(arguments) == 2
    assert "leave" in capsys.readouterr().err


def test_a_report_without_a_table_is_of_all_tables(tmp_path, capsys):
    run_of(tmp_path, mini(TABLES["table1"].rows[1].experiment), 0, 0.123)
    assert main(["--report", "--mini", "--runs", str(tmp_path)]) == 1  # incomplete
    out = capsys.readouterr().out
    assert all(f"Table {number}" in out for number in range(1, 8))
    assert "12.3" in out


@pytest.mark.slow
def test_other_peoples_rows_are_not_trained(capsys, tmp_path):
    assert main(["table7", "--rows", "Facility*", "--runs", str(tmp_path)]) == 2
    assert "are other people's work: choose rows of the paper's own method" in capsys.readouterr().err
    assert main(["table7", "--rows", "* ResNet-50 128", "--runs", str(tmp_path), "--data", str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert all(f"the folder of {name}, does not exist" in said for name in ("cub200", "cars196", "sop", "inshop"))


def test_an_empty_dataset_and_a_misspelt_flag_are_refused(capsys):
    for arguments, message in (
        (["report", "--dataset", ""], "argument --dataset: an empty name"),
        (["table1", "--wieghts", "x"], "--wieghts: did you mean --weights?"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        assert message in capsys.readouterr().err


def test_one_minute_is_no_plural():
    assert [duration(minutes) for minutes in (0.0, 0.4, 1.0, 1.2)] == ["1 minute", "1 minute", "1 minute", "2 minutes"]
