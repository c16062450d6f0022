"""The three global descriptors of section 3.2: equation 1 with p = 1, p -> infinity and p = 3; and a list of all."""

from typing import Any, Dict, Type

from mxnet.gluon import HybridBlock

from gluon_cgd.extensions.powers import ChannelGeM, TrainedGeM, WeightedGeM
from gluon_cgd.extensions.regions import RMAC, CentredSPoC, CroW


def pooled(F: Any, features: Any, kind: str) -> Any:
    """The mean ("avg") or maximum ("max") over the positions: (B, C, h, w) -> (B, C)."""
    return F.flatten(F.Pooling(features, global_pool=True, pool_type=kind, kernel=(1, 1)))


class SPoC(HybridBlock):
    """Mean over the positions: equation 1 with p = 1.

    Inputs: features (B, C, h, w).  Outputs: (B, C).
    """

    def hybrid_forward(self, F, features):
        return pooled(F, features, "avg")


class MAC(HybridBlock):
    """Maximum over the positions: equation 1 with p -> infinity.

    Inputs: features (B, C, h, w).  Outputs: (B, C).
    """

    def hybrid_forward(self, F, features):
        return pooled(F, features, "max")


class GeM(HybridBlock):
    """Generalised mean over the positions: equation 1 with a fixed p, 3 in the paper.

    Activations below `minimum` are raised to it first: a channel that is zero everywhere would get a NaN gradient.
    Inputs: features (B, C, h, w).  Outputs: (B, C).
    """

    takes = ("p", "minimum")  # what `model.poolings_of` makes it with

    def __init__(self, p: float = 3, minimum: float = 1e-6, **kwargs: Any):
        super().__init__(**kwargs)
        self.p = p
        self.minimum = minimum

    def hybrid_forward(self, F, features):
        clamped = F.maximum(features, self.minimum)  # (B, C, h, w)
        # Products for the paper's p: MXNet's power takes twice as long
        powers = clamped * clamped * clamped if self.p == 3 else clamped**self.p
        return pooled(F, powers, "avg") ** (1 / self.p)  # (B, C)


DESCRIPTORS: Dict[str, Type[HybridBlock]] = {"S": SPoC, "M": MAC, "G": GeM}
DESCRIPTORS.update(P=TrainedGeM, Q=ChannelGeM, A=WeightedGeM, R=RMAC, W=CroW, C=CentredSPoC)  # docs/descriptors.md
