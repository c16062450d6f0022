"""CGD: one backbone, n global descriptors, one embedding (Figure 1); and architecture B, which it is compared with."""

import mxnet as mx
from mxnet.gluon import HybridBlock, nn

from gluon_cgd import backbones
from gluon_cgd.descriptors import DESCRIPTORS, GeM


def unit_length(F, vectors):
    """(B, D) -> (B, D), each row divided by its Euclidean length."""
    return F.broadcast_div(vectors, F.sqrt(F.maximum(F.sum(vectors**2, axis=1, keepdims=True), 1e-12)))


def poolings(descriptors, gem_p, gem_minimum):
    """A global descriptor a letter. Raises ValueError for a letter that is none."""
    unknown = [letter for letter in descriptors if letter not in DESCRIPTORS]
    if unknown or not descriptors:
        raise ValueError(
            f"descriptors {descriptors!r} is unknown: use one or more of the letters {', '.join(DESCRIPTORS)}"
        )
    blocks = nn.HybridSequential()
    blocks.add(*(GeM(gem_p, gem_minimum) if letter == "G" else DESCRIPTORS[letter]() for letter in descriptors))
    return blocks


def reductions(count, dim, channels, magnitude):
    """`count` FC layers without bias from `channels` to `dim` (equation 2)."""
    xavier = mx.init.Xavier(magnitude=magnitude)
    blocks = nn.HybridSequential()
    blocks.add(*(nn.Dense(dim, use_bias=False, in_units=channels, weight_initializer=xavier) for _ in range(count)))
    return blocks


def classifier(classes, channels, magnitude, batch_norm):
    """The auxiliary classifier: a vector (B, channels) -> logits (B, classes)."""
    block = nn.HybridSequential()
    if batch_norm:
        block.add(nn.BatchNorm(in_channels=channels))
    block.add(nn.Dense(classes, in_units=channels, weight_initializer=mx.init.Xavier(magnitude=magnitude)))
    return block


class CGD(HybridBlock):
    """Combination of multiple global descriptors (section 3), which is architecture A too: see `learner.ranked`.

    backbone: a HybridBlock with `.channels`, as `backbones.build` returns.
    descriptors: one letter a branch, of S (SPoC), M (MAC) and G (GeM); the first one feeds the classifier.
    dim: length D of the embedding; with combine="concat" each of the n branches has D / n.
    combine: "concat" (equation 3), or "sum" (Table 4: branches of D, added).
    Inputs: pictures (B, 3, H, W), normalised.
    Outputs: embedding (B, D) of unit length, logits (B, classes), branches [n x (B, D / n)] of unit length
        (with combine="sum" each is (B, D)).
    Raises ValueError for unknown descriptors or combination, and for a dim that the branches do not divide.
    """

    def __init__(
        self,
        backbone,
        descriptors="SG",
        dim=1536,
        classes=98,
        combine="concat",
        gem_p=3,
        gem_minimum=1e-6,
        classifier_batch_norm=True,
        fc_magnitude=2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if combine not in ("concat", "sum"):
            raise ValueError(f"combine {combine!r} is unknown: choose concat or sum")
        if combine == "concat" and descriptors and dim % len(descriptors):
            raise ValueError(f"dim {dim} must be divisible by the {len(descriptors)} branches of {descriptors}")
        self.combine = combine
        with self.name_scope():
            self.backbone = backbone
            self.poolings = poolings(descriptors, gem_p, gem_minimum)
            branch_dim = dim if combine == "sum" else dim // len(descriptors)
            self.reductions = reductions(len(descriptors), branch_dim, backbone.channels, fc_magnitude)
            self.classifier = classifier(classes, backbone.channels, fc_magnitude, classifier_batch_norm)

    def hybrid_forward(self, F, pictures):
        features = self.backbone(pictures)  # (B, C, h, w)
        pooled = [pooling(features) for pooling in self.poolings]  # n x (B, C), equation 1
        # Equation 2
        branches = [unit_length(F, reduction(vector)) for reduction, vector in zip(self.reductions, pooled)]
        combined = F.concat(*branches, dim=1) if self.combine == "concat" else F.add_n(*branches)
        return unit_length(F, combined), self.classifier(pooled[0]), branches  # equation 3


class ArchitectureB(HybridBlock):
    """Figure 2b: the descriptors' raw outputs are concatenated, then one FC layer makes the embedding (Table 3).

    Arguments, inputs and outputs as of CGD; there is one branch, the embedding itself.
    Raises ValueError for unknown descriptors.
    """

    def __init__(
        self,
        backbone,
        descriptors="SM",
        dim=1536,
        classes=98,
        gem_p=3,
        gem_minimum=1e-6,
        classifier_batch_norm=True,
        fc_magnitude=2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        with self.name_scope():
            self.backbone = backbone
            self.poolings = poolings(descriptors, gem_p, gem_minimum)
            self.reductions = reductions(1, dim, len(descriptors) * backbone.channels, fc_magnitude)
            self.classifier = classifier(classes, backbone.channels, fc_magnitude, classifier_batch_norm)

    def hybrid_forward(self, F, pictures):
        features = self.backbone(pictures)  # (B, C, h, w)
        pooled = [pooling(features) for pooling in self.poolings]  # n x (B, C)
        embedding = unit_length(F, self.reductions[0](F.concat(*pooled, dim=1)))  # (B, D)
        return embedding, self.classifier(pooled[0]), [embedding]


def layers_of(experiment, classes, weights=None):
    """The network of `experiment` for `classes` training classes; its parameters have no values but those of ImageNet.

    `weights`: a file of the backbone's ImageNet parameters. Raises ValueError as `backbones.build` does.
    """
    kept = dict(keep_stride=experiment.keep_stride, input_size=experiment.input_size)
    backbone = backbones.build(experiment.backbone, experiment.pretrained, weights=weights, **kept)
    gem = dict(gem_p=experiment.gem_p, gem_minimum=experiment.gem_minimum)
    head = dict(classifier_batch_norm=experiment.classifier_batch_norm, fc_magnitude=experiment.fc_magnitude, **gem)
    if experiment.architecture == "B":
        return ArchitectureB(backbone, experiment.descriptors, experiment.dim, classes, **head)
    return CGD(backbone, experiment.descriptors, experiment.dim, classes, experiment.combine, **head)


def from_experiment(experiment, classes, weights=None):
    """The network of `layers_of`, on the CPU, with values: those that are not from ImageNet are random.

    Draws from MXNet's generator: seed it before. Raises ValueError for a size that the backbone cannot take, too.
    """
    net = layers_of(experiment, classes, weights)
    try:
        net.backbone.map_shape(experiment.input_size)
    except mx.base.MXNetError as error:  # BN-Inception's parallel layers do not fit together at every size
        raise ValueError(
            f"input_size {experiment.input_size} does not go with backbone {experiment.backbone}: "
            "multiples of 32 from 64 on go with all of them"
        ) from error
    if experiment.frozen_batch_norm:
        net.backbone.apply(freeze)
    if not experiment.pretrained:
        net.backbone.initialize(mx.init.MSRAPrelu(slope=0))
    for part in (net.poolings, net.reductions, net.classifier):
        part.initialize()
    net(mx.nd.zeros((1, 3, experiment.input_size, experiment.input_size)))  # settles the shapes that were left open
    mx.nd.waitall()  # a weight that is copied while a convolution reorders it in place is half in either order
    return net


def freeze(block):
    """Keep a batch norm's statistics, scale and shift as they are, in training too; other blocks are left alone."""
    if isinstance(block, nn.BatchNorm):
        block._kwargs["use_global_stats"] = True
        for parameter in (block.gamma, block.beta):
            parameter.grad_req = "null"
