"""Two rows compared query by query: the interval is right for classes as clusters, by simulation."""

import numpy as np
import pytest
from scipy import stats

from gluon_cgd.runs import ranks
from reproduce import recorded, store
from reproduce.command import main
from reproduce.documents import record, summary
from reproduce.report import comparison
from reproduce.tables import TABLES
from reproduce.verdicts import orderings, queries
from tests.reproduce.test_recorded import experiments, finished_run


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


def test_hits_are_the_ranks_up_to_k_of_the_evaluation_and_branch_of_a_column():
    arrays = {"last": [1, 2, 8, 9], "last/SPoC": [2, 1, 1, 1], "best": [1, 1, 1, 3], "classes": [0, 0, 1, 1]}
    arrays = {name: np.array(values, np.uint16) for name, values in arrays.items()}
    columns = ("Combined", "SPoC", "R@1", "CUB200 R@8")
    found, classes = comparison.hits({4: arrays}, "last", columns)
    assert {column: hits[4].tolist() for column, hits in found.items()} == {
        "Combined": [True, False, False, False],
        "SPoC": [False, True, True, True],
        "R@1": [True, False, False, False],
        "CUB200 R@8": [True, True, True, False],
    }
    assert classes.tolist() == [0, 0, 1, 1]
    found, _ = comparison.hits({4: arrays}, "best", columns)
    assert found["R@1"][4].tolist() == [True, True, True, False]
    assert found["SPoC"] == {}  # the best evaluation of branches is not recorded
    others = {**arrays, "classes": np.array([0, 1, 1, 1], np.uint16)}
    assert comparison.hits({4: arrays, 5: others}, "last", columns) == ({}, None)
    assert comparison.hits({}, "last", ("R@1",)) == ({"R@1": {}}, None)


@pytest.fixture
def two_rows(tmp_path):
    """A store with three runs of each row of Table 1, of which "Both" is the better."""
    for seed in range(3):
        for number, experiment in enumerate(experiments("table1")):
            finished_run(tmp_path / "runs", seed, experiment=experiment, mean=-0.9 - 0.6 * number)
    return tmp_path / "runs"


def test_the_report_of_a_table_says_what_its_rows_show_at_the_same_queries(two_rows, capsys):
    assert main(["table1", "--mini", "--seeds", "3", "--report", "--runs", str(two_rows)]) == 0
    told = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Both > Rank"))
    rank, both = (store.ranks_of(two_rows, e, store.results(two_rows, e, 3)) for e in experiments("table1"))
    hits = [{seed: arrays["last"] == 1 for seed, arrays in side.items()} for side in (both, rank)]
    found = queries.compare(*hits, rank[0]["classes"])
    assert found.low > 3
    assert told.endswith(f"; {queries.phrase([found])}")
    (folder,) = [store.folder(two_rows, experiments("table1")[0], 1)]
    (folder / ranks.FILE).write_bytes(b"damaged")
    assert main(["table1", "--mini", "--seeds", "3", "--report", "--runs", str(two_rows)]) == 2
    assert "ranks.npz cannot be read" in capsys.readouterr().err


def test_the_documents_say_it_too(two_rows, tmp_path, monkeypatch):
    record.record(two_rows, (TABLES["table1"],), tmp_path)
    rows = comparison.entries(
        TABLES["table1"],
        lambda one: recorded.read(one, tmp_path),
        True,
        "last",
        lambda one: recorded.read_ranks(one, tmp_path),
    )
    (claim,) = orderings.claims(TABLES["table1"], rows, True)
    monkeypatch.setattr(summary, "entries", lambda name, small: rows)
    monkeypatch.setattr(summary, "EVERYTHING", [TABLES["table1"]])
    line = summary.claims().splitlines()[-1]
    assert line.startswith("| Table 1 | Both > Rank |")
    assert line.endswith(f" | {queries.cell(claim.by_query[0])} |")
    assert rows[0].as_dict().keys() & {"hits", "classes"} == set()


def test_runs_without_ranks_are_compared_as_before(two_rows, capsys):
    for file in two_rows.rglob("ranks.npz"):
        file.unlink()
    assert main(["table1", "--mini", "--seeds", "3", "--report", "--runs", str(two_rows)]) == 0
    assert "at the same queries" not in capsys.readouterr().out


def test_the_audit_computes_the_same_by_code_of_its_own(two_rows, tmp_path):
    from reproduce.auditing import blocks, declared, evidence

    record.record(two_rows, (TABLES["table1"],), tmp_path)
    runs, findings = evidence.read(tmp_path)
    assert not findings
    (table,) = [table for table in declared.tables() if table.name == "table1"]
    runs = {row.key: runs[one.key()] for row, one in zip(table.mini, experiments("table1"))}  # whatever their names are
    rows = comparison.entries(
        TABLES["table1"],
        lambda one: recorded.read(one, tmp_path),
        True,
        "last",
        lambda one: recorded.read_ranks(one, tmp_path),
    )
    (ours,) = orderings.claims(TABLES["table1"], rows, True)
    (theirs,) = blocks.Mini([table], runs).claims["table1"]
    assert theirs.by_query[0] == pytest.approx(ours.by_query[0][:3])
    assert theirs.sentence() == ours.sentence()
    assert "at the same queries" in ours.sentence()


def test_ours_and_the_audits_difference_are_rounded_alike():
    from reproduce.auditing import queries as audit

    rng, classes = np.random.default_rng(8), np.repeat(np.arange(100), 20)
    for _ in range(40):  # of ten seeds and 2,000 queries each tenth difference ends in 5
        better, worse = ({s: rng.random(2000) < share for s in range(10)} for share in (0.71, 0.7))
        theirs = audit.apart(
            {s: np.int64(h) for s, h in better.items()}, {s: np.int64(h) for s, h in worse.items()}, classes
        )
        assert audit.cell(theirs) == queries.cell(queries.compare(better, worse, classes))
