"""From which cosine on two pictures show the same thing, with the rate of false matches that this cosine stands for.

Cosines of two models cannot be compared, so the collection itself says what they mean:
- Where its pictures are sorted into folders, each picture asks "which folder am I from, or none?". Its nearest picture
  of another folder would be a false match if its own folder were not in the collection. The rate is the share of the
  pictures that would have one.
- Where they are not, the rate is a share of all pairs of pictures. Some of these pairs do show the same thing, so it is
  the most that the rate of false matches can be, of pairs. A query has as many pairs as the collection has pictures.
"""

import re
from typing import NamedTuple, Optional, Tuple

import numpy as np

from gluon_cgd.retrieval.exact import BLOCK
from gluon_cgd.retrieval.places import is_sorted_into, prefixes

ASKED = 2000  # pictures that are compared with the collection, at most
RATES = {"folders": 0.05, "pairs": 0.001}  # of false matches, where none is named
STEP = 1e-6  # thresholds are whole multiples of it, so that the printed one is the one that is used


class Threshold(NamedTuple):
    """A cosine, and what it stands for in a collection.

    basis: "folders" or "pairs".  false_matches: the rate, see above.  right: the share of the pictures whose nearest
    picture is of their own folder and reaches it; None for pairs.  counted: the pictures, or pairs, behind the rate.
    """

    cosine: float
    basis: str
    false_matches: float
    right: Optional[float]
    counted: int

    def sentence(self) -> str:
        """What it stands for, in words."""
        rate = f"{100 * self.false_matches:.3g} %"
        if self.basis == "pairs":
            return (
                f"threshold {self.cosine:.6g}: {rate} of {self.counted:,} pairs of pictures of the index reach it, "
                "which is the most that its rate of false matches can be"
            )
        return (
            f"threshold {self.cosine:.6g}: a picture whose folder is not in the index has a false match in {rate} of "
            f"the cases, and {100 * self.right:.3g} % of the pictures find their own folder first (measured on "
            f"{self.counted:,} pictures of the index)"
        )


def parse(text: str) -> Tuple[str, Optional[float]]:
    """("cosine", 0.8) for "0.8", ("rate", 0.05) for "5%", ("rate", None) for "". Raises ValueError for another text."""
    number = re.fullmatch(r"([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?) ?(%?)", text)
    try:
        value = float(number[1]) if number else None
    except ValueError:
        value = None
    if text == "":
        return "rate", None
    if value is not None and number[2] and 0 < value < 100:
        return "rate", value / 100
    if value is not None and not number[2] and -1 <= value <= 1:
        return "cosine", value
    raise ValueError(
        f"--threshold {text} must be a cosine from -1 to 1, as 0.8, or a rate of false matches above 0 % and below "
        "100 %, as 5%; without a value the collection decides"
    )


def calibrate(snapshot, text: str = "", seed: int = 0) -> Threshold:
    """The Threshold of the collection `snapshot` that `text` names, see `parse`.

    Raises ValueError where the collection is too small to tell a rate that low.
    """
    kind, value = parse(text)
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(snapshot.live))
    folders = _folders(snapshot)
    labelled = drawn[folders[drawn] >= 0]
    if len(np.unique(folders[labelled])) > 1:
        own, other = _nearest(snapshot, labelled[:ASKED], folders)
        rate = max(RATES["folders"], 1 / len(other)) if value is None else value
        cosine = value if kind == "cosine" else _lowest(other, rate, "pictures")
        alone = own == -np.inf
        right = np.mean((own > other)[~alone] & (own >= cosine)[~alone]) if not alone.all() else 0.0
        return Threshold(cosine, "folders", float(np.mean(other >= cosine)), float(right), len(other))
    vectors = snapshot.embeddings(drawn[:ASKED])
    pairs = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    if not len(pairs):
        raise ValueError(f"{snapshot.folder} has one picture, which says nothing of a threshold: name a cosine later")
    rate = max(RATES["pairs"], 1 / len(pairs)) if value is None else value
    cosine = value if kind == "cosine" else _lowest(pairs, rate, "pairs of pictures")
    return Threshold(cosine, "pairs", float(np.mean(pairs >= cosine)), None, len(pairs))


def _folders(snapshot):
    """The number of the folder that each row's picture is sorted into, (N,); -1 if it is in none or is dead."""
    roots = prefixes(snapshot.manifest.get("folders", []))
    numbers, known = np.full(snapshot.count, -1), {}
    for row in np.flatnonzero(snapshot.live).tolist():
        folder = snapshot.path(row).rpartition("/")[0]
        if folder not in known:
            known[folder] = len(known) if is_sorted_into(folder, roots) else -1
        numbers[row] = known[folder]
    return numbers


def _nearest(snapshot, rows, folders):
    """(cosine of the nearest other picture of its own folder, of another folder) of each of `rows`; -inf for none."""
    own, other = np.full(len(rows), -np.inf), np.full(len(rows), -np.inf)
    queries, step = snapshot.embeddings(rows), max(1, BLOCK // (4 * max(len(rows), snapshot.dim)))
    for first in range(0, snapshot.count, step):
        block = slice(first, min(first + step, snapshot.count))
        snapshot.check(block)
        scores = queries @ snapshot.vectors[block].T
        scores[:, folders[block] < 0] = -np.inf
        same = folders[rows, None] == folders[block]
        itself = rows[:, None] == np.arange(block.start, block.stop)
        own = np.maximum(own, np.where(same & ~itself, scores, -np.inf).max(axis=1))
        other = np.maximum(other, np.where(same, -np.inf, scores).max(axis=1))
    return own, other


def _lowest(cosines, rate, what):
    """The lowest threshold, a multiple of STEP, that at most the share `rate` of `cosines` reach.

    Raises ValueError if one of them is already a larger share.
    """
    allowed = int(rate * len(cosines) + 1e-9)
    if not allowed:
        raise ValueError(
            f"--threshold: a rate of {100 * rate:.3g} % is less than one of the {len(cosines):,} {what} that the index "
            f"can be asked about: name {np.ceil(1000 / len(cosines)) / 10:.3g}% or more, or a cosine"
        )
    largest = np.sort(cosines)[::-1]
    # Above the first one that is too many; where all are allowed, all reach the lowest cosine
    return float(np.floor(largest[allowed] / STEP + 1) * STEP) if allowed < len(largest) else -1.0
