"""How often verdicts err in simulated tables whose truth is known, and whether the seeds that they ask for decide."""

import math

import numpy as np
import pytest
from scipy import stats

from reproduce.tables import Cell
from reproduce.verdicts import significance
from reproduce.verdicts.order import orders
from reproduce.verdicts.verdict import judge
from tests.reproduce.test_verdict import order

RUNS = {"mean": 5, "median": 10, "single": 1}


def allowed(tables, level=0.05):
    """The highest share of `tables` that a test of `level` may err in: three Monte Carlo errors more."""
    return level + 3 * math.sqrt(level * (1 - level) / tables)


def runs_of(rng, tables, cells, runs, spread, together):
    """Recalls, (tables, cells, runs): the cells of a table come from the same runs and correlate by `together`."""
    shared, own = rng.normal(size=(tables, 1, runs)), rng.normal(size=(tables, cells, runs))
    return 90 + spread * (math.sqrt(together) * shared + math.sqrt(1 - together) * own)


def published(statistic, values):
    """The Cell of arrays that the paper would print, to 0.1, for its runs `values` (tables, cells, runs)."""
    if statistic == "mean":
        return Cell(values.mean(axis=-1).round(1), values.std(axis=-1, ddof=1).round(1), values.shape[-1])
    if statistic == "median":
        return Cell(np.median(values, axis=-1).round(1), None, values.shape[-1], statistic)
    return Cell(values[..., 0].round(1), None, None, statistic)


def corrected(ours, cell, margin=1.0):
    """What `judge` computes, for all tables at once: (p_different, p_equivalent), each (tables, cells)."""
    middle = np.median(ours, axis=-1) if cell.statistic == "median" else ours.mean(axis=-1)
    std, runs = ours.std(axis=-1, ddof=1), ours.shape[-1]
    (error, freedom), near = significance.error_of(std, runs, cell), significance.error_of_ours(std, runs, cell)
    different, equivalent, _ = significance.p_values(middle - cell.mean, error, near, freedom, margin)
    return significance.holm(different), significance.hochberg(equivalent)


def simulated(statistic, tables, cells, runs, spread, their_spread=None, together=0.0, off=0.0, seed=0):
    """(ours, Cell of arrays) for tables in which the truth of ours is `off` points above the published one's."""
    rng = np.random.default_rng(seed)
    ours = runs_of(rng, tables, cells, runs, spread, together) + off
    theirs = runs_of(rng, tables, cells, RUNS[statistic], their_spread or spread, together)
    return ours, published(statistic, theirs)


def test_welch_is_that_of_a_textbook_and_of_scipy():
    # Miles per gallon of American and Japanese cars, NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.3
    error, freedom = significance.welch(6.41470, 249, 6.10771, 79)
    assert (20.14458 - 30.48101) / error == pytest.approx(-12.94627, abs=1e-4)
    assert freedom == pytest.approx(136.8750, abs=1e-3)
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=6), 3 * rng.normal(size=4)
    error, freedom = significance.welch(one.std(ddof=1), 6, other.std(ddof=1), 4)
    p = 2 * stats.t.sf(abs(one.mean() - other.mean()) / error, freedom)
    assert p == pytest.approx(stats.ttest_ind(one, other, equal_var=False).pvalue)
    assert significance.welch(0.3, 2, 0.1, 5)[1] == 1  # two runs: n - 1 of the smaller side


def test_holm_is_that_of_a_textbook_and_leaves_out_what_was_not_tested():
    assert significance.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = significance.holm([0.01, math.nan, 0.04, 0.03, 0.005, math.nan])
    np.testing.assert_allclose(found, [0.03, math.nan, 0.06, 0.06, 0.02, math.nan])
    assert significance.holm([0.9, 0.8]).tolist() == [1, 1]
    for p in np.random.default_rng(0).uniform(0, 0.2, (50, 7)):
        shown, left = set(), sorted(range(7), key=lambda i: p[i])
        while left and p[left[0]] <= 0.05 / len(left):  # step down until one is not significant
            shown.add(left.pop(0))
        assert {i for i in range(7) if significance.holm(p)[i] <= 0.05} == shown
        assert significance.next_level(significance.holm(p), 0.05) == pytest.approx(0.05 / max(len(left), 1))


@pytest.mark.parametrize("statistic", RUNS)
def test_judge_is_what_the_simulations_below_compute(statistic):
    ours, cell = simulated(statistic, 5, 6, 4, 0.3, together=0.5, off=0.5)
    different, equivalent = corrected(ours, cell)
    for table in range(5):
        std = None if cell.std is None else cell.std[table]
        places = [Cell(cell.mean[table, i], None if std is None else std[i], *cell[2:]) for i in range(6)]
        found = judge({i: (ours[table, i], place) for i, place in enumerate(places)})
        assert [found[i].p_different for i in range(6)] == pytest.approx(different[table])
        assert [found[i].p_equivalent for i in range(6)] == pytest.approx(equivalent[table])


@pytest.mark.slow
@pytest.mark.parametrize("together", [0.0, 0.9])
@pytest.mark.parametrize("cells", [4, 12, 40])
@pytest.mark.parametrize("statistic", RUNS)
def test_of_tables_that_are_equal_in_truth_few_have_a_cell_that_is_said_to_differ(statistic, cells, together):
    tables = 2000
    for runs, spread in ((2, 0.5), (3, 0.3), (5, 0.03), (5, 0.3), (10, 1.0)):
        ours, cell = simulated(statistic, tables, cells, runs, spread, together=together)
        different, equivalent = corrected(ours, cell)
        errs = ((different <= 0.05) & (equivalent > 0.05)).any(axis=1).mean()
        assert errs <= allowed(tables), (runs, spread)
        assert (different <= 0.05).any(axis=1).mean() <= allowed(tables), (runs, spread)


@pytest.mark.slow
@pytest.mark.parametrize("together", [0.0, 0.9])
@pytest.mark.parametrize("cells", [4, 40])
@pytest.mark.parametrize("statistic", RUNS)
def test_of_tables_that_are_off_by_the_margin_few_have_a_cell_that_is_said_to_be_within_it(statistic, cells, together):
    tables = 2000
    for runs, spread, off in ((2, 0.5, 1), (3, 0.2, -1), (5, 0.03, 1), (5, 0.2, -1), (10, 0.2, 1)):
        ours, cell = simulated(statistic, tables, cells, runs, spread, together=together, off=off)
        if statistic == "single":  # judged against the number as it is printed, not against the mean behind it
            cell = cell._replace(mean=np.full((tables, cells), 90.0))
        _, equivalent = corrected(ours, cell)
        assert (equivalent <= 0.05).any(axis=1).mean() <= allowed(tables), (runs, spread)


@pytest.mark.parametrize(("spread", "theirs"), [(0.5, 0.1), (0.1, 0.5)])
def test_spreads_that_differ_fivefold_do_not_make_for_more_errors(spread, theirs):
    for runs in (2, 3, 5):
        for off in (0.0, 1.0):
            ours, cell = simulated("mean", 2000, 40, runs, spread, theirs, off=off)
            p = corrected(ours, cell)[1 if off else 0]
            assert (p <= 0.05).any(axis=1).mean() <= allowed(2000), (runs, off)


@pytest.mark.parametrize(("statistic", "spread"), [("mean", 0.2), ("median", 0.2), ("single", 0.08)])
def test_small_spreads_are_enough_to_decide(statistic, spread):
    ours, cell = simulated(statistic, 500, 8, 5, spread, together=0.5)
    _, equivalent = corrected(ours, cell)
    assert (equivalent <= 0.05).mean() > 0.9
    different, equivalent = corrected(ours + 3, cell)
    assert ((different <= 0.05) & (equivalent > 0.05)).mean() > 0.9


@pytest.mark.parametrize(("statistic", "spread"), [("mean", 0.3), ("median", 0.3), ("single", 0.2)])
def test_as_many_more_seeds_as_are_asked_for_mostly_decide(statistic, spread):
    rng = np.random.default_rng(0)
    asked, decided = [], 0
    for history in range(240):
        truth, runs = (0.0, 0.6, 1.0)[history % 3], (2, 3, 5)[history // 3 % 3]
        cell = published(statistic, 90 + spread * rng.normal(size=RUNS[statistic]))
        values = 90 + truth + spread * rng.normal(size=runs)
        more = judge({"place": (values, cell)})["place"].more
        if more:
            longer = np.append(values, 90 + truth + spread * rng.normal(size=more))
            asked.append(more)
            decided += judge({"place": (longer, cell)})["place"].outcome != "undecided"
    assert len(asked) > 50
    assert decided > 0.75 * len(asked)
    assert np.median(asked) < 8  # it is not that a hundred always do


@pytest.mark.parametrize("lows", [1, 3])
def test_few_tables_of_equals_have_an_ordering_that_is_said_to_hold_or_not(lows):
    rng = np.random.default_rng(0)
    tables, claims = 2000, 9
    for runs in (2, 3, 5, 10):
        spread = rng.choice([0.2, 0.4], size=(tables, claims, 1 + lows, 1))
        values = spread * rng.normal(size=(tables, claims, 1 + lows, runs))
        sides = [(values[:, :, i].mean(axis=-1), values[:, :, i].std(axis=-1, ddof=1), runs) for i in range(1 + lows)]
        found = [significance.holm(p) for p in significance.claim_p(sides[0], sides[1:])]
        for p in found:
            assert (p <= 0.05).any(axis=1).mean() <= allowed(tables), runs
        judged = orders({i: (one[0], one[1:]) for i, one in enumerate(values[0])}).values()
        assert [one.p_holds for one in judged] == pytest.approx(found[0][0])
        assert [one.p_opposite for one in judged] == pytest.approx(found[1][0])


@pytest.mark.parametrize(("lows", "truth"), [(1, 1.0), (2, 1.0), (2, -1.0)])
def test_as_many_more_seeds_as_an_ordering_asks_for_mostly_decide(lows, truth):
    rng = np.random.default_rng(0)
    asked, decided = [], 0
    for _ in range(100):
        sides = 0.5 * rng.normal(size=(1 + lows, 3))
        sides[0] += truth
        more = order(*sides).more
        if more:
            asked.append(more)
            longer = np.concatenate([sides, 0.5 * rng.normal(size=(1 + lows, more))], axis=1)
            longer[0, 3:] += truth
            decided += order(*longer).outcome == ("holds" if truth > 0 else "does not hold")
    assert len(asked) > 20
    assert decided > 0.75 * len(asked)
    assert np.median(asked) < 25
