"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation, with ReLU6, and with a stem and head of fixed width.

TensorFlow's own networks (https://github.com/tensorflow/tpu, efficientnet/lite), so a convolution is padded as its
SAME. Their parameters come from the package index: see `fetch.packages`.
"""

import math

from mxnet.gluon import HybridBlock, nn

# Of each stage: blocks, kernel, stride of the first block, factor by which a block widens, channels
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280  # channels
FACTORS = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite1": (1.0, 1.1), "efficientnet_lite2": (1.1, 1.2)}


class SameConvolution(nn.Conv2D):
    """A convolution without bias, padded as TensorFlow's SAME: ceil(side / stride) outputs along each axis.

    Where the number of zeros is odd, as for stride 2 on an even side, SAME puts one more behind than in front. MXNet
    pads alike on both sides; so two more are put in front, and the first output, which they made, is left out.
    side: of the maps that come in; for stride 2 it only matters whether it is odd.
    """

    def __init__(self, channels: int, kernel: int, stride: int, in_channels: int, side: int, groups: int = 1):
        zeros = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        self.left_out = zeros % 2
        padding = zeros // 2 + stride * self.left_out
        super().__init__(channels, kernel, stride, padding, groups=groups, use_bias=False, in_channels=in_channels)

    def remove_stride(self) -> None:
        """Set the stride to 1, which is padded alike on both sides."""
        self.left_out = 0
        self._kwargs.update(stride=(1, 1), pad=tuple(kernel // 2 for kernel in self._kwargs["kernel"]))

    def hybrid_forward(self, F, x, weight, bias=None):
        x = super().hybrid_forward(F, x, weight, bias)  # (B, C, h, w), or one more along both axes
        return F.slice(x, begin=(None, None, 1, 1), end=(None, None, None, None)) if self.left_out else x


class ReLU6(HybridBlock):
    """min(max(x, 0), 6)."""

    def hybrid_forward(self, F, x):
        return F.clip(x, 0, 6)


def layer(convolution: HybridBlock, channels: int, active: bool = True) -> nn.HybridSequential:
    """`convolution`, a batch norm, and if `active` a ReLU6."""
    layers = nn.HybridSequential()
    layers.add(convolution, nn.BatchNorm(epsilon=1e-3, in_channels=channels))
    if active:
        layers.add(ReLU6())
    return layers


class Block(HybridBlock):
    """An inverted residual: wider by `factor`, a depthwise convolution, narrower; added to what came in if it fits."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, factor: int, side: int):
        super().__init__()
        wide, self.stride = inside * factor, stride
        self.added = stride == 1 and inside == outside
        self.expand = layer(pointwise(wide, inside), wide) if factor > 1 else None
        self.depthwise = layer(SameConvolution(wide, kernel, stride, wide, side, groups=wide), wide)
        self.project = layer(pointwise(outside, wide), outside, active=False)

    def hybrid_forward(self, F, x):
        y = self.expand(x) if self.expand is not None else x
        y = self.project(self.depthwise(y))
        return x + y if self.added else y


def pointwise(channels: int, in_channels: int) -> nn.Conv2D:
    """A convolution of 1 x 1 without bias."""
    return nn.Conv2D(channels, 1, use_bias=False, in_channels=in_channels)


class EfficientNetLite(HybridBlock):
    """The network `name`, a key of FACTORS, for pictures of `side` pixels: (B, 3, side, side) -> logits (B, 1000).

    `features` holds the stem, the blocks and the head, which ends with a map (B, 1280, h, w).
    """

    def __init__(self, name: str = "efficientnet_lite0", side: int = 224):
        super().__init__()
        width, depth = FACTORS[name]
        self.features = nn.HybridSequential()
        self.features.add(layer(SameConvolution(STEM, 3, 2, 3, side), STEM))
        side, inside = math.ceil(side / 2), STEM
        for number, (blocks, kernel, stride, factor, channels) in enumerate(STAGES):
            ends = number in (0, len(STAGES) - 1)  # these two are never deeper
            for _ in range(blocks if ends else math.ceil(blocks * depth)):
                self.features.add(Block(inside, rounded(channels * width), kernel, stride, factor, side))
                side, inside, stride = math.ceil(side / stride), rounded(channels * width), 1
        self.features.add(layer(pointwise(HEAD, inside), HEAD))
        self.output = nn.Dense(1000, in_units=HEAD)

    def last_strided(self) -> SameConvolution:
        """The convolution that halves the map for the last time."""
        return [block.depthwise[0] for block in list(self.features)[1:-1] if block.stride > 1][-1]

    def hybrid_forward(self, F, x):
        return self.output(F.mean(self.features(x), axis=(2, 3)))


def rounded(channels: float) -> int:
    """The multiple of 8 nearest to `channels`, and not more than a tenth below."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
