"""ranks.npz of a run: what its recalls were counted from."""

import numpy as np
import pytest

from gluon_cgd.runs import ranks

STAGES = ("untrained", "last", "best")
RANKS = {name: np.array(values, np.uint16) for name, values in zip(STAGES, ([3, 9, 1, 2], [1, 1, 4, 2], [1, 1, 1, 3]))}
RANKS["classes"] = np.array([0, 0, 1, 1], np.uint16)
RECALLS = {
    "untrained": {"R@1": 0.25, "R@2": 0.5},
    "last": {"R@1": 0.5, "R@2": 0.75},
    "best": {"R@1": 0.75, "R@2": 0.75},
}
RESULT = {**RECALLS, "best_iteration": 4, "history": [{"iteration": 0}, {"iteration": 4}, {"iteration": 8}]}


def test_sixteen_bits_are_used_where_they_are_enough_and_the_largest_number_means_never():
    assert ranks.stored(np.array([1.0, 65534.0])).tolist() == [1, 65534]
    assert ranks.stored(np.array([1.0, 65534.0])).dtype == np.uint16
    for values in ([1.0, 65535.0], [70000.0]):
        assert ranks.stored(np.array(values)).dtype == np.uint32
        assert ranks.stored(np.array(values)).tolist() == values
    never = ranks.stored(np.array([2.0, np.inf]))
    assert (never.dtype, never.tolist()) == (np.uint16, [2, 65535])
    assert ranks.stored(np.array([70000.0, np.inf])).tolist() == [70000, 2**32 - 1]
    assert ranks.stored(np.array([np.inf, np.inf])).tolist() == [65535] * 2


def test_the_newest_ranks_take_the_place_of_the_stages_that_they_are_of():
    arrays = ranks.updated({}, {"": np.array([2.0]), "MAC": np.array([3.0])}, ["untrained"], [7])
    arrays = ranks.updated(arrays, {"": np.array([1.0]), "MAC": np.array([2.0])}, ["last", "best"], [7])
    arrays = ranks.updated(arrays, {"": np.array([4.0]), "MAC": np.array([5.0])}, ["last"], [7])
    values = {name: int(array[0]) for name, array in arrays.items()}
    combined = {"untrained": 2, "last": 4, "best": 1}
    assert values == {**combined, "untrained/MAC": 3, "last/MAC": 5, "best/MAC": 2, "classes": 0}


def test_the_best_has_no_ranks_of_its_own_where_it_is_the_last(tmp_path):
    files = ranks.write(tmp_path, RANKS, False)
    assert set(ranks.read(tmp_path / "ranks.npz")) == {*STAGES, "classes"}
    assert files != ranks.write(tmp_path, {**RANKS, "best": RANKS["last"]}, True)
    found = ranks.read(tmp_path / "ranks.npz")
    assert set(found) == {"untrained", "last", "classes"}
    assert ranks.of(found, "best").tolist() == RANKS["last"].tolist()
    assert ranks.of(found, "best", "SPoC") is None


def test_a_run_that_an_earlier_version_began_leaves_no_ranks(tmp_path):
    assert ranks.write(tmp_path, {name: RANKS[name] for name in ("last", "best")}, False) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"last": RANKS["best"]}, "has ranks last whose R@1 is 75.0000 %, where the result has 50.0000 %"),
        ({"last": np.array([1, 1, 1, 1], np.uint16)}, "has ranks last whose R@1"),
        ({"untrained": np.array([3, 9, 1, 3], np.uint16)}, "has ranks untrained whose R@2"),
        ({"last": RANKS["last"][:2]}, "has ranks of different numbers of pictures"),
        ({"classes": None}, "has the ranks best, last, untrained, where best, classes, last, untrained are needed"),
        ({"classes": RANKS["classes"][:3]}, "has ranks of different numbers of pictures"),
        ({name: np.ones(0, np.uint16) for name in RANKS}, "has ranks untrained whose R@1"),
        ({name: RANKS[name].reshape(2, 2) for name in RANKS}, "has ranks of different numbers"),
        (
            {"last/SPoC": RANKS["last"]},
            "has the ranks best, classes, last, last/SPoC, untrained, where best, classes, last, untrained are",
        ),
        ({"best": None}, "has no ranks of the best evaluation"),
        ({"last": None}, "has the ranks best, classes, untrained, where"),
    ],
)
def test_ranks_that_a_result_was_not_counted_from_are_found(change, message):
    assert ranks.disagreement(RANKS, RESULT) is None
    arrays = {name: array for name, array in {**RANKS, **change}.items() if array is not None}
    assert message in ranks.disagreement(arrays, RESULT)


def test_a_file_that_is_no_ranks_is_refused_by_name(tmp_path):
    (tmp_path / "ranks.npz").write_bytes(b"\0" * 100)
    with pytest.raises(ValueError, match=r"ranks.npz cannot be read \(.*\): the run is to be trained again"):
        ranks.read(tmp_path / "ranks.npz")
