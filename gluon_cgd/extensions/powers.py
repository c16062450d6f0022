"""Means of powers whose exponent, or whose weights, are learned.

Each channel is divided by its largest activation first and multiplied by it at the end, so that no power leaves the
range of float32. The result is the same: a mean of powers is homogeneous of degree 1, and so is its gradient.
"""

import math
from typing import Any, List, Tuple

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock

LOWEST, HIGHEST = 1.0, 10.0  # between which a learned exponent stays: from the mean to nearly the maximum
RATE = 10.0  # how many times as fast as the learning rate says an exponent is learned (Radenovic's code has that too)


def scaled(F: Any, features: Any, minimum: float) -> Tuple[Any, Any]:
    """(B, C, h, w) -> the logarithms of the features, each channel divided by its maximum, and that, (B, C, 1, 1)."""
    clamped = F.maximum(features, minimum)
    largest = F.stop_gradient(F.max(clamped, axis=(2, 3), keepdims=True))
    return F.log(F.broadcast_div(clamped, largest)), largest


class TrainedGeM(HybridBlock):
    """Generalised mean with a trained p (Radenovic et al., arXiv 1711.02512; the paper's section 3.2 allows it).

    The parameter `raw`, (1, `count`, 1, 1), makes p = 1 + 9 sigmoid(start + 10 raw), which stays between 1 and 10 and
    never loses its gradient there. `raw` begins at 0, where p is what is given; weight decay would pull it back there.
    The factor 10 is the rate: Adam's steps do not depend on a parameter's scale, so p learns ten times as fast.
    Activations below `minimum` are raised to it first, as by GeM.
    Inputs: features (B, C, h, w).  Outputs: (B, C).
    Raises ValueError for a p that is not between 1 and 10.
    """

    takes: Tuple[str, ...] = ("p", "minimum")

    def __init__(self, p: float = 3, minimum: float = 1e-6, count: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        if not LOWEST < p < HIGHEST:
            raise ValueError(f"p {p} of a trained GeM must be between {LOWEST:g} and {HIGHEST:g}: 3 is the paper's")
        self.minimum, self.start = minimum, math.log((p - LOWEST) / (HIGHEST - p))
        with self.name_scope():
            self.raw = self.params.get("raw", shape=(1, count, 1, 1), init=mx.init.Zero())

    def learned(self) -> List[float]:
        """The exponent, or one a channel."""
        raw = self.raw.list_data()[0].asnumpy().ravel().astype(np.float64)
        return (LOWEST + (HIGHEST - LOWEST) / (1 + np.exp(-self.start - RATE * raw))).tolist()

    def hybrid_forward(self, F, features, raw):
        p = LOWEST + (HIGHEST - LOWEST) * F.sigmoid(self.start + RATE * raw)  # (1, 1, 1, 1) or (1, C, 1, 1)
        logarithms, largest = scaled(F, features, self.minimum)
        mean = F.mean(F.exp(F.broadcast_mul(logarithms, p)), axis=(2, 3), keepdims=True)  # (B, C, 1, 1)
        return F.flatten(F.exp(F.broadcast_div(F.log(mean), p)) * largest)


class ChannelGeM(TrainedGeM):
    """As TrainedGeM, with a p for each of the `channels`."""

    takes = ("p", "minimum", "channels")

    def __init__(self, p: float = 3, minimum: float = 1e-6, channels: int = 2048, **kwargs: Any):
        super().__init__(p, minimum, channels, **kwargs)


class WeightedGeM(HybridBlock):
    """Generalised mean with a learned weight for each position (Wu et al., Weighted Generalized Mean Pooling, 2018).

    The weights of a picture are a softmax over the positions of a 1 x 1 convolution of its features, which begins at 0:
    at first all positions weigh the same, as by GeM. p is fixed.
    Inputs: features (B, C, h, w).  Outputs: (B, C).
    """

    takes = ("p", "minimum", "channels")

    def __init__(self, p: float = 3, minimum: float = 1e-6, channels: int = 2048, **kwargs: Any):
        super().__init__(**kwargs)
        self.p, self.minimum = p, minimum
        with self.name_scope():
            self.attention = self.params.get("attention", shape=(1, channels, 1, 1), init=mx.init.Zero())

    def learned(self) -> List[float]:
        """What the score of a position is made of: a weight a channel."""
        return self.attention.list_data()[0].asnumpy().ravel().tolist()

    def hybrid_forward(self, F, features, attention):
        score = F.Convolution(features, attention, kernel=(1, 1), num_filter=1, no_bias=True)  # (B, 1, h, w)
        score = F.exp(F.broadcast_sub(score, F.stop_gradient(F.max(score, axis=(2, 3), keepdims=True))))
        weight = F.broadcast_div(score, F.sum(score, axis=(2, 3), keepdims=True))
        logarithms, largest = scaled(F, features, self.minimum)
        mean = F.sum(F.broadcast_mul(F.exp(self.p * logarithms), weight), axis=(2, 3), keepdims=True)
        return F.flatten(F.maximum(mean, 1e-30) ** (1 / self.p) * largest)
