"""The whitening of `whitening` as the last layer of a network: what a model whose embeddings are whitened computes."""

from typing import Any

from mxnet.gluon import HybridBlock

from gluon_cgd.extensions.cosines import unit_rows
from gluon_cgd.extensions.whitening import AXES


class PCAWhitening(HybridBlock):
    """Takes off a mean and shrinks some directions of embeddings of length `dim`; at first it changes nothing.

    Its values are no parameters that training changes: `train.Run` writes them into what it saves.
    Inputs: (B, dim).  Outputs: (B, dim) of unit length.
    """

    def __init__(self, dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.count = min(AXES, dim)
        fixed = dict(init="zeros", grad_req="null")
        with self.name_scope():
            self.mean = self.params.get("mean", shape=(dim,), **fixed)
            self.axes = self.params.get("axes", shape=(self.count, dim), **fixed)
            self.gains = self.params.get("gains", shape=(self.count,), **fixed)

    def hybrid_forward(self, F, embedding, mean, axes, gains):
        centred = F.broadcast_sub(embedding, F.expand_dims(mean, axis=0))  # (B, D)
        parts = F.FullyConnected(centred, axes, num_hidden=self.count, no_bias=True)  # (B, r)
        shrunk = F.broadcast_mul(parts, F.expand_dims(gains, axis=0))
        return unit_rows(F, centred + F.dot(shrunk, axes))
