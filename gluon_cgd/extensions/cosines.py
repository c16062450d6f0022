"""Classifiers of cosines, and the losses that need one: normalised softmax, CosFace, ArcFace; and the focal loss."""

import math
from typing import Any

import mxnet as mx
from mxnet.gluon import HybridBlock, nn


def unit_rows(F: Any, rows: Any) -> Any:
    """(B, D) -> (B, D), each row divided by its Euclidean length."""
    return F.broadcast_div(rows, F.sqrt(F.maximum(F.sum(rows**2, axis=1, keepdims=True), 1e-12)))


def marked(F: Any, logits: Any, label: Any) -> Any:
    """(B, M), (B,) -> (B, M): 1 at each row's label, else 0."""
    place = F.cumsum(F.ones_like(logits), axis=1) - 1
    return F.broadcast_equal(place, F.expand_dims(F.cast(label, "float32"), 1))


def cross_entropy(F: Any, logits: Any, label: Any, smoothing: float) -> Any:
    """(B,): as `losses.SmoothedSoftmaxLoss`, of logits (B, M)."""
    log_probability = F.log_softmax(logits, axis=-1)
    return -(1 - smoothing) * F.pick(log_probability, label, axis=-1) - smoothing * F.mean(log_probability, axis=-1)


class Cosines(HybridBlock):
    """The cosines with `units` learned vectors, in place of an FC layer; arguments as of nn.Dense.

    Inputs: (B, in_units).  Outputs: (B, units), from -1 to 1.
    """

    def __init__(self, units: int, in_units: int, weight_initializer: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units
        with self.name_scope():
            self.weight = self.params.get("weight", shape=(units, in_units), init=weight_initializer)

    def hybrid_forward(self, F, vectors, weight):
        products = dict(num_hidden=self.units, no_bias=True)
        return F.FullyConnected(unit_rows(F, vectors), unit_rows(F, weight), **products)


class NormalisedSoftmaxLoss(HybridBlock):
    """Cross entropy of scale x cosine with the class's vector (Zhai and Wu, arXiv 1811.12649), smoothed.

    Inputs: cosines (B, M), label (B,).  Outputs: (B,).
    """

    layer = Cosines  # what the classifier ends with

    def __init__(self, scale: float = 30, smoothing: float = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale, self.smoothing = scale, smoothing

    def lowered(self, F: Any, cosine: Any) -> Any:
        """What stands for the `cosine` with the label's vector, (B, M)."""
        return cosine

    def hybrid_forward(self, F, cosines, label):
        cosines = cosines + marked(F, cosines, label) * (self.lowered(F, cosines) - cosines)
        return cross_entropy(F, cosines * self.scale, label, self.smoothing)


class CosFaceLoss(NormalisedSoftmaxLoss):
    """As NormalisedSoftmaxLoss, with the label's cosine lowered by `margin` (Wang et al., arXiv 1801.09414)."""

    def __init__(self, margin: float = 0.35, scale: float = 30, smoothing: float = 0, **kwargs: Any):
        super().__init__(scale, smoothing, **kwargs)
        self.margin = margin

    def lowered(self, F: Any, cosine: Any) -> Any:
        """The cosine less the margin."""
        return cosine - self.margin


class ArcFaceLoss(CosFaceLoss):
    """As NormalisedSoftmaxLoss, with `margin` added to the label's angle (Deng et al., arXiv 1801.07698).

    Where the angle would become larger than pi, the cosine is lowered by margin x sin(margin), as in the authors' code.
    """

    def __init__(self, margin: float = 0.5, scale: float = 30, smoothing: float = 0, **kwargs: Any):
        super().__init__(margin, scale, smoothing, **kwargs)

    def lowered(self, F: Any, cosine: Any) -> Any:
        """The cosine of the angle plus the margin."""
        sine = F.sqrt(F.maximum(1 - cosine**2, 1e-6))  # at 1 and -1 it would have an infinite gradient
        turned = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        fits = cosine >= math.cos(math.pi - self.margin)
        return fits * turned + (1 - fits) * (cosine - self.margin * math.sin(self.margin))


class FocalLoss(HybridBlock):
    """The smoothed cross entropy, times (1 - probability of the label)^gamma (Lin et al., arXiv 1708.02002).

    With several classes and a softmax; gamma = 0 is the paper's loss.
    Inputs: logits (B, M), label (B,).  Outputs: (B,).
    """

    layer = nn.Dense

    def __init__(self, gamma: float = 2, smoothing: float = 0, temperature: float = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.gamma, self.smoothing, self.temperature = gamma, smoothing, temperature

    def hybrid_forward(self, F, logits, label):
        logits = logits / self.temperature
        probability = F.exp(F.pick(F.log_softmax(logits, axis=-1), label, axis=-1))
        return F.maximum(1 - probability, 1e-7) ** self.gamma * cross_entropy(F, logits, label, self.smoothing)


def proxies(classes: int, dim: int, rate: float) -> Cosines:
    """The cosines with a proxy of each class, which learns `rate` times as fast as the learning rate says.

    Adam's steps have the same length whatever the scale of a parameter, and a cosine does not depend on it. So vectors
    of length 1 / rate turn `rate` times as far in a step as vectors of length 1.
    """
    return Cosines(classes, dim, mx.init.Normal(1 / (rate * math.sqrt(dim))))
