"""Claims of the text beside the tables: earlier work, the stride, learning with both losses; rows compared in pairs."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy import stats

from reproduce import selection
from reproduce.command import main
from reproduce.report import comparison, formats
from reproduce.tables import EVERYTHING, TABLE1, TABLE2, TABLE7, TEXT
from reproduce.verdicts import learning, orderings, pairs
from tests.reproduce.test_html import run
from tests.reproduce.test_significance import allowed

EARLIER = {  # section 4.5, Table 7: (CGD's row, benchmark): the best earlier work with its backbone and dimension
    ("CGD BN-Inception 64", "CUB200"): ("Proxy-NCA BN-Inception 64", 49.2),
    ("CGD BN-Inception 64", "CARS196"): ("Proxy-NCA BN-Inception 64", 73.2),
    ("CGD BN-Inception 64", "SOP"): ("Facility BN-Inception 64", 67.0),
    ("CGD BN-Inception 512", "CUB200"): ("HTL BN-Inception 512", 57.1),
    ("CGD BN-Inception 512", "CARS196"): ("HTL BN-Inception 512", 81.4),
    ("CGD BN-Inception 512", "SOP"): ("HTL BN-Inception 512", 74.8),
    ("CGD BN-Inception 128", "In-shop"): ("HTL BN-Inception 128", 80.9),
    ("CGD ResNet-50 128", "CUB200"): ("Margin ResNet-50 128", 63.9),
    ("CGD ResNet-50 128", "CARS196"): ("Margin ResNet-50 128", 86.9),
    ("CGD ResNet-50 128", "SOP"): ("Margin ResNet-50 128", 72.7),
    ("CGD ResNet-50‡ 1536", "CUB200"): ("BFE† ResNet-50‡ 1536", 74.1),
    ("CGD ResNet-50‡ 1536", "CARS196"): ("BFE† ResNet-50‡ 1536", 94.3),
    ("CGD ResNet-50‡ 1536", "SOP"): ("BFE† ResNet-50‡ 1536", 83.0),
    ("CGD ResNet-50‡ 1536", "In-shop"): ("BFE† ResNet-50‡ 1536", 89.1),
}


def entries(table, values, small=True, curves=None):
    """The entries of `table` from runs whose R@1 in % are `values`, {row: [...] or {seed: ...}}, and their `curves`."""
    results = {}
    for row in selection.rows_in(table, small):
        runs = values.get(row.name, {})
        runs = runs if isinstance(runs, dict) else dict(enumerate(runs))
        experiment = selection.experiment_of(row, small)
        if experiment:
            found = [run(experiment, seed, value / 100) for seed, value in runs.items()]
            for result in found:
                result["last"] = dict.fromkeys(result["last"], runs[result["seed"]] / 100)
                if curves:
                    curve = curves[row.name][result["seed"]]
                    result["history"] = [{"iteration": at, "recall": {"R@1": value / 100}} for at, value in curve]
            results[experiment] = [*results.get(experiment, []), *found]
    return comparison.entries(table, lambda experiment: results[experiment], small, "last")


def claim_of(table, name, *arguments, **options):
    small = options.get("small", True)
    return {claim.name: claim for claim in orderings.claims(table, entries(table, *arguments, **options), small)}[name]


def test_section_4_5_compares_each_row_with_the_best_earlier_work_of_its_backbone_and_dimension():
    rows = comparison.entries(TABLE7, lambda experiment: [], False, "last")
    earlier = {row.name for row in TABLE7.rows if not row.experiment}
    found = {
        tuple(ordering[0][0:1]) + (ordering[0][1][: -len(" R@1")],): ordering[1]
        for ordering in TABLE7.orderings
        if ordering[1][0] in earlier
    }
    assert found == {place: (name, f"{place[1]} R@1") for place, (name, _) in EARLIER.items()}
    claims = {claim.name: claim for claim in orderings.claims(TABLE7, rows)}
    for (row, benchmark), (name, number) in EARLIER.items():
        claim = claims[f"{row} {benchmark} R@1 > {name} {benchmark} R@1"]
        assert claim.ordering.outcome == "not run"
        assert claim.sides[1].mean == number


def test_a_printed_number_is_tested_with_its_rounding_against_us():
    values = [76.4, 77.1, 76.2, 76.9, 76.8]
    name = "CGD ResNet-50‡ 1536 CUB200 R@1 > BFE† ResNet-50‡ 1536 CUB200 R@1"
    claim = claim_of(TABLE7, name, {"CGD ResNet-50‡ 1536": values}, small=False)
    p = stats.ttest_1samp(values, 74.15, alternative="greater").pvalue
    assert claim.comparison.p == pytest.approx((p, stats.ttest_1samp(values, 74.05, alternative="less").pvalue))
    assert "holds (p = " in claim.sentence()
    assert "76.7 ± 0.4 against 74.1" in claim.sentence()
    worse = claim_of(TABLE7, name, {"CGD ResNet-50‡ 1536": [value - 5 for value in values]}, small=False)
    assert ", does not hold (p = " in worse.sentence()
    one = claim_of(TABLE7, name, {"CGD ResNet-50‡ 1536": values[:1]}, small=False)
    assert one.ordering.outcome == "undecided"


def test_few_means_that_equal_a_printed_number_are_said_to_differ_from_it():
    rng = np.random.default_rng(0)
    for runs in (2, 5):
        for off in (-0.05, 0.05):  # what rounding can have taken away
            p = np.array([pairs.printed_p(one, 74.1) for one in 74.1 + off + 0.3 * rng.normal(size=(200, runs))])
            assert ((p <= 0.05).mean(axis=0) <= allowed(200)).all()


def test_earlier_work_has_no_mini_form():
    rows = entries(TABLE7, {"CGD BN-Inception 64": [50.0, 51.0], "CGD BN-Inception 512": [60.0, 62.5]})
    claims = orderings.claims(TABLE7, rows, True)
    none = [claim for claim in claims if claim.ordering.outcome == "no mini form"]
    assert len(none) == len(EARLIER)
    assert none[0].sentence().endswith(" CUB200 R@1: no mini form")
    decided = next(claim for claim in claims if claim.name == "CGD BN-Inception 512 > CGD BN-Inception 64")
    assert "over 1 claim" in decided.ordering.how  # those without a mini form are not counted


def test_the_stride_is_a_row_that_can_be_trained_in_both_forms(capsys):
    assert TEXT in EVERYTHING
    kept, removed = TEXT.rows[:2]
    assert TEXT.orderings == (("Stride removed", "Stride kept"),)
    assert removed.experiment == TABLE2.rows[3].experiment  # its runs are shared
    assert replace(removed.experiment, keep_stride=True) == kept.experiment
    small_kept, small_removed = (selection.experiment_of(row, True) for row in (kept, removed))
    assert replace(small_removed, keep_stride=True) == small_kept
    assert main([]) == 0
    assert "text: What the text claims without a table" in capsys.readouterr().out


def test_rows_that_share_seeds_are_compared_seed_by_seed():
    rng = np.random.default_rng(0)
    common = rng.normal(80, 3, 10)
    both, rank = common + 0.5 + rng.normal(0, 0.1, 10), common
    claim = claim_of(TABLE1, "Both > Rank", {"Both": both, "Rank": rank})
    paired, apart = stats.ttest_rel(both, rank, alternative="greater"), stats.ttest_ind(both, rank)
    assert apart.pvalue > 0.1
    assert claim.ordering.p_holds == pytest.approx(paired.pvalue)
    assert claim.ordering.outcome == "holds"
    # Only the seeds that both have count
    half = claim_of(TABLE1, "Both > Rank", {"Both": dict(enumerate(both[:7])), "Rank": dict(enumerate(rank[3:], 3))})
    expected = stats.ttest_rel(both[3:7], rank[3:7], alternative="greater").pvalue
    assert half.ordering.p_holds == pytest.approx(expected)
    # Rows without a common seed are compared as independent ones
    other = claim_of(TABLE1, "Both > Rank", {"Both": dict(enumerate(both[:5])), "Rank": dict(enumerate(rank[5:], 5))})
    expected = stats.ttest_ind(both[:5], rank[5:], equal_var=False, alternative="greater").pvalue
    assert other.ordering.p_holds == pytest.approx(expected)


def test_what_the_letters_show_the_other_way_round_is_opposite_here():
    values = {"Both": [80.0, 80.2, 80.1], "Rank": [82.0, 82.1, 82.3]}
    for small, word in ((True, "opposite here"), (False, "does not hold")):
        text = formats.as_text(TABLE1, entries(TABLE1, values, small=small), small, "last")
        assert f", {word} (p = " in text
        assert "DOES NOT HOLD" not in text
        assert (
            "The paper's orderings, in our numbers (Holm's correction over 1 tested ordering, 5 % on each side):"
            in text
        )


def test_an_undecided_ordering_of_the_letters_says_nothing_for_or_against_the_paper():
    for both, order in ((81.0, "the paper's"), (79.0, "the opposite")):
        claim = claim_of(TABLE1, "Both > Rank", {"Both": [both], "Rank": [80.0]})
        assert claim.outcome() == f"undecided; the means are in {order} order (runs: 1, 1)"


def test_claims_of_several_tables_are_one_family():
    values = {
        "Both": [80.0, 80.2, 80.1],
        "Rank": [79.0, 79.1, 79.3],
        "None": [80.0, 80.2, 80.1],
        "LS": [81.0, 80.9, 82.0],
    }
    rows = [(TABLE1, entries(TABLE1, values)), (TABLE2, entries(TABLE2, values))]
    together, alone = orderings.together(rows, True), orderings.claims(*rows[0], True)
    tested = sum(claim.ordering.p_holds is not None for found in together.values() for claim in found)
    assert tested > 1
    assert together["table1"][0].ordering.p_holds > alone[0].ordering.p_holds
    assert f"over {tested} claims" in together["table1"][0].ordering.how


def rising(end, at, last=1000):
    """A curve that rises in a straight line to `end` at iteration `at`, and stays there; eleven evaluations."""
    return [(i * last // 10, end * min(1.0, i * last / 10 / at)) for i in range(11)]


def test_a_recall_is_reached_between_two_evaluations():
    assert learning.reached([(0, 10.0), (100, 30.0), (200, 70.0)], 50.0) == 150.0
    assert learning.reached([(0, 60.0), (100, 30.0)], 50.0) == 0.0
    assert learning.reached([(0, 10.0), (100, 30.0)], 30.0) == 100.0
    assert learning.reached([(0, 10.0), (100, 30.0)], 31.0) is None
    assert learning.reached([(0, 10.0), (100, 5.0), (200, 20.0)], 15.0) == pytest.approx(100 + 100 * 10 / 15)


def test_with_both_losses_training_is_faster_when_it_reaches_the_recall_of_rank_in_fewer_iterations():
    rank = {seed: rising(80, 900 + 10 * seed) for seed in range(5)}
    both = {seed: rising(90, 500 + 15 * seed) for seed in range(5)}
    cells, found = learning.sooner(both, rank)
    times = [[learning.reached(side[seed], 72.0) for seed in range(5)] for side in (both, rank)]  # 90 % of 80
    assert list(cells[0].values) == times[0]
    assert found.p[0] == pytest.approx(stats.ttest_rel(times[1], times[0], alternative="greater").pvalue)
    assert learning.sooner(rank, rank)[1].outcome == "undecided"
    never = {**both, 3: rising(60, 500)}
    assert learning.sooner(never, rank)[1].p[0] == 1.0  # one run never gets there: it is not said to hold
    short = {seed: curve[:1] + curve[-1:] for seed, curve in both.items()}
    assert "fewer than 5 times" in learning.sooner(short, rank)[1].how
    assert learning.sooner({}, rank)[1].outcome == "not run"


def test_the_text_says_whether_training_is_faster_and_steadier():
    rng = np.random.default_rng(0)
    ends = {"Rank": rng.normal(80, 3, 10), "Both": rng.normal(90, 0.3, 10)}
    curves = {
        name: [rising(end, at + 10 * seed) for seed, end in enumerate(ends[name])]
        for name, at in (("Rank", 900), ("Both", 500))
    }
    values = {name: ends[name] for name in ends}
    text = formats.as_text(
        TEXT, entries(TEXT, values, curves=curves | {"Stride kept": [], "Stride removed": []}), True, "last"
    )
    assert "Both reaches 90 % of Rank's R@1 sooner than Rank: " in text
    assert " iterations, holds (p = " in text
    assert "Both spreads less over seeds than Rank: 0." in text
    assert " points of standard deviation, holds (p = " in text


def test_the_spreads_of_pairs_are_compared_by_the_distances_from_their_medians():
    rng = np.random.default_rng(0)
    wide, narrow = rng.normal(0, 3, 10), rng.normal(0, 0.5, 10)
    far, near = (abs(side - np.median(side)) for side in (wide, narrow))
    p = pairs.spread_p(wide, narrow)
    assert p == pytest.approx([stats.ttest_rel(far, near, alternative=side).pvalue for side in ("greater", "less")])
    assert p[0] < 0.05
    assert pairs.spread_p(narrow, wide) == pytest.approx(p[::-1])
    assert math.isnan(pairs.spread_p([1.0, 2.0], [1.0, 3.0])[0])
    assert math.isnan(pairs.spread_p([1.0] * 5, [1.0] * 5)[0])


@pytest.mark.parametrize("runs", [5, 10])
@pytest.mark.parametrize("shared", [0.0, 0.9])
@pytest.mark.parametrize("draw", ["normal", "heavy", "skewed"])
def test_few_pairs_of_equal_spread_are_said_to_spread_differently(draw, runs, shared):
    rng = np.random.default_rng(0)
    tables = 400
    shapes = {"normal": rng.normal, "heavy": partial(rng.standard_t, 5), "skewed": partial(rng.gamma, 4)}
    own, common = (shapes[draw](size=(tables, sides, runs)) for sides in (2, 1))
    values = math.sqrt(shared) * common + math.sqrt(1 - shared) * own
    found = np.array([pairs.spread_p(*both) for both in values])
    assert ((found <= 0.05).mean(axis=0) <= allowed(tables)).all()
