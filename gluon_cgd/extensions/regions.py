"""Descriptors for which it matters where in the map an activation is: regions, and weights of positions."""

from typing import Any

import numpy as np
from mxnet.gluon import HybridBlock

from gluon_cgd.extensions.places import DEAD, prior, regions


def length(F: Any, vectors: Any, axis: Any) -> Any:
    """The Euclidean length of `vectors` along `axis`, which stays; at least 1e-6."""
    return F.sqrt(F.maximum(F.sum(vectors**2, axis=axis, keepdims=True), 1e-12))


class RMAC(HybridBlock):
    """The sum of the maxima of regions, each of unit length (Tolias et al., arXiv 1511.05879), without their whitening.

    side: of the square feature map.  scales: 1, 2 or 3; see `places.regions`.
    Inputs: features (B, C, side, side), of no other size: regions of a larger map would be cut off.  Outputs: (B, C).
    """

    takes = ("side", "scales")

    def __init__(self, side: int = 14, scales: int = 3, **kwargs: Any):
        super().__init__(**kwargs)
        self.side, self.scales = side, scales

    def hybrid_forward(self, F, features):
        maxima = [
            F.max(F.slice(features, begin=(None, None, *first), end=(None, None, *last)), axis=(2, 3))
            for first, last in regions(self.side, self.scales)
        ]
        return F.add_n(*[F.broadcast_div(vectors, length(F, vectors, 1)) for vectors in maxima])


class CroW(HybridBlock):
    """Weighted sum of the positions, times weights of the channels (Kalantidis et al., arXiv 1512.04065).

    A position weighs the square root of its share in the length of all; a channel weighs more, the fewer positions it
    is active at (weights that have no gradient). Activations below 0 count as 0.
    Inputs: features (B, C, h, w).  Outputs: (B, C).
    """

    def hybrid_forward(self, F, features):
        positive = F.relu(features)
        place = F.sum(positive, axis=1, keepdims=True)  # (B, 1, h, w)
        place = F.sqrt(F.maximum(F.broadcast_div(place, length(F, place, (2, 3))), DEAD))
        alive = F.stop_gradient(F.mean(positive > 0, axis=(2, 3))) + DEAD  # (B, C)
        channel = F.log(F.broadcast_div(F.sum(alive, axis=1, keepdims=True), alive))
        return channel * F.sum(F.broadcast_mul(positive, place), axis=(2, 3))


class CentredSPoC(HybridBlock):
    """Mean over the positions, those near the centre counting more (Babenko and Lempitsky, arXiv 1510.07493).

    side: of the square feature map; see `places.prior`.
    Inputs: features (B, C, side, side).  Outputs: (B, C).
    """

    takes = ("side",)

    def __init__(self, side: int = 14, **kwargs: Any):
        super().__init__(**kwargs)
        self.side = side
        with self.name_scope():
            self.prior = self.params.get_constant("prior", prior(side)[None, None].astype(np.float32))

    def hybrid_forward(self, F, features, prior):
        return F.sum(F.broadcast_mul(features, prior), axis=(2, 3))
