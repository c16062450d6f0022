"""How many cells are searched, and how many candidates compared exactly, to reach a recall on held-out pictures.

Once for the 10 nearest and once for the 100 nearest. Half of them choose, the other half tell what was reached: a
choice looks better on what it was made on. Costs are counted in bytes and not timed, so that one collection has one
choice.
"""

from typing import Iterator, List, NamedTuple, Tuple

import numpy as np

from gluon_cgd.ondisk.state import Tuned
from gluon_cgd.ondisk.training import held_out, sums_of
from gluon_cgd.retrieval import exact

KS = (10, 100)
QUERIES = 200
FEWEST = 20  # held-out pictures, below which others are taken too
MOST = 4096  # candidates
BUDGET = 2**27  # bytes that a search costs at most if the recall is reached by none; about 50 ms
APART = 4  # a byte of a candidate's vector, which is somewhere on the disk, costs as much as so many of a list


class Choice(NamedTuple):
    """A way to search. cost: bytes.  recall: mean and standard error, on those queries that choose."""

    cost: float
    probed: int
    candidates: int
    recall: float
    error: float


def tune(snapshot, engine, target: float, seed: int = 1) -> Tuned:
    """The cheapest ways that reach the recall `target`, each the best one within BUDGET if none does.

    engine: an OnDisk. The exact search that it is compared with reads every vector once.
    """
    drawn = draw(snapshot, seed)
    vectors = snapshot.embeddings(drawn)
    most = min(max(KS), len(snapshot) - 1) + 1
    truth = list(zip(*exact.exact(snapshot.vectors, vectors, most, snapshot.live, check=snapshot.check)))
    half = -(-len(drawn) // 2)
    told = slice(half, None) if len(drawn) > half else slice(None)  # one picture chooses and tells
    ways, recalls = [], []
    for k in KS:
        found = choices(snapshot, engine, k, drawn[:half], vectors[:half], truth[:half], target)
        best = cheapest(list(found), target)
        ways.append((best.probed, best.candidates))
        engine.ways = [ways[-1]] * 2
        shares = exact.shares(drawn[told], truth[told], exact.search(snapshot, vectors[told], k + 1, engine), k)
        recalls.append(float(np.mean(shares)) if shares else 1.0)
    return Tuned(*ways[0], recalls[0], *ways[1], recalls[1], target, len(drawn[told]), snapshot.count)


def draw(snapshot, seed: int) -> np.ndarray:
    """The rows of up to QUERIES live pictures, held-out ones if there are enough, in a drawn order."""
    live = np.flatnonzero(snapshot.live)
    rows = live[held_out(sums_of(snapshot, live))]
    return np.random.default_rng(seed).permutation(rows if len(rows) >= FEWEST else live)[:QUERIES]


def choices(snapshot, engine, k: int, drawn, vectors, truth, target: float) -> Iterator[Choice]:
    """Yield a Choice for each number of cells and of candidates, until more cells cost more than one that is enough."""
    state = engine.state
    most, a_cell = min(MOST, max(state.merged.rows, k + 1)), state.merged.size / state.lists
    bound, probed = np.inf, 1
    while True:
        cost = state.lists * 4 * state.dim + probed * a_cell
        if cost > bound:
            return
        places = [_places(k, *each) for each in zip(drawn, truth, engine.search(vectors, most, probed))]
        for count in candidates(k, most):
            shares = [(place < count).mean() for place in places if len(place)]
            mean = float(np.mean(shares)) if shares else 1.0
            error = float(np.std(shares) / max(1, len(shares)) ** 0.5) if shares else 0.0
            choice = Choice(cost + APART * count * 4 * snapshot.dim, probed, count, mean, error)
            bound = min(bound, choice.cost if is_enough(choice, target) else np.inf)
            yield choice
        if probed == state.lists:
            return
        probed = min(2 * probed, state.lists)


def candidates(k: int, most: int) -> List[int]:
    """Numbers of candidates to choose from, the last of which is `most`."""
    counts = [exact.SPARE * k, 64, 100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400, 3200, MOST]
    return [count for count in counts if exact.SPARE * k <= count < most] + [most]


def cheapest(found: List[Choice], target: float) -> Choice:
    """The cheapest Choice that is enough. If none is: the one with the highest recall of those within BUDGET."""
    enough = [choice for choice in found if is_enough(choice, target)]
    if enough:
        return min(enough)
    allowed = [choice for choice in found if choice.cost <= BUDGET] or [min(found)]
    return min(allowed, key=lambda choice: (-choice.recall, choice.cost))


def is_enough(choice: Choice, target: float) -> bool:
    """Whether its recall is `target` even when a standard error is taken off, or 1."""
    return choice.recall - choice.error >= target or choice.recall == 1


def _places(k: int, own: int, truth: Tuple[np.ndarray, np.ndarray], proposed: np.ndarray) -> np.ndarray:
    """At which place among the `proposed` rows each of the true neighbours is, behind all for one that is not there."""
    rows = truth[1][truth[1] != own][:k]
    order = np.argsort(proposed, kind="stable")
    places = np.minimum(np.searchsorted(proposed[order], rows), len(proposed) - 1)
    found = proposed[order][places] == rows
    return np.where(found, order[places], len(proposed))
