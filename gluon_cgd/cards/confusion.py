"""Which classes a model confuses: for every query, the class of the picture that is nearest to it."""

from collections import Counter
from typing import List, NamedTuple, Optional

import numpy as np

from gluon_cgd.recall import nearest


class Confused(NamedTuple):
    """How a class of the test set is confused with others.

    label: the class.  pictures: its number of queries.  right: for how many of them the nearest picture has this class.
    other: the wrong class that is nearest most often, None if there is none; it is nearest `times` times.
    """

    label: int
    pictures: int
    right: int
    other: Optional[int]
    times: int

    @property
    def share(self):
        """Recall@1 of this class."""
        return self.right / self.pictures


def pairs(embeddings):
    """Counter {(class of a query, class of its nearest other picture): times} of `recall.Embeddings`.

    The share of pairs with equal classes is Recall@1. A query without any other picture is not counted.
    """
    rows, own = nearest(embeddings), embeddings.query_labels
    labels = np.asarray(own if embeddings.gallery is None else embeddings.gallery_labels)
    return Counter((int(label), int(labels[row])) for label, row in zip(own, rows) if row >= 0)


def by_class(pairs):
    """{class: {class of the nearest picture: times}} of `pairs`."""
    rows = {}
    for (own, other), times in pairs.items():
        rows.setdefault(own, {})[other] = times
    return rows


def worst_first(pairs) -> List[Confused]:
    """[Confused, ...] of the classes in `pairs`, lowest Recall@1 first."""
    classes = []
    for label, row in by_class(pairs).items():
        times, other = min(((-times, other) for other, times in row.items() if other != label), default=(0, None))
        classes.append(Confused(label, sum(row.values()), row.get(label, 0), other, -times))
    return sorted(classes, key=lambda confused: (confused.share, -confused.pictures, confused.label))


def matrix(pairs):
    """(labels, shares (C, C)): the share of the queries of a row's class whose nearest picture has a column's class."""
    labels = sorted({label for pair in pairs for label in pair})
    place = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)))
    for (own, other), times in pairs.items():
        counts[place[own], place[other]] = times
    return labels, counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def most_confused(pairs, number):
    """[(class, other class, times, queries of the class), ...]: the `number` pairs that are confused most often."""
    rows = by_class(pairs)
    wrong = [(own, other, times, sum(rows[own].values())) for (own, other), times in pairs.items() if own != other]
    return sorted(wrong, key=lambda pair: (-pair[2], pair[3], pair[:2]))[:number]
