"""Ranking losses that people compare with, and that Table 6 does not have: multi-similarity and proxy-anchor."""

from typing import Any

from mxnet.gluon import HybridBlock

from gluon_cgd.extensions.cosines import marked

FAR = 1e6  # larger than any exponent here


def log_one_plus_exp(F: Any, exponents: Any, kept: Any, axis: int) -> Any:
    """ln(1 + the sum of exp(exponents) where `kept` is 1) along `axis`, without overflow."""
    lowered = exponents * kept - FAR * (1 - kept)
    largest = F.stop_gradient(F.relu(F.max(lowered, axis=axis, keepdims=True)))
    total = F.sum(F.exp(F.broadcast_sub(lowered, largest)), axis=axis, keepdims=True) + F.exp(-largest)
    return F.sum(F.log(total) + largest, axis=axis)


class MultiSimilarityLoss(HybridBlock):
    """Multi-similarity loss with its mining (Wang et al., arXiv 1904.06627).

    Of an anchor's pairs those are kept that are hard: a negative whose cosine is above the lowest of a positive less
    `margin`, a positive whose cosine is below the highest of a negative plus `margin`. The loss is
    ln(1 + sum exp(-alpha (s - base))) / alpha of the positives, plus ln(1 + sum exp(beta (s - base))) / beta of the
    negatives. An anchor without positives or without negatives costs nothing.
    Inputs: embedding (B, D) of unit length, label (B,).  Outputs: (B,).
    """

    def __init__(self, margin: float = 0.1, alpha: float = 2, beta: float = 50, base: float = 0.5, **kwargs: Any):
        super().__init__(**kwargs)
        self.margin, self.alpha, self.beta, self.base = margin, alpha, beta, base

    def hybrid_forward(self, F, embedding, label):
        label = F.cast(label, "float32")
        cosine = F.dot(embedding, embedding, transpose_b=True)  # (B, B)
        same = F.broadcast_equal(F.expand_dims(label, 1), F.expand_dims(label, 0))
        positive, negative = same - F.linalg.makediag(F.ones_like(label)), 1 - same
        fixed = F.stop_gradient(cosine)
        lowest = F.min(fixed * positive + FAR * (1 - positive), axis=1, keepdims=True)  # FAR without positives
        highest = F.max(fixed * negative - FAR * (1 - negative), axis=1, keepdims=True)
        positive = positive * F.broadcast_lesser(fixed, highest + self.margin)
        negative = negative * F.broadcast_greater(fixed, lowest - self.margin)
        pull = log_one_plus_exp(F, -self.alpha * (cosine - self.base), positive, 1) / self.alpha
        return pull + log_one_plus_exp(F, self.beta * (cosine - self.base), negative, 1) / self.beta


class ProxyAnchorLoss(HybridBlock):
    """Proxy-anchor loss (Kim et al., arXiv 2003.13911): a learned proxy of each class is the anchor.

    Each proxy gathers ln(1 + sum exp(-alpha (s - margin))) over the pictures of its class, divided by the number of
    classes in the batch, and ln(1 + sum exp(alpha (s + margin))) over all others, divided by the number of classes.
    Inputs: the cosines of the embeddings with the proxies (B, M), label (B,).  Outputs: (B,), each the whole loss.
    """

    of_proxies = True  # it takes the cosines that the network adds to its logits, and not the embedding

    def __init__(self, margin: float = 0.1, alpha: float = 32, **kwargs: Any):
        super().__init__(**kwargs)
        self.margin, self.alpha = margin, alpha

    def hybrid_forward(self, F, cosines, label):
        own = marked(F, cosines, label)  # (B, M)
        pull = log_one_plus_exp(F, -self.alpha * (cosines - self.margin), own, 0)  # (M,), 0 without a picture
        push = log_one_plus_exp(F, self.alpha * (cosines + self.margin), 1 - own, 0)
        present = F.sum(F.max(own, axis=0, keepdims=True), axis=1)  # (1,)
        total = F.broadcast_div(F.sum(pull, keepdims=True), present) + F.mean(push, keepdims=True)
        return F.broadcast_mul(total, F.ones_like(F.cast(label, "float32")))
