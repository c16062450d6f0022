"""What is doubtful in a labelled collection, by its pictures and their embeddings. Nothing is changed or deleted."""

from collections import Counter
from itertools import islice
from typing import Dict, List, NamedTuple, Tuple

import numpy as np

from gluon_cgd.datasets import images
from gluon_cgd.evaluate import compute_named
from gluon_cgd.machine.progress import task
from gluon_cgd.retrieval import looks
from gluon_cgd.retrieval.duplicates import neighbours
from gluon_cgd.retrieval.index import unit

BATCH = 32
VOTES = 5  # neighbours that have to agree on another class, or as many as it has pictures
LEAST_VOTES = 3
MIXED = 0.8  # of the neighbours that two halves of one class have in each other, from which on two classes count as one
BLURRED = (
    0.5  # of 800 photographs of cars the most blurred has 0.43; blurred by 2 pixels of 208, 95 % have 0.57 or more
)
DEVIATIONS = 3  # from the median of the collection, which may be blurred on purpose


class Examined(NamedTuple):
    """The pictures of a collection that can be read: their places in its records, embeddings (N, D) and looks.

    errors: a sentence for each of the others.
    """

    places: List[int]
    vectors: np.ndarray
    looks: Dict[int, looks.Look]
    errors: List[str]


def examine(records, embed, side) -> Examined:
    """The Examined of `records`, each cut out by its box. embed: a list of pictures uint8 (side, side, 3) -> (n, D)."""

    def load(place):
        record = records[place]
        picture = images.crop(images.decode(record.path), record.box, record.path)
        return looks.look_of(picture, record.path), images.resized(picture, side)

    places, vectors, seen, errors = [], [], {}, []
    loaded = images.load_ahead(load, range(len(records)), 2 * BATCH)
    with task("examining", len(records), "img") as bar:
        for batch in iter(lambda: list(islice(loaded, BATCH)), []):
            bar.update(len(batch))
            errors += [str(answer) for _, answer in batch if isinstance(answer, Exception)]
            good = [(place, *answer) for place, answer in batch if not isinstance(answer, Exception)]
            if good:
                paths = [records[place].path for place, *_ in good]
                vectors.append(unit(compute_named(embed, [picture for *_, picture in good], paths), paths))
                seen.update({len(places) + i: look for i, (_, look, _) in enumerate(good)})
                places += [place for place, *_ in good]
    if not places:
        raise ValueError(
            f"none of the {len(records):,} pictures can be read: {errors[0] if errors else 'there is none'}"
        )
    return Examined(places, np.concatenate(vectors), seen, errors)


def contradicted(labels, near) -> List[Tuple[int, int, int]]:
    """[(picture, other class, how many neighbours), ...]: pictures whose nearest neighbours all have one other class.

    labels (N,).  near (N, count): the neighbours of each, nearest first. A picture that is alone in its class is not
    among them: nothing could speak for it.
    """
    sizes, found = Counter(labels.tolist()), []
    for place, row in enumerate(labels[near].tolist()):
        own = int(labels[place])
        votes = min(VOTES, len(row), sizes[row[0]]) if row else 0
        if votes >= LEAST_VOTES and sizes[own] > 1 and row[0] != own and set(row[:votes]) == {row[0]}:
            found.append((place, row[0], votes))
    return found


def one_class(vectors, labels, near) -> List[Tuple[int, int, float]]:
    """[(class, other class, share), ...]: pairs of classes whose pictures mix as those of one class would.

    Each picture of the two is given its 3 nearest among the others. If both were one class, a known number would be of
    the other one; `share` is the counted number, as a share of that. Only classes that are neighbours are compared.
    """
    sizes, meetings = Counter(labels.tolist()), Counter()
    for own, row in zip(labels.tolist(), labels[near].tolist()):
        meetings.update((own, other) for other in row if other != own)
    found = []
    for first, second in sorted(meetings):
        a, b = sizes[first], sizes[second]
        if first > second or (second, first) not in meetings or min(a, b) < LEAST_VOTES:
            continue
        rows = np.flatnonzero((labels == first) | (labels == second))
        nearest = neighbours(vectors[rows], np.arange(len(rows)), count=LEAST_VOTES)
        crossing = int((labels[rows][:, None] != labels[rows][nearest]).sum())
        share = crossing * (a + b - 1) / (2 * a * b * nearest.shape[1])
        if share >= MIXED:
            found.append((first, second, share))
    return sorted(found, key=lambda pair: -pair[2])


def blurred(seen) -> List[Tuple[int, float]]:
    """[(picture, blur), ...] of those that are blurred, also beside the others; worst first. seen: {place: Look}."""
    sharp = {place: look.blur for place, look in seen.items() if look.contrast >= looks.FLAT}
    if not sharp:
        return []
    values = np.array(list(sharp.values()))
    middle = np.median(values)
    least = max(BLURRED, middle + DEVIATIONS * 1.4826 * np.median(np.abs(values - middle)))
    return sorted(((place, blur) for place, blur in sharp.items() if blur > least), key=lambda pair: -pair[1])


def empty(seen) -> List[int]:
    """The pictures that are of nearly one colour. seen: {place: Look}."""
    return sorted(place for place, look in seen.items() if look.contrast < looks.FLAT)
