"""The student report's tables on pictures of one's own."""

import json
import re
from dataclasses import replace
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd.backbones import BACKBONES
from gluon_cgd.evaluate import accuracy
from gluon_cgd.experiment import Experiment
from reproduce import selection, store, student
from reproduce.command import EVERYTHING, main
from reproduce.tables import TABLES, Row, mini
from reproduce.training import backends, plan
from tests import miniatures

WHOLE = student.table(Experiment(), False)


def published(row, column):
    return next(one for one in WHOLE.rows if one.name == row).published[column]


@pytest.mark.parametrize(
    ("row", "numbers"),
    [
        ("S 1536", "99.8 81.3 86.9 92.0 94.9"),
        ("G 1536", "100.0 81.3 87.5 92.0 94.9"),
        ("M 1536", "32.3 14.7 23.3 32.9 53.4"),
        ("GS 512", "99.2 75.0 84.1 90.9 96.0"),
        ("SG 512", "100 86.4 90.3 94.3 98.3"),
        ("GS 768", "99.8 83.0 87.5 91.5 94.9"),
        ("SG 768", "100 85.2 88.6 93.8 97.7"),
    ],
)
def test_published_numbers_are_the_reports(row, numbers):
    for column, value in zip(student.SINGLE, numbers.split()):
        assert published(row, column).mean == float(value)


def test_table_3_has_what_the_report_prints():
    rows = [row for row in WHOLE.rows if row.name in student.BACKBONES]
    assert [[cell.mean for cell in row.published.values()] for row in rows] == [
        [99.9, 83.5, 96.0],
        [100, 79.5, 94.9],
        [99.9, 83.5, 97.2],
        [100, 84.7, 97.2],
        [100, 86.4, 98.3],
        [100, 85.8, 96.0],
    ]
    assert {cell.statistic for row in WHOLE.rows for cell in row.published.values()} == {"single"}


def test_every_recall_is_one_of_eight_pictures_of_22_classes():
    for row in WHOLE.rows:
        for column, cell in row.published.items():
            if column.startswith("R@"):
                pictures = cell.mean * 22 * 8 / 100
                assert abs(pictures - round(pictures)) < 0.1 * 22 * 8 / 100, (row.name, column)  # it cut some decimals


def test_rows_are_what_the_report_says_of_them():
    own = {row.name: row.experiment for row in WHOLE.rows}
    assert own["M 1536"].changes() == {"backbone": "wide_resnet50", "descriptors": "M"}
    assert own["GS 768"].changes() == {"backbone": "wide_resnet50", "descriptors": "GS", "dim": 768}
    assert own["ResNet50"].changes() == {"dim": 512}
    assert own["SG 512"] == own["Wide-ResNet50"]
    assert len(set(own.values())) == 12
    assert len({one.backbone for one in own.values()}) == 6


def test_it_is_in_no_count_of_the_paper(capsys, tmp_path):
    assert WHOLE.name not in TABLES
    assert WHOLE not in EVERYTHING
    assert main(["--json", "--runs", str(tmp_path)]) == 0
    assert "report" not in {row["table"] for row in json.loads(capsys.readouterr().out)}


def test_the_mini_form_shares_runs_with_table_5_and_prints_the_layout(tmp_path, capsys):
    small = student.table(Experiment(), True)
    own = {selection.experiment_of(row, True) for row in small.rows if row.experiment}
    assert len(own) == 7 + 3
    assert {one.dataset for one in own} == {"glyphs_mini"}
    assert {one.backbone for one in own} == {"small_resnet", *student.NETWORKS}
    table5 = {mini(row.experiment) for row in TABLES["table5"].rows}
    assert {one.descriptors for one in own & table5} == {"S", "G", "M", "SG"}
    assert main(["report", "--mini", "--report", "--runs", str(tmp_path)]) == 1  # nothing has run
    out = capsys.readouterr().out
    assert re.search(
        r"\nConfig\. +Dim\. +Train accuracy +R@1 +R@2 +R@4 +R@8\nS +1536 +report +99\.8 +81\.3 +86\.9 ", out
    )
    assert re.search(r"\nBackbone +Train accuracy +R@1 +R@8\nResNet50 +report +99\.9 +83\.5 +96\.0\nResNet101 ", out)
    assert re.findall("^Table .", out, re.MULTILINE) == ["Table 1", "Table 2", "Table 3"]
    assert "reproduced" not in out
    assert len(plan.wanted([small], None, True, tmp_path)) == 10


class Net:
    """Its logits are a picture's first three red values, normalised: (B, 3)."""

    def __call__(self, x):
        return None, x[:, 0, 0, :3]


def test_the_accuracy_is_that_of_the_classifier_and_ties_count_against():
    logits = np.array([[9, 0, 0], [0, 0, 9], [0, 9, 0], [0, 9, 0], [7, 7, 0]], np.uint8)
    pictures = np.broadcast_to(logits[:, None, :, None], (5, 3, 3, 3))
    labels = [4, 9, 9, 7, 4]  # classes 0, 2, 2, 1, 0: right, right, wrong, right, undecided
    assert accuracy(Net(), pictures, labels, mx.cpu()) == 3 / 5


@pytest.fixture
def quick(monkeypatch, small_experiment, small_split):
    """Two rows of the report that train in a second, in this process."""
    own = {name: replace(small_experiment, descriptors=name.split()[0]) for name in ("S 1536", "SG 512")}
    rows = tuple(Row(row.name, own.get(row.name), row.published, own.get(row.name)) for row in WHOLE.rows)
    monkeypatch.setattr(student, "table", lambda base, small: replace(WHOLE, rows=rows))
    monkeypatch.setattr(store, "load_data", lambda experiment, data: small_split)
    monkeypatch.setattr(
        backends.local,
        "train",
        lambda todo, *_, runs, data, weights, progress, parts, engine: backends.here(
            todo, None, runs, data, weights, parts, engine
        ),
    )


@pytest.mark.slow
def test_it_is_trained_printed_and_written_once(quick, tmp_path, capsys, monkeypatch):
    command = ["report", "--mini", "--runs", str(tmp_path)]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert re.search(r"S +1536 +report +99\.8 .*\n +mini( +\d+\.\d){5}\n +untrained +-( +\d+\.\d){4}\n", out)
    assert sorted(file.name for file in (tmp_path / "reports").iterdir()) == ["report-mini.json", "report-mini.md"]
    markdown = (tmp_path / "reports/report-mini.md").read_text()
    assert "## Table 2. Results of combining S and G, Wide-ResNet50" in markdown
    assert "| S | 1536 | report | 99.8 | 81.3 | 86.9 | 92.0 | 94.9 |" in markdown
    files = list(tmp_path.glob("*/*/train_accuracy.json"))
    assert len(files) == 2
    monkeypatch.setattr(store, "train", None)  # would fail if anything were trained again
    monkeypatch.setattr("gluon_cgd.evaluate.accuracy", None)
    assert main(command) == 0
    assert capsys.readouterr().out == out
    assert main([*command, "--report"]) == 0
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    stored = json.loads(next(tmp_path.glob("*-S-8-*/*/train_accuracy.json")).read_text())["accuracy"]["last"]
    assert first["ours"]["Train accuracy"]["mean"] == 100 * stored
    for broken in ("", "[]", '{"accuracy": {"last": 0.5}, "parameters_sha256": "another"}'):
        files[0].write_text(broken)
        assert main([*command, "--report"]) == 1  # it is not the run's


@pytest.mark.parametrize("accuracy", [7, [1], {"last": "x"}, {"last": True}, {"last": 2}, {"other": 0.5}])
def test_an_accuracy_that_cannot_be_is_measured_again(accuracy, tmp_path):
    result = {"parameters_sha256": "a"}
    for stored, known in (({"last": 0.5}, {"last": 0.5}), (accuracy, {})):
        (tmp_path / student.ACCURACY).write_text(json.dumps({**result, "accuracy": stored}))
        assert student.accuracies(tmp_path, result) == known


def test_a_folder_gets_what_fits_it(tmp_path, capsys, caplog):
    miniatures.folder(tmp_path / "photos", classes=4, images=10)
    command = ["report", "--dataset", str(tmp_path / "photos"), "--runs", str(tmp_path / "runs")]
    assert main([*command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 13
    for row in rows:
        chosen = row["experiment"]
        assert (chosen["split"], chosen["batch_classes"], chosen["held_out"]) == ("images", 4, 0.2)
        assert row["verdicts"] == {}
    assert main([*command, "--plan"]) == 0
    assert re.search(r"report +12 +12 +0 +0 +12\n", capsys.readouterr().out)
    assert "--batch-classes 4: all training classes" in caplog.text


def test_without_weights_one_message_says_all_that_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("gluon_cgd.fetch.download.time.sleep", lambda seconds: None)
    miniatures.folder(tmp_path / "photos", classes=3, images=6)
    assert main(["report", "--dataset", str(tmp_path / "photos"), "--runs", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    for backbone in student.BACKBONES.values():
        network = BACKBONES[backbone].model
        assert f"{network}'s ImageNet parameters cannot be had" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report"], "report needs --dataset: name a folder"),
        (["report", "--dataset", "/nowhere"], "--dataset /nowhere is not there"),
        (["report", "--dataset", "cars196"], "--dataset cars196 is not there"),
        (["report", "--mini", "--dataset", "x"], "--mini runs on the embedded benchmark"),
        (["report", "table1", "--mini"], "report is printed on its own"),
        (["report", "--mini", "--html"], "report is printed on its own"),
        (["table1", "--mini", "--dataset", "x"], "--dataset x works only with report"),
        (["report", "--mini", "--rows", "ResNet50"], "have no mini form"),
        (["report", "--mini", "--rows", "X*"], "no row of report matches 'X*'"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(arguments, message, capsys, tmp_path):
    assert main([*arguments, "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1


def test_the_scripts_header_counts_its_runs():
    script = (Path(student.__file__).parent / "report.sh").read_text()
    assert f"Trains {len({row.experiment for row in WHOLE.rows})} runs ({len(WHOLE.rows)} rows, one seed" in script
    small = student.table(Experiment(), True)
    assert f"--mini: {len({row.mini for row in small.rows if row.mini})} runs" in script
