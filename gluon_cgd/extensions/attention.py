"""Attention in front of the descriptors: squeeze-and-excitation and CBAM weigh the channels and places of the last map.

At first all weights are 1/2, as the last layer of each begins at 0. The descriptors are homogeneous and embeddings have
unit length, so an untrained network is the same with and without attention, and pretrained features are kept.
"""

from typing import Any, Callable, Dict

from mxnet.gluon import HybridBlock, nn

RATIO = 16  # of the channels to the hidden units, in both papers


def pooled(F: Any, features: Any, kind: str) -> Any:
    """The mean ("avg") or maximum ("max") over the positions: (B, C, h, w) -> (B, C)."""
    return F.flatten(F.Pooling(features, global_pool=True, pool_type=kind, kernel=(1, 1)))


def channels_weighed(F: Any, features: Any, score: Any) -> Any:
    """(B, C, h, w), (B, C) -> (B, C, h, w): each channel times the sigmoid of its score."""
    return F.broadcast_mul(features, F.expand_dims(F.expand_dims(F.sigmoid(score), axis=2), axis=3))


class Scores(nn.HybridSequential):
    """Two FC layers without biases, a ReLU between them: (B, C) -> (B, C); the second one begins at 0."""

    def __init__(self, channels: int, ratio: int = RATIO, **kwargs: Any):
        super().__init__(**kwargs)
        hidden = max(1, channels // ratio)
        with self.name_scope():
            self.add(nn.Dense(hidden, "relu", use_bias=False, in_units=channels))
            self.add(nn.Dense(channels, use_bias=False, in_units=hidden, weight_initializer="zeros"))


class SqueezeExcitation(HybridBlock):
    """A weight of each channel, from the means of all (Hu et al., arXiv 1709.01507, equations 2 to 4).

    channels: C.  ratio: r, of C to the number of hidden units.
    Inputs: features (B, C, h, w).  Outputs: the same.
    """

    def __init__(self, channels: int, ratio: int = RATIO, **kwargs: Any):
        super().__init__(**kwargs)
        with self.name_scope():
            self.scores = Scores(channels, ratio)

    def hybrid_forward(self, F, features):
        return channels_weighed(F, features, self.scores(pooled(F, features, "avg")))


class CBAM(HybridBlock):
    """A weight of each channel, then one of each position (Woo et al., arXiv 1807.06521, equations 2 and 3).

    Channels: as SqueezeExcitation, with the scores of the means and of the maxima added. Positions: a convolution of
    the mean and the maximum over the channels. As in the paper, it has no batch norm, unlike the authors' code.
    channels: C.  ratio: of C to the number of hidden units.  kernel: side of the convolution.
    Inputs: features (B, C, h, w).  Outputs: the same.
    """

    def __init__(self, channels: int, ratio: int = RATIO, kernel: int = 7, **kwargs: Any):
        super().__init__(**kwargs)
        around = dict(kernel_size=kernel, padding=kernel // 2)
        with self.name_scope():
            self.scores = Scores(channels, ratio)
            self.places = nn.Conv2D(1, use_bias=False, in_channels=2, weight_initializer="zeros", **around)

    def hybrid_forward(self, F, features):
        of_means, of_maxima = (self.scores(pooled(F, features, kind)) for kind in ("avg", "max"))
        features = channels_weighed(F, features, of_means + of_maxima)
        along = dict(axis=1, keepdims=True)
        seen = F.concat(F.mean(features, **along), F.max(features, **along), dim=1)  # (B, 2, h, w)
        return F.broadcast_mul(features, F.sigmoid(self.places(seen)))


ATTENTION: Dict[str, Callable[[int], HybridBlock]] = {"se": SqueezeExcitation, "cbam": CBAM}  # made with C
