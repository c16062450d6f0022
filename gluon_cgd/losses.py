"""The ranking losses (section 4.2, Table 6) and the classification loss (section 3.3); and lists with others' too.

Each returns one value per sample; their mean is the loss. Notation: B batch, D embedding, M classes.
"""

from typing import Any, Callable, Dict, Tuple

import numpy as np
from mxnet.gluon import HybridBlock, nn

from gluon_cgd.experiment import Experiment
from gluon_cgd.extensions import cosines, ranking

FAR = 1e6  # farther than any two embeddings


def euclidean_distances(F: Any, embedding: Any) -> Any:
    """(B, D) -> (B, B) Euclidean distances; squares are clipped at 1e-12, below which they get no gradient."""
    squares = F.sum(embedding**2, axis=1, keepdims=True)  # (B, 1)
    products = F.dot(embedding, embedding, transpose_b=True)  # (B, B)
    return F.sqrt(F.maximum(F.broadcast_add(squares, F.transpose(squares)) - 2 * products, 1e-12))


def masks(F: Any, label: Any) -> Tuple[Any, Any, Any]:
    """(B,) -> same, positive, has_pairs: (B, B), (B, B), (B,).

    same is 1 where two samples have one label; positive is `same` without the diagonal; has_pairs is 1 for an anchor
    with a positive and a negative in the batch. An anchor without them has no triplet, and every loss makes it 0.
    """
    label = F.cast(label, "float32")
    same = F.broadcast_equal(F.expand_dims(label, 1), F.expand_dims(label, 0))
    positive = same - F.linalg.makediag(F.ones_like(label))
    return same, positive, F.max(positive, axis=1) * (1 - F.min(same, axis=1))


def hardest(F: Any, distance: Any, same: Any, positive: Any) -> Tuple[Any, Any]:
    """(B, B) distances -> the distance of each anchor's farthest positive and of its nearest negative, (B,) each."""
    # Pick the argmax, not the max: among equal distances the gradient must reach one pair, not all
    fixed = F.stop_gradient(distance)
    farthest = F.pick(distance, F.argmax(fixed * positive - FAR * (1 - positive), axis=1))
    nearest = F.pick(distance, F.argmin(fixed + FAR * same, axis=1))
    return farthest, nearest


class BatchHardTripletLoss(HybridBlock):
    """max(0, margin + farthest positive - nearest negative) for each anchor (Hermans et al., arXiv 1703.07737).

    The paper's ranking loss (section 3.2); "Triplet" with one dagger in Table 6.
    Inputs: embedding (B, D), label (B,).  Outputs: (B,).
    """

    def __init__(self, margin: float = 0.1, **kwargs: Any):
        super().__init__(**kwargs)
        self.margin = margin

    def hybrid_forward(self, F, embedding, label):
        same, positive, has_pairs = masks(F, label)
        farthest, nearest = hardest(F, euclidean_distances(F, embedding), same, positive)
        return F.relu(self.margin + farthest - nearest) * has_pairs  # (B,)


class SoftMarginTripletLoss(HybridBlock):
    """ln(1 + exp(farthest positive - nearest negative)) for each anchor (Hermans et al., arXiv 1703.07737).

    "Triplet" with two daggers in Table 6.
    Inputs: embedding (B, D), label (B,).  Outputs: (B,).
    """

    def hybrid_forward(self, F, embedding, label):
        same, positive, has_pairs = masks(F, label)
        farthest, nearest = hardest(F, euclidean_distances(F, embedding), same, positive)
        return F.Activation(farthest - nearest, act_type="softrelu") * has_pairs


def point_to_set(F: Any, distance: Any, pairs: Any, weight: Any) -> Any:
    """(B,): the mean distance to the set that `pairs` (B, B) marks, each member counting by its `weight` (B, B)."""
    weight = weight * pairs
    is_empty = F.sum(pairs, axis=1) == 0
    return F.sum(weight * distance, axis=1) / (F.sum(weight, axis=1) + is_empty)


class HAP2SELoss(HybridBlock):
    """Hard-aware point-to-set loss with exponential weights (Yu et al., arXiv 1807.11206; "HAP2S_E" in Table 6).

    max(0, D+ - D- + margin): D+ weighs each positive by exp(distance / sigma), D- each negative by
    exp(-distance / sigma), so that hard ones count more; gradients flow through the weights.
    Inputs: embedding (B, D) of unit length, label (B,).  Outputs: (B,).
    """

    def __init__(self, sigma: float = 0.5, margin: float = 0.1, **kwargs: Any):
        super().__init__(**kwargs)
        self.sigma, self.margin = sigma, margin

    def weights(self, F: Any, distance: Any) -> Tuple[Any, Any]:
        """Of positives and of negatives at `distance`, (B, B) each."""
        return F.exp(distance / self.sigma), F.exp(-distance / self.sigma)

    def hybrid_forward(self, F, embedding, label):
        same, positive, has_pairs = masks(F, label)
        distance = euclidean_distances(F, embedding)  # (B, B)
        of_positives, of_negatives = self.weights(F, distance)
        far = point_to_set(F, distance, positive, of_positives)
        near = point_to_set(F, distance, 1 - same, of_negatives)
        return F.relu(far - near + self.margin) * has_pairs


class HAP2SPLoss(HAP2SELoss):
    """As HAP2SELoss, with weights (distance + 1)^alpha and, of negatives, (distance + 1)^(-2 alpha): "HAP2S_P"."""

    def __init__(self, alpha: float = 10, margin: float = 0.1, **kwargs: Any):
        super().__init__(margin=margin, **kwargs)
        self.alpha = alpha

    def weights(self, F: Any, distance: Any) -> Tuple[Any, Any]:
        """Of positives and of negatives at `distance`, (B, B) each."""
        return (distance + 1) ** self.alpha, (distance + 1) ** (-2 * self.alpha)


class MarginLoss(HybridBlock):
    """Margin loss with distance-weighted sampling (Wu et al., arXiv 1706.07567), its boundary fixed (Table 6).

    One negative is drawn for every pair of an anchor and a positive, with the probabilities of
    `negative_probabilities`, which explains `cutoff` and `nonzero_cutoff`. MXNet's generator draws: seed it first.
    With d the distances, max(0, margin + d_positive - boundary) + max(0, margin + boundary - d_negative) is summed
    over all pairs and divided by the number of terms above 0; without such a term the loss is 0.
    A pair whose anchor has no negative to draw has the first term only.
    Inputs: embedding (B, D) of unit length, label (B,).  Outputs: (B,), each anchor's part; the mean is the loss.
    """

    def __init__(
        self,
        margin: float = 0.1,
        boundary: float = 1.2,
        cutoff: float = 0.5,
        nonzero_cutoff: float = 1.3,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.margin, self.boundary = margin, boundary
        self.cutoff, self.nonzero_cutoff = cutoff, nonzero_cutoff

    def probabilities(self, F: Any, embedding: Any, distance: Any, same: Any) -> Any:
        """`negative_probabilities` on the device: (B, B)."""
        dim = F.mean(F.sum(F.ones_like(embedding), axis=1))  # (1,)
        near = F.maximum(distance, self.cutoff)
        inside = F.log(F.maximum(1 - near**2 / 4, 1e-8))  # (B, B)
        weight = F.broadcast_mul(2 - dim, F.log(near)) - F.broadcast_mul((dim - 3) / 2, inside)
        allowed = (1 - same) * (distance < self.nonzero_cutoff)
        largest = F.max(weight * allowed - FAR * (1 - allowed), axis=1, keepdims=True)
        weight = F.exp(F.minimum(F.broadcast_sub(weight, largest), 0)) * allowed
        return F.broadcast_div(weight, F.maximum(F.sum(weight, axis=1, keepdims=True), 1e-30))

    def hybrid_forward(self, F, embedding, label):
        same, positive, _ = masks(F, label)
        distance = euclidean_distances(F, embedding)  # (B, B)
        cumulated = F.cumsum(F.stop_gradient(self.probabilities(F, embedding, distance, same)), axis=1)  # (B, B)
        mass = F.max(cumulated, axis=1, keepdims=True)  # (B, 1): 1, or 0 without a negative
        drawn = F.broadcast_mul(F.random.uniform_like(F.stop_gradient(distance)), mass)  # for anchor a and positive p
        # (B, B, B): from the negative n on that is drawn for a and p; the step there picks its distance
        from_it = F.broadcast_greater(F.expand_dims(cumulated, 1), F.expand_dims(drawn, 2))
        before = F.slice_axis(F.concat(F.zeros_like(F.expand_dims(drawn, 2)), from_it, dim=2), axis=2, begin=0, end=-1)
        negative = F.reshape(F.batch_dot(from_it - before, F.expand_dims(distance, 2)), (0, -1))  # (B, B)
        has_negative = F.broadcast_mul(mass > 0, positive)
        too_far = F.relu(self.margin + distance - self.boundary) * positive  # (B, B)
        too_near = F.relu(self.margin + self.boundary - negative) * has_negative  # (B, B)
        active = F.sum(too_far > 0) + F.sum(too_near > 0)  # (1,)
        total = F.sum(too_far + too_near, axis=1)  # (B,)
        return F.broadcast_mul(total, F.sum(F.ones_like(total)) / F.maximum(active, 1))


class SmoothedSoftmaxLoss(HybridBlock):
    """Cross entropy of softmax(logits / temperature) against a smoothed label (equation 4, section 3.3).

    The target distribution is 1 - smoothing on the label, plus smoothing / M on each of the M classes.
    Inputs: logits (B, M), label (B,).  Outputs: (B,).
    """

    layer = nn.Dense  # what the classifier ends with

    def __init__(self, smoothing: float = 0.1, temperature: float = 0.5, **kwargs: Any):
        super().__init__(**kwargs)
        self.smoothing = smoothing
        self.temperature = temperature

    def hybrid_forward(self, F, logits, label):
        log_probability = F.log_softmax(logits / self.temperature, axis=-1)  # (B, M)
        return -(1 - self.smoothing) * F.pick(log_probability, label, axis=-1) - self.smoothing * F.mean(
            log_probability, axis=-1
        )


def uses_proxies(experiment: Experiment) -> bool:
    """Whether the ranking loss compares embeddings with learned proxies, of which the network then has some."""
    return bool(getattr(RANKING[experiment.loss](experiment), "of_proxies", False))


def negative_probabilities(
    distances: np.ndarray, label: np.ndarray, dim: int, cutoff: float = 0.5, nonzero_cutoff: float = 1.3
) -> np.ndarray:
    """(B, B): the probability with which anchor a (row) draws each item as its negative. Rows sum to 1, or are all 0.

    distances (B, B): Euclidean; label (B,). Only items of other classes nearer than `nonzero_cutoff` are drawn; a row
    without any is all 0. The probability is inverse to how often a distance d occurs on the unit sphere of `dim`
    dimensions, d^(dim-2) (1 - d^2 / 4)^((dim-3)/2) (Wu et al., arXiv 1706.07567); smaller d count as `cutoff`.
    Each row is scaled by its own largest weight. MXNet's example of this loss scales by that of the whole batch, which
    underflows from 512 dimensions on: it then draws from everything, positives included.
    """
    distances, label = np.asarray(distances, np.float64), np.asarray(label)
    near = np.maximum(distances, cutoff)
    with np.errstate(divide="ignore"):
        weight = (2.0 - dim) * np.log(near) - (dim - 3.0) / 2 * np.log(np.maximum(1 - near**2 / 4, 1e-8))
    allowed = (label[:, None] != label) & (distances < nonzero_cutoff)
    largest = np.max(weight, axis=1, keepdims=True, where=allowed, initial=-np.inf)
    weight = np.exp(np.where(allowed, weight - np.where(np.isfinite(largest), largest, 0), -np.inf))
    return weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)


RANKING: Dict[str, Callable[[Experiment], HybridBlock]] = {  # name -> the loss of an Experiment
    "batch_hard": lambda experiment: BatchHardTripletLoss(experiment.margin),
    "soft_margin": lambda experiment: SoftMarginTripletLoss(),
    "hap2s_e": lambda experiment: HAP2SELoss(experiment.hap2s_sigma, experiment.margin),
    "hap2s_p": lambda experiment: HAP2SPLoss(experiment.hap2s_alpha, experiment.margin),
    "margin": lambda experiment: MarginLoss(experiment.margin, experiment.margin_boundary),
    # Not in the paper
    "multi_similarity": lambda e: ranking.MultiSimilarityLoss(e.margin, e.ms_alpha, e.ms_beta, e.ms_base),
    "proxy_anchor": lambda e: ranking.ProxyAnchorLoss(e.margin, e.proxy_alpha),
}

CLASSIFICATION: Dict[str, Callable[[Experiment], HybridBlock]] = {  # each has a `layer`, which makes its classifier
    "softmax": lambda experiment: SmoothedSoftmaxLoss(experiment.smoothing, experiment.temperature),
    # Not in the paper
    "normalised_softmax": lambda e: cosines.NormalisedSoftmaxLoss(e.cosine_scale, e.smoothing),
    "cosface": lambda e: cosines.CosFaceLoss(e.cosface_margin, e.cosine_scale, e.smoothing),
    "arcface": lambda e: cosines.ArcFaceLoss(e.arcface_margin, e.cosine_scale, e.smoothing),
    "focal": lambda e: cosines.FocalLoss(e.focal_gamma, e.smoothing, e.temperature),
}
