"""Near-duplicates in a collection: pictures that are neighbours by their embeddings and look the same without a model.

Cosines of two models cannot be compared, and a trained model brings different pictures of one class close together. So
the embeddings only propose pairs, and the pictures themselves decide (`looks.likeness`).
"""

from typing import Dict, Iterable, List, Tuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from gluon_cgd.datasets import images
from gluon_cgd.machine.progress import task
from gluon_cgd.retrieval.exact import exact
from gluon_cgd.retrieval.looks import likeness, look_at

NEIGHBOURS = 8  # of each picture that are compared with it
ASKED = 1024  # pictures whose neighbours are searched at a time
# Of 1,200 photographs of cars, the two different ones that look most alike have 0.90; a copy with a border of 4 % cut
# off has 0.97 or more, one that JPEG has compressed to a tenth 0.98 or more
LEAST = 0.91


def looks_of(paths, progress=True):
    """(looks, errors): {place in `paths`: Look}, and {place: the error} of pictures that cannot be read."""
    looks, errors = {}, {}
    with task("looking", len(paths), "img", progress) as bar:
        for place, look in images.load_ahead(lambda place: look_at(paths[place]), range(len(paths)), 64):
            (errors if isinstance(look, Exception) else looks)[place] = look
            bar.update(1)
    return looks, errors


def neighbours(vectors, rows, live=None, check=None, count=NEIGHBOURS):
    """The `count` rows nearest to each of `rows` (n,), without itself: (n, count'), nearest first.

    vectors (N, D), of unit length.  live, check: as of `exact.exact`.
    """
    found = []
    for first in range(0, len(rows), ASKED):
        asked = rows[first : first + ASKED]
        if check:
            check(asked)
        _, nearest = exact(vectors, vectors[asked], count + 1, live, check=check)
        for row, near in zip(asked, nearest):
            found.append([other for other in near if other != row][:count])
    return np.array(found, np.int64).reshape(len(rows), -1 if found else 0)


def pairs(near, looks, least=LEAST) -> Dict[Tuple[int, int], float]:
    """{(i, j): likeness} of the near-duplicates, i < j.

    near: (N, count): the places of the neighbours of each picture.  looks: {place: Look}.
    """
    proposed = {(min(i, j), max(i, j)) for i, row in enumerate(near.tolist()) for j in row}
    found = {}
    with task("comparing", len(proposed), "pairs") as bar:
        for i, j in sorted(proposed):
            bar.update(1)
            if i in looks and j in looks:
                value = likeness(looks[i], looks[j])
                if value >= least:
                    found[i, j] = value
    return found


def groups_of(found: Iterable[Tuple[int, int]]) -> List[List[int]]:
    """The groups that the pairs `found` connect, the largest first."""
    places, ends = np.unique(sorted(found), return_inverse=True)
    if not len(places):
        return []
    first, second = ends.reshape(-1, 2).T
    links = coo_matrix((np.ones(len(first)), (first, second)), shape=(len(places), len(places)))
    _, numbers = connected_components(links, directed=False)
    groups = np.split(places[np.argsort(numbers, kind="stable")], np.cumsum(np.bincount(numbers))[:-1])
    return sorted((group.tolist() for group in groups), key=lambda group: (-len(group), group))
