"""CGD: one backbone, n global descriptors, one embedding (Figure 1); and architecture B, its rival in Table 3."""

import contextlib
import io
from typing import Any, Callable, Optional, Tuple

import mxnet as mx
from mxnet.gluon import HybridBlock, nn

from gluon_cgd import backbones, losses
from gluon_cgd.datasets.records import PathLike
from gluon_cgd.descriptors import DESCRIPTORS
from gluon_cgd.experiment import Experiment
from gluon_cgd.extensions.attention import ATTENTION
from gluon_cgd.extensions.cosines import proxies
from gluon_cgd.extensions.whitening_layer import PCAWhitening
from gluon_cgd.networks.traced import Traced


def unit_length(F: Any, vectors: Any) -> Any:
    """(B, D) -> (B, D), each row divided by its Euclidean length: the l2 normalisation of equations 2 and 3."""
    return F.broadcast_div(vectors, F.sqrt(F.maximum(F.sum(vectors**2, axis=1, keepdims=True), 1e-12)))


class DescriptorNetwork(HybridBlock):
    """The layers that CGD and ArchitectureB have in common; each of the two connects them in its own way.

    backbone: a HybridBlock with `.channels`, as `backbones.build` returns.
    descriptors: one letter per branch, of `descriptors.DESCRIPTORS`; the first one feeds the classifier.
    classes: M, the number of training classes.
    fc_shape: (number, input size, output size) of the FC layers, which have no bias (equation 2).
    gem_p, gem_minimum: see `descriptors.GeM`.  classifier_batch_norm: batch norm before the classifier (Figure 1).
    fc_magnitude: of the Xavier initialisation of the FC layers and of the classifier.
    rmac_scales: see `extensions.regions.RMAC`.  map_side: of the last feature map, for descriptors that depend on it.
    classifier_layer: what the classifier ends with; the classification loss says so.
    proxies: a layer (B, D) -> (B, M) for ranking losses of proxies; its cosines follow the logits.
    attention: a block that weighs the last map, see `extensions.attention`; None for none, as in the paper.
    whitening: what the embedding goes through last, see `extensions.whitening_layer`; None for none.
    Inputs: pictures (B, 3, H, W), normalised.
    Outputs: embedding (B, D) of unit length, logits (B, M) or with proxies (B, 2 M), branches [n x (B, D / n)] of unit
    length.
    Raises ValueError for unknown descriptors.
    """

    def __init__(
        self,
        backbone: HybridBlock,
        descriptors: str,
        classes: int,
        fc_shape: Tuple[int, int, int],
        gem_p: float = 3,
        gem_minimum: float = 1e-6,
        classifier_batch_norm: bool = True,
        fc_magnitude: float = 2,
        rmac_scales: int = 3,
        map_side: int = 0,
        classifier_layer: Callable[..., HybridBlock] = nn.Dense,
        proxies: Optional[HybridBlock] = None,
        attention: Optional[HybridBlock] = None,
        whitening: Optional[HybridBlock] = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        count, inputs, dim = fc_shape
        xavier = dict(weight_initializer=mx.init.Xavier(magnitude=fc_magnitude))
        with self.name_scope():
            self.backbone = backbone
            self.poolings = poolings_of(descriptors, gem_p, gem_minimum, backbone.channels, map_side, rmac_scales)
            self.reductions = nn.HybridSequential()
            for _ in range(count):
                self.reductions.add(nn.Dense(dim, use_bias=False, in_units=inputs, **xavier))
            self.classifier = nn.HybridSequential()
            if classifier_batch_norm:
                self.classifier.add(nn.BatchNorm(in_channels=backbone.channels))
            self.classifier.add(classifier_layer(classes, in_units=backbone.channels, **xavier))
            self.proxies = proxies
            self.attention = attention
            self.whitening = whitening

    def last_map(self, pictures: Any) -> Any:
        """The features (B, C, h, w) that all descriptors take (section 3.1); attention weighs them if there is some."""
        features = self.backbone(pictures)
        return features if self.attention is None else self.attention(features)

    def classified(self, F: Any, pooled: Any, embedding: Any) -> Any:
        """The logits of the first descriptor (B, C), as in section 3.3; the embedding's cosines with proxies follow."""
        logits = self.classifier(pooled)
        return logits if self.proxies is None else F.concat(logits, self.proxies(embedding), dim=1)

    def whitened(self, embedding: Any) -> Any:
        """The embedding that is given out: whitened, if the network was trained with `whiten`."""
        return embedding if self.whitening is None else self.whitening(embedding)


class CGD(DescriptorNetwork):
    """Combination of multiple global descriptors (section 3.2), which is architecture A too: see `learner.ranked`.

    dim: length D of the embedding; with combine="concat" each of the n branches has D / n.
    combine: "concat" (equation 3), or "sum" (Table 4: branches of length D are added).
    The other arguments, inputs and outputs: as of DescriptorNetwork; with combine="sum" each branch is (B, D).
    Raises ValueError for unknown descriptors or combination, and for a dim that the branches do not divide.
    """

    def __init__(
        self,
        backbone: HybridBlock,
        descriptors: str = "SG",
        dim: int = 1536,
        classes: int = 98,
        combine: str = "concat",
        **kwargs: Any,
    ):
        if combine not in ("concat", "sum"):
            raise ValueError(f"combine {combine!r} is unknown: choose concat or sum")
        count = len(descriptors)
        if combine == "concat" and count and dim % count:
            raise ValueError(f"dim {dim} must be divisible by the {count} branches of {descriptors}")
        branch_dim = dim if combine == "sum" else dim // max(1, count)
        super().__init__(backbone, descriptors, classes, (count, backbone.channels, branch_dim), **kwargs)
        self.combine = combine

    def hybrid_forward(self, F, pictures):
        features = self.last_map(pictures)  # (B, C, h, w), section 3.1
        pooled = [pooling(features) for pooling in self.poolings]  # n x (B, C), equation 1
        # Equation 2
        branches = [unit_length(F, reduction(vector)) for reduction, vector in zip(self.reductions, pooled)]
        combined = F.concat(*branches, dim=1) if self.combine == "concat" else F.add_n(*branches)
        embedding = unit_length(F, combined)  # equation 3
        return self.whitened(embedding), self.classified(F, pooled[0], embedding), branches


class ArchitectureB(DescriptorNetwork):
    """Figure 2b: the descriptors' raw outputs are concatenated, then one FC layer makes the embedding (Table 3).

    Arguments, inputs and outputs: as of CGD; there is one branch, the embedding itself.
    Raises ValueError for unknown descriptors.
    """

    def __init__(
        self, backbone: HybridBlock, descriptors: str = "SM", dim: int = 1536, classes: int = 98, **kwargs: Any
    ):
        super().__init__(backbone, descriptors, classes, (1, len(descriptors) * backbone.channels, dim), **kwargs)

    def hybrid_forward(self, F, pictures):
        features = self.last_map(pictures)  # (B, C, h, w)
        pooled = [pooling(features) for pooling in self.poolings]  # n x (B, C)
        embedding = unit_length(F, self.reductions[0](F.concat(*pooled, dim=1)))  # (B, D)
        return self.whitened(embedding), self.classified(F, pooled[0], embedding), [embedding]


def poolings_of(
    descriptors: str, gem_p: float, gem_minimum: float, channels: int, map_side: int = 0, rmac_scales: int = 3
) -> nn.HybridSequential:
    """The poolings that `descriptors` name, one letter each, for maps (B, channels, map_side, map_side).

    Each is made with those values that it `takes`. Raises ValueError for unknown letters.
    """
    if not descriptors or not set(descriptors) <= set(DESCRIPTORS):
        letters = ", ".join(DESCRIPTORS)
        raise ValueError(f"descriptors {descriptors!r} is unknown: use one or more of the letters {letters}")
    values = dict(p=gem_p, minimum=gem_minimum, channels=channels, side=map_side, scales=rmac_scales)
    poolings = nn.HybridSequential()
    for letter in descriptors:
        takes = getattr(DESCRIPTORS[letter], "takes", ())
        poolings.add(DESCRIPTORS[letter](**{name: values[name] for name in takes}))
    return poolings


def layers_of(experiment: Experiment, classes: int, weights: Optional[PathLike] = None) -> DescriptorNetwork:
    """The network of `experiment` for `classes` training classes; only ImageNet parameters have values yet.

    weights: file of the backbone's ImageNet parameters. Raises ValueError as `backbones.build` does.
    """
    side, stride = experiment.input_size, experiment.keep_stride
    name, node = experiment.backbone, experiment.features
    backbone = backbones.build(name, experiment.pretrained, stride, weights, input_size=side, features=node)
    names = ("gem_p", "gem_minimum", "classifier_batch_norm", "fc_magnitude", "rmac_scales")
    head = {name: getattr(experiment, name) for name in names}
    head["classifier_layer"] = losses.CLASSIFICATION[experiment.classification_loss](experiment).layer
    if any("side" in getattr(DESCRIPTORS[letter], "takes", ()) for letter in experiment.descriptors):
        check_map(backbone, experiment)
        head["map_side"] = backbone.map_shape(side)[1]
    if losses.uses_proxies(experiment):
        head["proxies"] = proxies(classes, experiment.dim, experiment.proxy_rate)
    if experiment.attention != "none":
        head["attention"] = ATTENTION[experiment.attention](backbone.channels)
    if experiment.whiten:
        head["whitening"] = PCAWhitening(experiment.dim)
    if experiment.architecture == "B":
        return ArchitectureB(backbone, experiment.descriptors, experiment.dim, classes, **head)
    return CGD(backbone, experiment.descriptors, experiment.dim, classes, experiment.combine, **head)


def from_experiment(experiment: Experiment, classes: int, weights: Optional[PathLike] = None) -> DescriptorNetwork:
    """The network of `layers_of`, on the CPU, with values: all that are not from ImageNet are random.

    Draws from MXNet's generator: seed it first. Raises ValueError as `layers_of` does, and for an input_size that the
    backbone cannot take.
    """
    net = layers_of(experiment, classes, weights)
    check_map(net.backbone, experiment)
    if experiment.frozen_batch_norm:
        net.backbone.apply(freeze)
    if not experiment.pretrained:
        net.backbone.initialize(mx.init.MSRAPrelu(slope=0))
    for part in (net.poolings, net.reductions, net.classifier, net.proxies, net.whitening):
        if part is not None:
            part.initialize()
    pictures = mx.nd.zeros((1, 3, experiment.input_size, experiment.input_size))
    if net.attention is not None:
        net.backbone(pictures)  # draws its values first: then they are the same with attention and without
        net.attention.initialize()
    net(pictures)  # settles the shapes that were left open
    mx.nd.waitall()  # a convolution under way reorders its weight in place: a copy would be half in either order
    return net


def check_map(backbone: backbones.Backbone, experiment: Experiment) -> None:
    """Raise ValueError for an input_size that the `backbone` of `experiment` cannot take."""
    pair = f"input_size {experiment.input_size} does not go with backbone {experiment.backbone}"
    remedy = "multiples of 32 from 64 on go with all of them"
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # MXNet prints what it could not infer
            _, height, width = backbone.map_shape(experiment.input_size)
    except mx.base.MXNetError as error:  # BN-Inception's parallel layers do not fit together at every size
        raise ValueError(f"{pair}: {remedy}") from error
    # On a CPU MXNet 1.9.1 keeps how it computed a batch norm of (B, C, 1, 1) behind a 3 x 3 convolution, takes the same
    # for the next batch norm of (B, C), in whatever network, whose memory has another layout, and crashes
    if height * width == 1:
        raise ValueError(f"{pair}, whose last map would be 1 x 1, where all descriptors are the same: {remedy}")


def freeze(block: HybridBlock) -> None:
    """Keep the statistics, scale and shift of a batch norm as they are in training; do nothing to other blocks."""
    if isinstance(block, nn.BatchNorm):
        block._kwargs["use_global_stats"] = True
        for parameter in (block.gamma, block.beta):
            parameter.grad_req = "null"
    elif isinstance(block, Traced):
        block.freeze_batch_norms()
