"""Where in a square feature map descriptors look, and what each position adds to them. NumPy only."""

from typing import Any, Callable, Dict, Iterator, Tuple

import numpy as np

CORNER = Tuple[int, int]
DEAD = 1e-6  # CroW's epsilon: no channel weighs infinitely much


def regions(side: int, scales: int) -> Iterator[Tuple[CORNER, CORNER]]:
    """The regions of R-MAC: (first, last) row and column, the last one excluded (arXiv 1511.05879, section 3.2).

    Scale l has l x l squares of side 2 `side` / (l + 1), evenly placed from edge to edge; they overlap. Scale 1 is the
    whole map.
    """
    for scale in range(1, scales + 1):
        width = max(1, 2 * side // (scale + 1))
        starts = [i * (side - width) // max(1, scale - 1) for i in range(scale)]
        for top in starts:
            for left in starts:
                yield (top, left), (top + width, left + width)


def prior(side: int) -> np.ndarray:
    """SPoC's centring prior (Babenko and Lempitsky, arXiv 1510.07493, section 4.2): (side, side), with the sum 1.

    A Gaussian around the centre, whose sigma is a third of the distance from the centre to the nearest edge.
    """
    offset = np.arange(side) - (side - 1) / 2
    weight = np.exp(-((offset / (side / 6)) ** 2) / 2)
    square = np.outer(weight, weight)
    return square / square.sum()


def share_of_regions(features: np.ndarray, scales: int) -> np.ndarray:
    """What each position adds to R-MAC: each region's maximum, divided by its length, to where it is; equal ones share.

    features (C, side, side) -> (C, side, side), whose sum over the positions is the descriptor.
    """
    share = np.zeros_like(features)
    for (top, left), (bottom, right) in regions(features.shape[1], scales):
        part = features[:, top:bottom, left:right]
        largest = part.max(axis=(1, 2), keepdims=True)
        where = part == largest
        length = max(float(np.sqrt((largest**2).sum())), 1e-6)
        share[:, top:bottom, left:right] += largest * where / where.sum(axis=(1, 2), keepdims=True) / length
    return share


def share_of_sums(features: np.ndarray) -> np.ndarray:
    """What each position adds to CroW's weighted sum: its feature, times the weights of its place and channel.

    features (C, h, w) -> (C, h, w), whose sum over the positions is the descriptor.
    """
    positive = np.maximum(features, 0)
    place = positive.sum(axis=0)
    place = np.sqrt(np.maximum(place / max(float(np.sqrt((place**2).sum())), 1e-6), DEAD))
    alive = (positive > 0).mean(axis=(1, 2)) + DEAD
    return np.log(alive.sum() / alive)[:, None, None] * place * positive


def share_of_powers(features: np.ndarray, p: Any, minimum: float, weight: Any = 1.0) -> np.ndarray:
    """What each position adds to a mean of powers: features (C, h, w) -> (C, h, w), whose sum is the descriptor.

    p: the exponent, or one a channel (C, 1, 1).  weight: of the positions (h, w), with the sum 1; 1 for a plain mean.
    """
    powers = np.maximum(features, minimum) ** p * weight
    mean = powers.mean(axis=(1, 2), keepdims=True) if np.ndim(weight) == 0 else powers.sum(axis=(1, 2), keepdims=True)
    return mean ** (1 / p) * powers / powers.sum(axis=(1, 2), keepdims=True)


def attention(features: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """The weights of WeightedGeM, (h, w): a softmax of the product of each position's features with `learned` (C,)."""
    score = np.tensordot(learned, features, 1)
    score = np.exp(score - score.max())
    return score / score.sum()


def given(learned: Any) -> np.ndarray:
    """What a descriptor learned, as an array. Raises ValueError if it is not given."""
    if learned is None:
        raise ValueError("a descriptor that learns is split by what it learned: give that (similarity.learned_of)")
    return np.asarray(learned, np.float64)


# How positions share a descriptor: functions of features (C, h, w) in float64, p, minimum, scales, and what is learned.
# All are exact: they sum to the descriptor. The lengths in R-MAC and the weights in CroW and WeightedGeM are taken as
# they are, as the lengths of embeddings are: what a position does to the weight of others is no share of its own.
SHARES: Dict[str, Callable[..., np.ndarray]] = {
    "P": lambda x, p, minimum, scales, learned: share_of_powers(x, given(learned).reshape(-1, 1, 1), minimum),
    "Q": lambda x, p, minimum, scales, learned: share_of_powers(x, given(learned).reshape(-1, 1, 1), minimum),
    "A": lambda x, p, minimum, scales, learned: share_of_powers(x, p, minimum, attention(x, given(learned))),
    "R": lambda x, p, minimum, scales, learned: share_of_regions(x, scales),
    "W": lambda x, p, minimum, scales, learned: share_of_sums(x),
    "C": lambda x, p, minimum, scales, learned: x * prior(x.shape[1]),
}
