"""A model before any training: the descriptors S, M and G of a pretrained backbone side by side, without FC layers."""

from dataclasses import replace
from typing import Any

import mxnet as mx
from mxnet.gluon import HybridBlock

from gluon_cgd import backbones
from gluon_cgd.experiment import Experiment
from gluon_cgd.model import check_map, poolings_of, unit_length
from gluon_cgd.models.zoo import for_use

DESCRIPTORS = "SMG"
DATASETS = {"gluon_cgd": ("letters", 32)}  # publisher of a backbone's parameters -> what they were learned on, its side
IMAGENET = ("imagenet", 224)


class Pooled(HybridBlock):
    """The global descriptors of a backbone side by side, without FC layers: what it can tell before any training.

    Arguments: as of DescriptorNetwork.
    Inputs: pictures (B, 3, H, W), normalised.
    Outputs: embedding (B, n C) of unit length, branches [n x (B, C)] of unit length.
    """

    reductions = ()  # no FC layers

    def __init__(
        self,
        backbone: HybridBlock,
        descriptors: str = "SMG",
        gem_p: float = 3,
        gem_minimum: float = 1e-6,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        with self.name_scope():
            self.backbone = backbone
            self.poolings = poolings_of(descriptors, gem_p, gem_minimum, backbone.channels)

    def last_map(self, pictures: Any) -> Any:
        """The features (B, C, h, w) that all descriptors take."""
        return self.backbone(pictures)

    def hybrid_forward(self, F, pictures):
        features = self.last_map(pictures)
        branches = [unit_length(F, pooling(features)) for pooling in self.poolings]
        return unit_length(F, F.concat(*branches, dim=1)), branches


def load_pretrained(backbone, weights=None, input_size=None, ctx=None):
    """(net, experiment, file): the Pooled network of a pretrained `backbone` on `ctx`, and its parameters' file.

    weights: that file; by default the one of `backbones.imagenet_file`, fetched if need be.
    input_size: side of the pictures; by default that of the pretraining.
    The experiment says what the network is; none of its fields about training has a meaning.
    Raises ValueError as `backbones.build` and `imagenet_file` do, and for an input_size that the backbone cannot take.
    """
    recipe = backbones.recipe_of(backbone)
    dataset, side = DATASETS.get(recipe.publisher, IMAGENET)
    experiment = Experiment(
        dataset=dataset,
        backbone=backbone,
        keep_stride=recipe.keeps_stride,
        input_size=side if input_size is None else input_size,
        descriptors=DESCRIPTORS,
        dim=len(DESCRIPTORS),
    )
    size, stride = experiment.input_size, experiment.keep_stride
    file = weights or backbones.imagenet_file(backbone, progress=True)
    net = Pooled(backbones.build(backbone, True, stride, file, input_size=size), DESCRIPTORS)
    experiment = replace(experiment, dim=len(DESCRIPTORS) * net.backbone.channels)
    check_map(net.backbone, experiment)
    return for_use(net, experiment, ctx or mx.cpu()), experiment, file


def name_of(experiment):
    """The name of the model of `load_pretrained`: "pretrained_smg_efficientnet_lite0_3840"."""
    return f"pretrained_{experiment.descriptors.lower()}_{experiment.backbone_word}_{experiment.dim}"
