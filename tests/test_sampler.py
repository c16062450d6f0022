import numpy as np
import pytest

from gluon_cgd.sampler import ClassBalancedSampler

LABELS = np.repeat([3, 5, 8, 9, 11], [6, 1, 4, 2, 9])


def test_a_batch_holds_p_classes_of_k_pictures():
    for iteration in range(50):
        indices, _ = ClassBalancedSampler(LABELS, classes=3, images=4).batch(iteration)
        classes, counts = np.unique(LABELS[indices], return_counts=True)
        assert len(classes) == 3
        assert (counts == 4).all()


def test_a_class_that_is_large_enough_gives_different_pictures():
    for iteration in range(50):
        indices, _ = ClassBalancedSampler(LABELS, classes=5, images=4).batch(iteration)
        for label, size in ((3, 6), (8, 4), (11, 9)):
            assert len(set(indices[LABELS[indices] == label])) == 4 <= size
        assert set(indices[LABELS[indices] == 5]) == {6}  # the only one it has, four times


@pytest.mark.parametrize(("images", "counts"), [(4, [2, 2]), (5, [2, 3]), (3, [1, 2]), (7, [3, 4])])
def test_a_smaller_class_gives_each_picture_before_it_repeats_one(images, counts):
    for iteration in range(50):
        indices, _ = ClassBalancedSampler(LABELS, classes=5, images=images).batch(iteration)
        drawn = indices[LABELS[indices] == 9]  # of its two pictures
        assert sorted(np.unique(drawn, return_counts=True)[1]) == counts
        assert len(set(indices[LABELS[indices] == 3])) == min(images, 6)


def test_every_picture_is_drawn_sooner_or_later():
    sampler = ClassBalancedSampler(LABELS, classes=2, images=2)
    assert set(np.concatenate([sampler.batch(i)[0] for i in range(300)])) == set(range(len(LABELS)))


def test_a_batch_depends_on_seed_and_iteration_alone():
    one, other = ClassBalancedSampler(LABELS, 3, 4, seed=1), ClassBalancedSampler(LABELS, 3, 4, seed=1)
    one.batch(0)
    np.testing.assert_array_equal(one.batch(7)[0], other.batch(7)[0])
    assert one.batch(7)[1].integers(1000) == other.batch(7)[1].integers(1000)
    assert any((one.batch(i)[0] != ClassBalancedSampler(LABELS, 3, 4, seed=2).batch(i)[0]).any() for i in range(3))
    assert (one.batch(1)[0] != one.batch(2)[0]).any()


def test_too_few_classes_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="6 classes cannot be drawn from 5 training classes: give --batch-classes 5"):
        ClassBalancedSampler(LABELS, classes=6)
