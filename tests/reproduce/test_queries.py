"""Two rows compared query by query: the interval is right for classes as clusters, by simulation."""

import numpy as np
import pytest
from scipy import stats

from reproduce.verdicts import queries


def simulated(rng, samples, classes, pictures, effect):
    """Differences (samples, classes, pictures) of hits of two networks: in {-1, 0, 1}, alike within a class."""
    of_class = rng.normal(0, 0.25, (samples, classes, 1))  # where one network is better at a class as a whole
    chance = np.clip(0.5 + of_class + effect, 0, 1)
    other = np.clip(0.5 - of_class, 0, 1)
    hits = [rng.random((samples, classes, pictures)) < each for each in (chance, other)]
    return hits[0].astype(np.int8) - hits[1]


def coverage(differences, truth):
    """The share of samples whose interval covers `truth`: by classes, and by pictures as if each were a draw."""
    samples, classes, pictures = differences.shape
    mean, error = queries.clustered(differences.sum(axis=2), np.full(classes, pictures))
    by_class = np.abs(mean - truth) <= stats.t.isf(0.025, classes - 1) * error
    alone = differences.reshape(samples, -1)
    naive = np.abs(mean - truth) <= 1.96 * alone.std(axis=1) / np.sqrt(alone.shape[1])
    return by_class.mean(), naive.mean()


@pytest.mark.parametrize("effect", [0, 0.05])
def test_the_interval_covers_the_truth_in_95_percent_of_samples_and_one_over_pictures_does_not(effect):
    rng = np.random.default_rng(1)
    truth = simulated(rng, 1, 20_000, 4, effect).mean() if effect else 0
    by_class, naive = coverage(simulated(rng, 800, 100, 20, effect), truth)
    assert by_class == pytest.approx(0.95, abs=0.02)
    assert naive < 0.7


def test_few_classes_are_covered_as_well():
    by_class, _ = coverage(simulated(np.random.default_rng(2), 2500, queries.FEWEST, 20, 0), 0)
    assert by_class == pytest.approx(0.95, abs=0.02)


def test_classes_of_different_sizes_are_covered_too():
    rng = np.random.default_rng(3)
    sizes = rng.integers(2, 40, 100)
    differences = simulated(rng, 600, 100, 40, 0)
    taken = np.arange(40) < sizes[:, None]  # (100, 40)
    mean, error = queries.clustered((differences * taken).sum(axis=2), np.broadcast_to(sizes, (600, 100)))
    assert (np.abs(mean) <= stats.t.isf(0.025, 99) * error).mean() == pytest.approx(0.95, abs=0.03)


def test_it_is_the_t_test_of_class_means_and_the_difference_of_the_recalls():
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(30), 7)
    better, worse = ({seed: rng.random(210) < share for seed in range(3)} for share in (0.7, 0.6))
    worse[9] = np.zeros(210, bool)  # a seed that the other has not
    found = queries.compare(better, worse, classes)
    means = np.mean([better[s].astype(float) - worse[s] for s in range(3)], axis=0).reshape(30, 7).mean(axis=1)
    expected = stats.ttest_1samp(means, 0)
    assert found.p == pytest.approx(expected.pvalue)
    low, high = stats.t.interval(0.95, 29, means.mean(), stats.sem(means))
    assert (found.low, found.high) == pytest.approx((100 * low, 100 * high))
    recalls = [100 * np.mean([side[s].mean() for s in range(3)]) for side in (better, worse)]
    assert found.difference == pytest.approx(recalls[0] - recalls[1])
    assert found[4:] == (3, 210, 30)
    shuffled = rng.permutation(210)  # the order of the pictures does not matter
    again = queries.compare(*({s: side[s][shuffled] for s in side} for side in (better, worse)), classes[shuffled])
    assert again[:4] == pytest.approx(found[:4])
    opposite = queries.compare(worse, better, classes)
    assert (opposite.low, opposite.high) == pytest.approx((-found.high, -found.low))


def test_a_bootstrap_of_classes_gives_nearly_the_same_interval():
    rng = np.random.default_rng(4)
    sums = simulated(rng, 1, 100, 20, 0.05)[0].sum(axis=1)
    mean, error = queries.clustered(sums, np.full(100, 20))
    drawn = sums[rng.integers(100, size=(4000, 100))].sum(axis=1) / 2000
    reach = stats.t.isf(0.025, 99) * error
    assert np.percentile(drawn, [2.5, 97.5]) == pytest.approx([mean - reach, mean + reach], abs=0.15 * reach)


def test_what_cannot_be_compared():
    classes = np.repeat(np.arange(12), 2)
    hits = np.arange(24) % 3 == 0
    assert queries.compare({0: hits}, {1: hits}, classes) is None
    assert queries.compare({}, {}, classes) is None
    assert queries.compare({0: hits}, {0: ~hits}, classes // 2) is None  # six classes
    same = queries.compare({0: hits}, {0: hits}, classes)
    assert same[:3] == (0, 0, 0)
    assert np.isnan(same.p)
    with pytest.raises(ValueError, match="must be as many as"):
        queries.compare({0: hits}, {0: hits[:9]}, classes)
    assert queries.phrase([same, None]) == queries.phrase([]) == ""
    assert queries.cell(None) == "-"
    paired = queries.Paired(1.24, -0.31, 2.79, 0.1, 10, 2000, 100)
    assert queries.cell(paired) == "+1.2 (-0.3 to +2.8)"
    assert queries.phrase([paired]) == "at the same queries +1.2 points (95 % CI -0.3 to +2.8)"
