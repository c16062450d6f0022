"""Verdicts beside plain computations of the same, and what is refused."""

import math

import numpy as np
import pytest
from scipy import stats

from reproduce.tables import TABLES, Cell
from reproduce.verdicts import significance
from reproduce.verdicts.order import orders
from reproduce.verdicts.verdict import Verdict, judge, sentence


def only(values, cell, **options):
    """The verdict of a table of one cell."""
    return judge({"place": (values, cell)}, **options)["place"]


def order(high, *low, level=0.05):
    """The Ordering of one claim: the runs `high` are better than those of each list in `low`."""
    return orders({"the claim": (high, low)}, level)["the claim"]


@pytest.mark.parametrize("std", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("values", [[93.4, 93.9, 93.1], [93.2, 93.3, 93.25, 93.3, 93.1], [93.0] * 4])
def test_a_mean_and_std_are_judged_at_the_worst_of_what_was_printed(values, std):
    verdict = only(values, Cell(93.1, std, 5), margin=0.6)
    different, equivalent, low, high = [], [], [], []
    for mean in (93.05, 93.1, 93.15):
        # What the paper's std can have been, divided by n or by n - 1
        for theirs in (*np.linspace(max(std - 0.05, 1e-9), std + 0.05, 20), (std + 0.05) * math.sqrt(5 / 4)):
            v, w = np.var(values, ddof=1) / len(values), theirs**2 / 5
            difference, error = np.mean(values) - mean, math.sqrt(v + w)
            freedom = (v + w) ** 2 / (v**2 / (len(values) - 1) + w**2 / 4)
            different.append(2 * stats.t.sf(abs(difference) / error, freedom))
            above, below = (0.6 - difference) / error, (0.6 + difference) / error
            equivalent.append(max(stats.t.sf(above, freedom), stats.t.sf(below, freedom)))
            low.append(difference - stats.t.ppf(0.975, freedom) * error)
            high.append(difference + stats.t.ppf(0.975, freedom) * error)
    assert max(different) * (1 - 1e-9) <= verdict.p_different <= 4 * max(different)
    assert max(equivalent) * (1 - 1e-9) <= verdict.p_equivalent <= 4 * max(equivalent)
    assert verdict.interval[0] <= min(low) + 1e-9
    assert verdict.interval[1] >= max(high) - 1e-9
    assert verdict.difference == pytest.approx(np.mean(values) - 93.1)
    assert (verdict.interval[0] + verdict.interval[1]) / 2 == pytest.approx(verdict.difference)


def test_the_tests_of_a_mean_are_welchs_when_nothing_is_rounded(monkeypatch):
    monkeypatch.setattr(significance, "ROUNDING", 0.0)
    rng = np.random.default_rng(1)
    ours, theirs = 93.4 + 0.2 * rng.normal(size=5), 93.1 + 0.3 * rng.normal(size=5)
    verdict = only(ours, Cell(theirs.mean(), np.std(theirs), 5))  # divided by n, which the test allows for
    error, freedom = significance.welch(ours.std(ddof=1), 5, theirs.std(ddof=1), 5)
    lowest = min(freedom, significance.welch(ours.std(ddof=1), 5, np.std(theirs), 5)[1])
    t = abs(ours.mean() - theirs.mean()) / error
    assert verdict.p_different == pytest.approx(2 * stats.t.sf(t, lowest))
    scipys = stats.ttest_ind(ours, theirs, equal_var=False).pvalue
    assert scipys <= verdict.p_different <= 1.1 * scipys


def test_a_median_is_compared_as_a_median_with_our_spread_for_theirs():
    values = [94.0, 94.3, 94.6, 94.4, 95.4]
    verdict = only(values, Cell(94.5, None, 10, "median"))
    error = np.std(values, ddof=1) * math.sqrt(math.pi / 2 * (1 / 5 + 1 / 10))
    assert verdict.difference == pytest.approx(-0.1)
    assert verdict.p_different == pytest.approx(2 * stats.t.sf(0.05 / error, 4))
    assert verdict.p_equivalent == pytest.approx(stats.t.sf(0.85 / error, 4))
    assert verdict.interval[1] == pytest.approx(-0.1 + 0.05 + stats.t.ppf(0.975, 4) * error)
    rng = np.random.default_rng(0)
    for runs in (2, 3, 5, 10):  # the variance that is taken for a median is no smaller than the true one
        assert np.median(rng.normal(size=(50_000, runs)), axis=1).var() < math.pi / 2 / runs


def test_a_single_number_is_one_more_run():
    values = [76.0, 76.5, 76.2, 75.9, 76.4]
    verdict = only(values, Cell(76.8, None, None, "single"))
    error = np.std(values, ddof=1) * math.sqrt(1 + 1 / 5)
    assert verdict.p_different == pytest.approx(2 * stats.t.sf((0.6 - 0.05) / error, 4))
    assert verdict.interval[0] == pytest.approx(-0.6 - 0.05 - stats.t.ppf(0.975, 4) * error)
    assert verdict.alone[1] == pytest.approx(stats.t.sf((0.6 - 1 - 0.05) / error, 4))
    near = np.std(values, ddof=1) / math.sqrt(5)  # of our mean alone: the printed number is taken as it is
    assert verdict.p_equivalent == pytest.approx(stats.t.sf((1 - 0.6 - 0.05) / near, 4))
    assert "picked as the best of several, 'lower' may be due to that alone" in verdict.how


def test_a_cell_is_within_a_point_higher_lower_or_undecided():
    cell = Cell(93.1, 0.1, 5)
    spread = np.array([-0.1, -0.05, 0.0, 0.05, 0.1])
    assert only(93.1 + spread, cell).outcome == "within a point"
    assert only(96.1 + spread, cell).outcome == "higher"
    assert only(90.1 + spread, cell).outcome == "lower"
    assert only(94.1 + spread, cell).outcome == "higher"  # on the margin
    assert only(93.1 + 20 * spread, cell).outcome == "undecided"
    small = only(93.5 + spread, cell)
    assert small.outcome == "within a point"
    assert max(small.p_different, small.p_equivalent) < 0.05  # the margin is what counts
    assert only(93.1 + spread, cell, margin=0).outcome == "undecided"
    assert only(93.5 + spread, cell, margin=0).outcome == "higher"
    wide = only(93.1 + spread, Cell(93.1, 0.1, 5), level=0.01)
    assert wide.interval[1] > only(93.1 + spread, cell).interval[1]


def test_more_cells_ask_for_more():
    values, cell = [93.4, 93.6, 93.9, 93.5, 93.5], Cell(93.1, 0.2, 5)
    alone = only(values, cell)
    found = judge({**dict.fromkeys(range(4), (values, cell)), "none": (None, cell), "one": ([93.1], cell)})
    assert found[0].p_different == pytest.approx(4 * alone.p_different)  # of those that were tested
    assert found[0].interval == alone.interval
    assert "over 4 cells" in found[0].how
    assert judge({}) == {}


def test_what_cannot_be_tested_is_not_run_or_undecided():
    for values in (None, [], np.array([])):
        assert only(values, Cell(93.1, 0.1, 5))[:1] == ("not run",)
    for cell in (Cell(93.1, 0.1, 5), Cell(93.1, None, 10, "median"), Cell(93.1, None, None, "single")):
        verdict = only([50.0], cell)
        assert (verdict.outcome, verdict.interval, verdict.p_different) == ("undecided", None, None)
        assert verdict.difference == pytest.approx(-43.1)
        assert (verdict.more is not None) == (cell.statistic == "mean")  # whose std says something of ours
        assert "a single run has no spread to judge by" in verdict.how
    for cell in (Cell(93.1, None, 10, "median"), Cell(93.1, None, None, "single")):
        verdict = only([93.1, 93.1, 93.1], cell)
        assert (verdict.outcome, verdict.interval, verdict.more) == ("undecided", None, None)
        assert "the runs are all equal" in verdict.how
    assert only([93.1] * 3, Cell(93.1, 0.0, 5)).outcome == "within a point"  # the published spread is there
    assert only([91.1] * 3, Cell(93.1, 0.0, 5)).outcome == "lower"


@pytest.mark.parametrize(
    ("values", "cell", "options", "message"),
    [
        ([93.0, math.nan], Cell(93.1, 0.1, 5), {}, "place: the values .* must all be finite"),
        ([math.inf], Cell(93.1, 0.1, 5), {}, "must all be finite"),
        ([93.0], Cell(93.1, 0.1, 5), {"margin": -0.5}, "margin -0.5 must be 0 points or more"),
        ([93.0], Cell(93.1, 0.1, 5), {"margin": math.nan}, "margin nan must be"),
        ([93.0], Cell(93.1, 0.1, 5), {"level": 0}, "level 0 must be between 0 and 1"),
        ([93.0], Cell(93.1, None, 5), {}, "is a mean, and must have its std and two runs or more"),
        (None, Cell(93.1, 0.1, 1), {}, "is a mean, and must have its std and two runs or more"),
        ([93.0], Cell(93.1, -0.1, 5), {}, "is a mean"),
        ([93.0], Cell(93.1, None, None, "median"), {}, "is a median, and must have its number of runs"),
        ([93.0], Cell(math.nan, 0.1, 5), {}, "must be a mean, a median or a single number"),
        ([93.0], Cell(93.1, 0.1, 5, "mode"), {}, "must be a mean, a median or a single number"),
        ([93.0], None, {}, "place: None must be a mean"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(values, cell, options, message):
    with pytest.raises(ValueError, match=message):
        only(values, cell, **options)


def test_more_seeds_are_fewest_where_the_difference_is_clear_and_none_where_the_published_number_is_too_uncertain():
    spread = np.array([-0.5, 0.0, 0.5])
    near, far = (only(90.0 + off + spread, Cell(90.0, 0.2, 5)).more for off in (0.6, 1.2))
    assert 1 <= far < near <= significance.LIMIT
    hopeless = only(90.0 + spread, Cell(90.0, 3.0, 5))
    assert (hopeless.outcome, hopeless.more) == ("undecided", None)
    assert "not even 100 more seeds would decide" in hopeless.how


def test_a_table_asks_for_more_seeds_than_a_cell_of_it_alone():
    cell, values = Cell(90.0, 0.1, 5), [90.0, 90.4, 90.8]
    for one in (values, values[:1]):  # cells that wait for a second run count
        found = judge(dict.fromkeys(range(8), (one, cell)))
        assert found[0].more > only(one, cell).more
    shown = {i: (np.array(values) / 10 + 81, cell) for i in range(7)}  # those that are within a point do not
    assert {verdict.outcome for verdict in judge(shown).values()} == {"within a point"}
    assert judge({**shown, 7: (values, cell)})[7].more < judge(dict.fromkeys(range(8), (values, cell)))[7].more


def test_an_ordering_is_a_one_sided_welch_test():
    high, low = [75.3, 75.9, 75.1, 75.6, 75.0], [74.6, 74.2, 75.2, 74.7]
    found = order(high, low)
    expected = stats.ttest_ind(high, low, equal_var=False, alternative="greater").pvalue
    assert found.p_holds == pytest.approx(expected)
    assert found.p_opposite == pytest.approx(1 - expected)
    assert found.difference == pytest.approx(np.mean(high) - np.mean(low))
    assert found.outcome == "holds"
    assert order(low, high).outcome == "does not hold"
    assert order(high, low, level=0.001).outcome == "undecided"
    close = order(high, [75.2, 75.4, 74.9, 75.3])
    assert close.outcome == "undecided"
    assert 1 <= close.more <= significance.LIMIT
    assert order([1.0, 1.5, 2.0], [0.5, 1.0, 1.5]).more < order([1.0, 1.5, 2.0], [0.5, 1.0, 1.5], [-1, -1.5, -0.7]).more


def test_a_claim_over_several_holds_over_each_and_fails_by_one():
    high, low, lower = [94.5, 94.6, 94.3], [94.0, 94.1, 93.9], [93.0, 93.1, 92.8]
    both = order(high, low, lower)
    assert both.outcome == "holds"
    assert both.p_holds == order(high, low).p_holds  # the weaker counts
    assert both.difference == pytest.approx(order(high, low).difference)
    failed = order(low, lower, high)
    assert failed.outcome == "does not hold"
    assert failed.p_opposite == pytest.approx(2 * order(low, high).p_opposite)
    assert order(high, low, [94.4, 94.6, 94.5]).outcome == "undecided"


def test_claims_of_a_table_are_corrected_and_bad_ones_defined():
    clear, faint = ([94.5, 94.6, 94.3], [[93.0, 93.1, 92.8]]), ([94.5, 94.6, 94.3], [[94.1, 94.3, 94.2]])
    found = orders({"clear": clear, "faint": faint, "none": ([], [[93.0]]), "one": ([94.0], [[93.0, 93.1]])})
    assert found["clear"].p_holds == pytest.approx(2 * order(clear[0], *clear[1]).p_holds)
    assert (found["none"].outcome, found["one"].outcome, found["one"].p_holds) == ("not run", "undecided", None)
    assert (order(*([93.0] * 3, [92.0] * 3)).outcome, order([93.0] * 3, [92.0, 92.1, 92.05]).outcome) == (
        "undecided",
        "holds",
    )
    assert orders({}) == {}
    with pytest.raises(ValueError, match="the claim: the values .* must all be finite"):
        order([93.0, math.nan], [92.0])
    with pytest.raises(ValueError, match="A > : name at least one configuration that is worse"):
        orders({"A > ": ([93.0], [])})
    with pytest.raises(ValueError, match="level 2 must be"):
        order([93.0], [92.0], level=2)


def test_a_verdict_is_a_few_words_in_a_table_and_a_sentence_below_it():
    cell, spread = Cell(93.1, 0.1, 5), np.array([-0.1, -0.05, 0.0, 0.05, 0.1])
    assert sentence(only(93.1 + spread, cell)) == "within a point"
    assert sentence(only(93.5 + spread, cell)) == "within a point, though higher by 0.4"
    assert sentence(only(91.1 + spread, cell)) == "lower by 2.0 (95 % CI -2.3 to -1.7)"
    assert sentence(only(None, cell)) == "not run"
    some = Verdict("undecided", "how", more=3)
    assert [sentence(some._replace(more=more)) for more in (3, 1, None)] == [
        "undecided (3 more seeds if the effect is what these seeds show)",
        "undecided (1 more seed if the effect is what these seeds show)",
        "undecided",
    ]
    lower = only(91.1 + spread, cell)
    assert sentence(lower) == "lower by 2.0 (95 % CI -2.3 to -1.7)"
    assert lower.p_different < 0.05
    compared = "mean of 5 runs against the published mean and std of 5 runs"
    holm = "Holm's correction over 1 cell"
    assert f"{compared}; Welch tests for a difference ({holm}) and for less than 1 point (Hochberg's)" in lower.how
    assert "chance of 80 %" in only(93.1 + 20 * spread[:3], cell).how
    ordering = order([94.5, 94.6, 94.3], [93.0, 93.1, 92.8])
    assert sentence(ordering) == "holds"
    assert ordering.p_holds < 0.05
    assert ordering.how.endswith("means of 3, 3 runs; one-sided Welch tests, Holm's correction over 1 claim")


@pytest.mark.parametrize("name", TABLES)
def test_every_published_cell_can_be_judged(name):
    rng = np.random.default_rng(0)
    places = {(row.name, column): cell for row in TABLES[name].rows for column, cell in row.published.items()}
    runs = {place: cell.mean + 0.05 * rng.normal(size=10) for place, cell in places.items()}
    found = judge({place: (runs[place], cell) for place, cell in places.items()})
    assert list(found) == list(places)
    assert {verdict.outcome for verdict in found.values()} == {"within a point"}
    runs = {place: values - 3 for place, values in runs.items()}
    found = judge({place: (runs[place], cell) for place, cell in places.items()})
    assert {verdict.outcome for verdict in found.values()} == {"lower"}


def test_columns_of_the_same_runs_are_compared_by_their_differences():
    rng = np.random.default_rng(0)
    common = rng.normal(50, 10, 6)
    low, lower = common + rng.normal(0, 0.3, 6), common - 2 + rng.normal(0, 0.3, 6)
    high = common + 1
    claims = {"a": (high, [low, lower]), "b": (low, [high])}
    paired = orders(claims, paired=("a", "b"))
    assert [one.outcome for one in paired.values()] == ["holds", "does not hold"]
    assert [one.outcome for one in orders(claims).values()] == ["undecided", "undecided"]
    p = max(stats.ttest_rel(high, one, alternative="greater").pvalue for one in (low, lower))
    assert orders({"a": claims["a"]}, paired=("a",))["a"].p_holds == pytest.approx(p)
    assert "of the same runs' differences" in paired["a"].how
    one = orders({"a": ([1.0], [[0.5]])}, paired=("a",))["a"]
    assert (one.outcome, one.p_holds) == ("undecided", None)
    same = orders({"a": ([1.0, 2.0], [[0.5, 1.5]])}, paired=("a",))["a"]
    assert same.outcome == "undecided"  # differences without any spread
    with pytest.raises(ValueError, match="a: paired values must be the same number on each side"):
        orders({"a": ([1.0, 2.0], [[0.5]])}, paired=("a",))


@pytest.mark.slow
def test_paired_claims_that_are_not_true_hold_in_at_most_five_percent():
    rng = np.random.default_rng(1)
    tables = 1000
    wrong = 0
    for _ in range(tables):
        claims = {}
        for row in range(4):
            common = rng.normal(50, 10, 5)
            claims[row] = (common + rng.normal(0, 1, 5), [common + rng.normal(0, 1, 5) for _ in range(2)])
        found = orders(claims, paired=range(4))
        wrong += any(one.outcome in ("holds", "does not hold") for one in found.values())
    assert wrong / tables <= 0.1 + 0.02  # five in a hundred of each kind, more than that by three deviations at most
