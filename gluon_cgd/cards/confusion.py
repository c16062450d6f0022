"""Which classes a model takes for each other: for every query, the class of the picture that is nearest to it."""

from collections import Counter
from typing import List, NamedTuple, Optional

import numpy as np

from gluon_cgd.recall import nearest


class Confused(NamedTuple):
    """A class of the test set: how many of its `pictures` have one of it as their nearest (`found`), and which other
    class is nearest most often (`other`, None for never; `times`)."""

    label: int
    pictures: int
    found: int
    other: Optional[int]
    times: int

    @property
    def share(self):
        """Recall@1 of this class."""
        return self.found / self.pictures


def pairs(query, query_labels, gallery=None, gallery_labels=None):
    """Counter {(class of a query, class of its nearest other picture): times}. Arguments as of `recall.recall_at`.

    Of all of them the share with equal classes is Recall@1. A query that is alone is in none.
    """
    rows = nearest(query, query_labels, gallery, gallery_labels)
    labels = np.asarray(query_labels if gallery is None else gallery_labels)
    return Counter((int(label), int(labels[row])) for label, row in zip(query_labels, rows) if row >= 0)


def worst_first(counted) -> List[Confused]:
    """[Confused, ...] of `pairs`, those that are found least often first."""
    classes = {}
    for (own, other), times in counted.items():
        classes.setdefault(own, {})[other] = times
    found = []
    for label, row in classes.items():
        others = [(-times, other) for other, times in row.items() if other != label]
        times, other = min(others, default=(0, None))
        found.append(Confused(label, sum(row.values()), row.get(label, 0), other, -times))
    return sorted(found, key=lambda one: (one.share, -one.pictures, one.label))


def matrix(counted):
    """(labels, shares (C, C)): of the pictures of a row's class the share whose nearest is of a column's."""
    labels = sorted({label for pair in counted for label in pair})
    place = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)))
    for (own, other), times in counted.items():
        counts[place[own], place[other]] = times
    return labels, counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def most_confused(counted, number):
    """[(class, other class, times, pictures of the class), ...]: the `number` pairs that are confused most often."""
    sizes = Counter()
    for (own, _), times in counted.items():
        sizes[own] += times
    wrong = [(own, other, times, sizes[own]) for (own, other), times in counted.items() if own != other]
    return sorted(wrong, key=lambda one: (-one[2], one[3], one[:2]))[:number]
