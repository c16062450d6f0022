"""The three global descriptors: equation 1 with p = 1, p -> infinity and p = 3."""

from mxnet.gluon import HybridBlock


class SPoC(HybridBlock):
    """Mean over the positions: equation 1 with p = 1.

    Inputs: features (B, C, h, w).  Outputs: (B, C).
    """

    def hybrid_forward(self, F, features):
        return F.flatten(F.Pooling(features, global_pool=True, pool_type="avg", kernel=(1, 1)))


class MAC(HybridBlock):
    """Maximum over the positions: equation 1 with p -> infinity.

    Inputs: features (B, C, h, w).  Outputs: (B, C).
    """

    def hybrid_forward(self, F, features):
        return F.flatten(F.Pooling(features, global_pool=True, pool_type="max", kernel=(1, 1)))


class GeM(HybridBlock):
    """Generalised mean over the positions: equation 1 with a fixed p.

    Activations are clamped at `minimum` first: a channel that is zero everywhere would get a NaN gradient.
    Inputs: features (B, C, h, w).  Outputs: (B, C).
    """

    def __init__(self, p=3, minimum=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.p = p
        self.minimum = minimum

    def hybrid_forward(self, F, features):
        powers = F.maximum(features, self.minimum) ** self.p  # (B, C, h, w)
        return F.mean(powers, axis=(2, 3)) ** (1 / self.p)  # (B, C)


DESCRIPTORS = {"S": SPoC, "M": MAC, "G": GeM}
