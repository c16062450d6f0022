"""Batches of P classes x K images, so that every anchor of a ranking loss has a positive and a negative."""

import numpy as np


class ClassBalancedSampler:
    """Draws `classes` different classes and `images` pictures of each; with replacement where a class is smaller.

    A batch depends on (seed, iteration) alone: a resumed run draws what it would have drawn.
    Raises ValueError when there are not enough classes.
    """

    def __init__(self, labels, classes=32, images=4, seed=0):
        labels = np.asarray(labels)
        self.members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        if len(self.members) < classes:
            raise ValueError(
                f"a batch of {classes} classes cannot be drawn from {len(self.members)} training classes: "
                f"give --batch-classes {max(2, len(self.members))} or more data"
            )
        self.classes, self.images, self.seed = classes, images, seed

    def batch(self, iteration):
        """(indices, rng): int (classes * images,) into the labels, and the generator to augment the pictures with."""
        rng = np.random.default_rng((self.seed, iteration))
        indices = []
        for chosen in rng.permutation(len(self.members))[: self.classes]:
            members = self.members[chosen]
            enough = len(members) >= self.images
            places = (
                rng.permutation(len(members))[: self.images] if enough else rng.integers(len(members), size=self.images)
            )
            indices.append(members[places])
        return np.concatenate(indices), rng
