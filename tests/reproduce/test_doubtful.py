"""Runs that collapsed, or are worse than before training, are marked wherever their numbers are shown."""

import json

import pytest

from gluon_cgd.runs import regime
from reproduce import selection, store, student
from reproduce.command import main
from reproduce.documents import summary
from reproduce.page import html
from reproduce.report import comparison, formats, plot
from reproduce.tables import EVERYTHING, FIGURE3, TABLES
from reproduce.verdicts import care, effects, orderings
from tests.reproduce.test_html import run
from tests.reproduce.test_reproduce import run_of

TABLE1 = TABLES["table1"]
NARROW = {"spread": {"same": 0.9912, "other": 0.9876}, "losses": {"ranking": 0.1021}}


def fallen(experiment, seed, recall=0.8):
    """A result whose last recall is below the untrained one, in a collapsed embedding."""
    result = run(experiment, seed, recall)
    result["untrained"] = dict.fromkeys(result["untrained"], 0.9)
    result["history"][-1].update(NARROW)
    return result


def results(experiment):
    """Of "Both" one run in three has fallen, of all others none."""
    bad = selection.experiment_of(TABLE1.rows[1], True)
    return [fallen(experiment, 0) if seed == 0 and experiment == bad else run(experiment, seed) for seed in range(3)]


def test_a_report_counts_such_runs_of_each_row_as_text_markdown_and_json():
    rows = comparison.entries(TABLE1, results, True, "last")
    told = [
        "runs that are worse than untrained: Both (1 of 3)",
        "runs that are collapsed to nearly one point: Both (1 of 3)",
    ]
    assert comparison.doubtful(rows) == told
    assert "\n".join(["", formats.DOUBT, *told, ""]) in formats.as_text(TABLE1, rows, True, "last")
    assert "\n".join(f"- {line}" for line in told) in formats.body(TABLE1, rows, True)
    assert [row.as_dict()["findings"] for row in rows] == [
        {},
        {"worse than untrained": 1, "collapsed to nearly one point": 1},
    ]
    good = comparison.entries(TABLE1, lambda experiment: [run(experiment, 0)], True, "last")
    assert formats.DOUBT not in formats.as_text(TABLE1, good, True, "last")


def test_figure_3_and_the_student_report_count_them_too():
    rows = comparison.entries(FIGURE3, lambda experiment: [fallen(experiment, 0)], True, "last")
    assert "worse than untrained: glyphs S (1 of 1)" in formats.as_text(FIGURE3, rows, True, "last")
    assert "- runs that are worse than untrained: glyphs S (1 of 1)" in formats.body(FIGURE3, rows, True)
    table = student.table(student.base_experiment(None, True)[0], True)
    rows = comparison.entries(table, lambda experiment: [fallen(experiment, 0)], True, "last")
    assert "worse than untrained: S 1536 (1 of 1)" in student.as_text(table, rows, True, "last")


@pytest.mark.slow
def test_the_page_marks_the_rows_and_the_runs():
    page = html.page([TABLE1], results, True)
    assert "runs that are worse than untrained: Both (1 of 3)" in page
    assert page.count("Seed 0: R@1 after training, ") == 1
    assert "Seed 0: The embedding has collapsed to nearly one point" in page
    assert "To be read with care" not in html.page([TABLE1], lambda experiment: [run(experiment, 0)], True)


@pytest.mark.parametrize(("ranking", "marked"), [(0.1021, True), (0.05, False)])
def test_a_run_of_an_earlier_version_is_marked_by_its_log(ranking, marked, tmp_path, capsys):
    experiment = selection.experiment_of(TABLE1.rows[0], True)
    run_of(tmp_path, experiment, 0, 0.5)
    place = store.folder(tmp_path, experiment, 0)
    result = json.loads((place / "result.json").read_text())
    history = [{"iteration": step, "recall": {"R@1": value}} for step, value in ((0, 0.02), (50, 0.5))]
    (place / "result.json").write_text(json.dumps({**result, "history": history, "best_iteration": 50}))
    (place / "train.log").write_text(f"x Epoch[0] Batch [50]\tSpeed: 1.0 samples/sec\tranking={ranking}\tlr=0.1\n")
    assert main(["table1", "--mini", "--report", "--runs", str(tmp_path)]) == 1
    assert (
        "perhaps collapsed (the ranking loss ended at its margin): Rank (1 of 1)" in capsys.readouterr().out
    ) == marked
    assert store.every(tmp_path, experiment)[0]["history"] == history  # what is recorded is what the run wrote


def test_the_documents_mark_recorded_runs():
    """Batches of few classes keep the ranking loss at its margin for most of the steps of the mini form."""
    said = "\n- runs that have a ranking loss that had not left its margin at the first decay: 4 x 32 ("
    assert said in summary.tables()


def at_the_margin(experiment, seed, *rankings):
    """A result whose mean ranking loss was `rankings`, a line each ten iterations."""
    curve = {"iteration": [10 * (place + 1) for place in range(len(rankings))], "ranking": list(rankings)}
    return {**run(experiment, seed), "iterations": 10 * len(rankings), "curve": curve}


@pytest.mark.parametrize("small", [True, False])
def test_runs_whose_ranking_loss_stayed_at_its_margin_are_named_in_both_forms(small):
    rank, both = (selection.experiment_of(row, small) for row in TABLE1.rows)

    def results(experiment):
        never, late, left = (0.11,) * 10, (0.11,) * 9 + (0.04,), (0.04,) * 10
        return (
            [at_the_margin(rank, 0, *never), at_the_margin(rank, 1, *late)]
            if experiment == rank
            else [at_the_margin(both, 0, *left)]
        )

    rows = comparison.entries(TABLE1, results, small, "last")
    told = [
        "runs that have a ranking loss that never left its margin: Rank (1 of 2)",
        "runs that have a ranking loss that had not left its margin at the first decay: Rank (1 of 2)",
    ]
    assert comparison.doubtful(rows) == told
    assert "\n".join(["", formats.DOUBT, *told, ""]) in formats.as_text(TABLE1, rows, small, "last")
    assert "\n".join(f"- {line}" for line in told) in formats.body(TABLE1, rows, small)
    page = html.page([TABLE1], results, small)
    for sentence in (*told, "Seed 0: The ranking loss never left its margin: its lowest mean, 0.1100 at iteration 10"):
        assert sentence in page
    assert "Seed 1: The ranking loss left its margin only after the first decay of the learning rate (at itera" in page


def test_the_curve_of_a_run_is_drawn_with_its_margin_and_the_first_decay():
    experiment = selection.experiment_of(TABLE1.rows[1], True)
    (axes,) = plot.escape(at_the_margin(experiment, 0, *(0.11,) * 4, 0.03, *(0.02,) * 5)).axes
    drawn = {line.get_label(): line for line in axes.lines}
    assert list(drawn["mean ranking loss"].get_ydata()) == [0.11] * 4 + [0.03] + [0.02] * 5
    margin, half = experiment.margin, experiment.margin / 2
    assert set(drawn[f"margin, {margin:.3g}"].get_ydata()) == {margin}
    assert set(drawn[f"left: below {half:.3g}"].get_ydata()) == {half}
    decay = round(100 * experiment.decay_at[0])
    assert set(drawn["first decay of the rate"].get_xdata()) == {decay}
    assert list(axes.lines[-1].get_xydata()[0]) == [50, 0.03]  # where it left
    with pytest.raises(ValueError, match="has no curve of its ranking loss"):
        plot.escape(run(experiment, 0))


def findings_of(row, **counts):
    """The entry `row` with runs that have these findings: {word of care.WORDS: how many}."""
    names = {word.replace(" ", "_"): name for name, word in care.WORDS.items()}
    return row._replace(findings={names.get(word, word): count for word, count in counts.items()})


def test_an_ordering_that_a_run_decides_which_says_little_is_marked():
    rank, both = comparison.entries(TABLE1, lambda experiment: [run(experiment, seed) for seed in (0, 1)], True, "last")
    for word in care.WORDS.values():
        rows = [findings_of(rank, **{word.replace(" ", "_"): 2}), both]
        (claim,) = orderings.claims(TABLE1, rows, True)
        assert claim.outcome().endswith(f"; read with care: Rank (2 of 2 {word})")
        assert claim.sentence().endswith(f"; read with care: Rank (2 of 2 {word})")
    (claim,) = orderings.claims(TABLE1, [rank._replace(findings={regime.LATE: 2}), both], True)
    assert "care" not in claim.sentence()  # it has learned by its ranking loss, late
    rows = [findings_of(rank, collapsed=1, worse_than_untrained=2), findings_of(both, never_off_the_margin=1)]
    (claim,) = orderings.claims(TABLE1, rows, True)
    told = "Both (1 of 2 never off the margin); Rank (2 of 2 worse than untrained, 1 of 2 collapsed)"
    assert claim.sentence().endswith(f"; read with care: {told}")


def test_the_mark_stands_wherever_an_ordering_is_printed(monkeypatch):
    mark = "; read with care: Both (1 of 3 worse than untrained, 1 of 3 collapsed)"
    rows = comparison.entries(TABLE1, results, True, "last")
    assert mark in formats.as_text(TABLE1, rows, True, "last")
    assert mark in formats.body(TABLE1, rows, True)
    assert mark in html.page([TABLE1], results, True)
    monkeypatch.setattr(summary, "EVERYTHING", [TABLE1])
    monkeypatch.setattr(summary, "entries", lambda name, small: rows if name == "table1" else [])
    summary.everything_tested.cache_clear()
    assert mark in summary.claims()
    assert "1 of them rest on runs that collapsed, got worse or never left the margin." in summary.counted()
    assert "; 1 to be read with care |" in summary.status()
    summary.everything_tested.cache_clear()


def test_columns_of_one_row_and_what_is_said_of_learning_are_marked_once():
    table = TABLES["table5"]
    rows = comparison.entries(table, lambda experiment: [fallen(experiment, seed) for seed in (0, 1)], True, "last")
    marked = [claim.care for claim in orderings.claims(table, rows, True)]
    assert "read with care: SM (2 of 2 worse than untrained, 2 of 2 collapsed)" in marked
    assert all(text.count("collapsed") == 1 for text in marked)
    told = next(table for table in EVERYTHING if table.learning)
    rows = comparison.entries(told, lambda experiment: [fallen(experiment, seed) for seed in (0, 1)], True, "last")
    assert all(claim.care for claim in orderings.claims(told, rows, True) if claim.ordering.outcome != "no mini form")


def test_what_another_reading_changes_is_marked_too():
    table = next(table for table in EVERYTHING if table.baseline)
    rows = comparison.entries(table, lambda experiment: [run(experiment, seed) for seed in (0, 1)], True, "last")
    assert not any("care" in line for line in effects.sentences(table, rows))
    name = table.baseline
    rows = [findings_of(row, never_off_the_margin=2) if row.row == name else row for row in rows]
    told = effects.sentences(table, rows)
    assert told
    assert all(line.endswith(f"; read with care: {name} (2 of 2 never off the margin)") for line in told)


def test_figure_3_in_the_digest_is_marked(monkeypatch):
    rows = comparison.entries(FIGURE3, lambda experiment: [fallen(experiment, 0)], True, "last")
    monkeypatch.setattr(summary, "entries", lambda name, small: rows)
    assert "- Figure 3 is to be read with care: glyphs S (1 of 1 worse than untrained, 1 of 1 coll" in summary.figure3()
