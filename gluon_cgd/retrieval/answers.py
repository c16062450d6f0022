"""What a search answers: pictures with their names and folders, those that reach a threshold, grouped by folder."""

from typing import Callable, List, NamedTuple, Optional, Tuple

import numpy as np

from gluon_cgd.retrieval.places import place_of, prefixes

FIRST = 10  # pictures that are looked at for each folder that is wanted, to begin with


class Answer(NamedTuple):
    """One picture that a search finds. folder: as `places` names it."""

    cosine: float
    path: str
    folder: str
    name: str


class Group(NamedTuple):
    """The pictures of a folder that a search finds, nearest first; `looked_at`: of how many of all folders."""

    folder: str
    answers: List[Answer]
    looked_at: int


Find = Callable[[int], Tuple[np.ndarray, np.ndarray]]  # a number of pictures -> (cosines, rows), nearest first


def nearest(snapshot, find: Find, k: int) -> List[Answer]:
    """The `k` nearest pictures of `snapshot`, nearest first."""
    roots = prefixes(snapshot.manifest.get("folders", []))
    return [
        Answer(float(cosine), path, *place_of(path, roots))
        for cosine, path in ((cosine, snapshot.path(row)) for cosine, row in zip(*find(k)))
    ]


def nearest_folders(snapshot, find: Find, k: int, without=frozenset(), least: Optional[float] = None) -> List[Group]:
    """The `k` folders whose nearest pictures are nearest. A folder is known by its pictures among those looked at.

    without: paths of pictures that do not count, as the query.  least: the cosine that a picture must reach.
    """
    count = FIRST * k
    while True:
        answers = nearest(snapshot, find, count)
        groups = {}
        for answer in answers:
            if answer.path not in without and (least is None or answer.cosine >= least):
                groups.setdefault(answer.folder, []).append(answer)
        is_all = count >= len(snapshot) or (least is not None and answers[-1].cosine < least)
        if len(groups) >= k or is_all:
            return [Group(folder, members, len(answers)) for folder, members in list(groups.items())[:k]]
        count *= 4
