"""The ranking loss and the auxiliary classification loss. Each returns one value a sample; the mean is the loss."""

from mxnet.gluon import HybridBlock

FAR = 1e6  # farther than any two embeddings


def euclidean_distances(F, embedding):
    """(B, D) -> (B, B) Euclidean distances; the square is clipped at 1e-12, where the root has no gradient."""
    squares = F.sum(embedding**2, axis=1, keepdims=True)  # (B, 1)
    products = F.dot(embedding, embedding, transpose_b=True)  # (B, B)
    return F.sqrt(F.maximum(F.broadcast_add(squares, F.transpose(squares)) - 2 * products, 1e-12))


def same_label(F, label):
    """(B,) -> (B, B): 1 where two samples have one label, the diagonal included."""
    return F.broadcast_equal(F.expand_dims(label, 1), F.expand_dims(label, 0))


class BatchHardTripletLoss(HybridBlock):
    """max(0, margin + farthest positive - nearest negative) for each anchor (Hermans et al., arXiv 1703.07737).

    An anchor without a positive or without a negative in the batch has no triplet: its loss is 0.
    Inputs: embedding (B, D), label (B,).  Outputs: (B,).
    """

    def __init__(self, margin=0.1, **kwargs):
        super().__init__(**kwargs)
        self.margin = margin

    def hybrid_forward(self, F, embedding, label):
        label = F.cast(label, "float32")
        distance = euclidean_distances(F, embedding)  # (B, B)
        same = same_label(F, label)
        positive = same - F.linalg.makediag(F.ones_like(label))
        # Arguments picked, not maxima: among equal distances the gradient must reach one pair, not all
        fixed = F.stop_gradient(distance)
        farthest = F.pick(distance, F.argmax(fixed * positive - FAR * (1 - positive), axis=1))  # (B,)
        nearest = F.pick(distance, F.argmin(fixed + FAR * same, axis=1))  # (B,)
        has_triplet = F.max(positive, axis=1) * (1 - F.min(same, axis=1))
        return F.relu(self.margin + farthest - nearest) * has_triplet


class SmoothedSoftmaxLoss(HybridBlock):
    """Cross entropy of softmax(logits / temperature) against a smoothed label (equation 4 and section 3.3).

    The target is 1 - smoothing on the label plus smoothing / M on each of the M classes.
    Inputs: logits (B, M), label (B,).  Outputs: (B,).
    """

    def __init__(self, smoothing=0.1, temperature=0.5, **kwargs):
        super().__init__(**kwargs)
        self.smoothing = smoothing
        self.temperature = temperature

    def hybrid_forward(self, F, logits, label):
        log_probability = F.log_softmax(logits / self.temperature, axis=-1)  # (B, M)
        return -(1 - self.smoothing) * F.pick(log_probability, label, axis=-1) - self.smoothing * F.mean(
            log_probability, axis=-1
        )


RANKING = {"batch_hard": BatchHardTripletLoss}
