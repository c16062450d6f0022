"""What another reading of an open detail changes."""

import re

import pytest
from scipy import stats

from gluon_cgd.experiment import Experiment
from reproduce import selection
from reproduce.command import main
from reproduce.page import html
from reproduce.report import comparison, formats
from reproduce.tables import DETAILS, TABLES
from reproduce.verdicts import effects
from tests.reproduce.test_html import run

VALUES = {"default": (0.80, 0.82, 0.81), "4 x 32": (0.78, 0.79, 0.80), "batch norm frozen": (0.81,)}


def entries(small=True, values=VALUES, first=0):
    """The entries of the details from runs whose recalls are `values`; the default's seeds start at `first`."""
    results = {}
    for row in DETAILS.rows:
        start = first if row.name == "default" else 0
        results[selection.experiment_of(row, small)] = [
            {
                "seed": start + i,
                "experiment": row.experiment.to_dict(),
                "last": dict.fromkeys(("R@1", "R@2", "R@4", "R@8"), value),
                "untrained": {},
            }
            for i, value in enumerate(values.get(row.name, ()))
        ]
    return comparison.entries(DETAILS, results.__getitem__, small, "last")


def test_the_two_readings_differ_from_the_default_in_nothing_else():
    default, batches, frozen = (row.experiment for row in DETAILS.rows)
    assert default == TABLES["table2"].rows[3].experiment  # its runs are shared
    assert (default.batch_classes, default.batch_images) == (32, 4)
    assert {**default.changes(), "batch_classes": 4, "batch_images": 32} == batches.changes()
    assert {**default.changes(), "frozen_batch_norm": True} == frozen.changes()
    assert (Experiment().batch_classes, Experiment().frozen_batch_norm) == (32, False)
    small, few_classes, small_frozen = (selection.experiment_of(row, True) for row in DETAILS.rows)
    assert few_classes.batch_size == small.batch_size
    assert (few_classes.batch_classes, few_classes.batch_images) == (4, 9)
    assert {**small.changes(), "batch_classes": 4, "batch_images": 9} == few_classes.changes()
    assert {**small.changes(), "frozen_batch_norm": True} == small_frozen.changes()


def test_an_effect_is_the_mean_difference_of_pairs_with_students_interval():
    batches, frozen = effects.sentences(DETAILS, entries())
    low, high = stats.t.interval(0.95, 2, loc=-2, scale=1 / 3**0.5)  # of -2, -3 and -1
    assert batches == (
        f"4 x 32 against default: -2.0 points of R@1 (95 % interval {low:+.1f} to {high:+.1f}; 3 pairs of runs)"
    )
    assert frozen == "batch norm frozen against default: +1.0 points of R@1 (one pair of runs)"


def test_only_runs_of_equal_seeds_are_pairs():
    batches, frozen = effects.sentences(DETAILS, entries(first=1))  # seeds 1, 2, 3 against 0, 1, 2
    assert batches.startswith("4 x 32 against default: -1.5 points")
    assert batches.endswith("; 2 pairs of runs)")
    assert frozen == "batch norm frozen against default: not run"


def test_a_table_of_the_paper_has_no_effects():
    assert effects.sentences(TABLES["table2"], []) == []


@pytest.mark.parametrize("small", [True, False])
def test_details_are_reported_without_a_published_number_or_a_verdict(small):
    rows = entries(small)
    for text in (formats.as_text(DETAILS, rows, small, "last"), formats.body(DETAILS, rows, small)):
        sources = re.findall(r"\b(published|mini|ours|untrained|difference|verdict)\b +[|\d-]", text)
        assert set(sources) == ({"mini", "untrained"} if small else {"ours"})
        assert "4 x 32 against default: -2.0 points of R@1" in text
    assert not any(row.verdicts for row in rows)
    assert comparison.status(DETAILS, rows, 1, small) == 0


def test_the_page_has_them_too():
    page = html.page([DETAILS], lambda experiment: [run(experiment, seed) for seed in range(2)], True)
    assert "4 x 32 against default: +0.0 points of R@1 (95 % interval +0.0 to +0.0; 2 pairs of runs)" in page
    assert "<td>published</td>" not in page


def test_they_have_a_command(tmp_path, capsys):
    assert main(["details", "--mini", "--plan", "--seeds", "10", "--runs", str(tmp_path)]) == 0
    assert re.search(r"together +30 ", capsys.readouterr().out)
