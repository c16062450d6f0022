"""Batches of P classes x K images, so that every anchor of a ranking loss has a positive and a negative.

The paper says only that a batch has 128 images (section 4.2). 32 classes x 4 images is leftthomas/CGD's reading and
ours; embedding-expansion's is 4 x 32.
"""

from typing import NamedTuple, Optional, Sequence, Tuple

import numpy as np

from gluon_cgd.experiment import Experiment
from gluon_cgd.extensions.augmentation import Patch, draw_factors, draw_patches


class Crops(NamedTuple):
    """Where the crops of a batch begin and which of them are mirrored, whole numbers (B,); and what else changes.

    factors: of colour jitter (B, 3), None for none.  patches: of random erasing.
    """

    tops: np.ndarray
    lefts: np.ndarray
    flips: np.ndarray
    factors: Optional[np.ndarray] = None
    patches: Sequence[Patch] = ()


def draw_crops(rng: np.random.Generator, count: int, slack: int) -> Crops:
    """Crops of `count` pictures whose sides are `slack` pixels longer; half of them are flipped (section 4.2)."""
    tops, lefts = rng.integers(slack + 1, size=(2, count))
    return Crops(tops, lefts, rng.integers(2, size=count))


def draw_changes(rng: np.random.Generator, count: int, experiment: Experiment) -> Crops:
    """The crops of `count` pictures, then what `experiment` changes besides; an option that is off draws nothing."""
    crops = draw_crops(rng, count, experiment.resize - experiment.input_size)
    if experiment.colour_jitter:
        crops = crops._replace(factors=draw_factors(rng, count, experiment.colour_jitter))
    if experiment.erasing:
        crops = crops._replace(patches=draw_patches(rng, count, experiment.input_size, experiment.erasing))
    return crops


class ClassBalancedSampler:
    """Draws `classes` different classes and `images` pictures of each.

    A class with fewer gives each of its pictures before it repeats one.

    labels: of the training pictures, (N,). A batch depends only on (seed, iteration), so a resumed run draws the same.
    Raises ValueError if there are fewer classes than a batch needs.
    """

    def __init__(self, labels: np.ndarray, classes: int = 32, images: int = 4, seed: int = 0):
        self.members = [np.flatnonzero(np.asarray(labels) == label) for label in np.unique(labels)]
        if len(self.members) < classes:
            raise ValueError(
                f"a batch of {classes} classes cannot be drawn from {len(self.members)} training classes: "
                f"give --batch-classes {max(2, len(self.members))} or more data"
            )
        self.classes, self.images, self.seed = classes, images, seed

    def batch(self, iteration: int) -> Tuple[np.ndarray, np.random.Generator]:
        """(indices into the labels (classes * images,), the generator that augments these pictures)."""
        rng = np.random.default_rng((self.seed, iteration))
        indices = []
        for chosen in rng.permutation(len(self.members))[: self.classes]:
            members = self.members[chosen]
            rounds = -(-self.images // len(members))
            places = np.concatenate([rng.permutation(len(members)) for _ in range(rounds)])
            indices.append(members[places[: self.images]])
        return np.concatenate(indices), rng
