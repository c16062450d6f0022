"""A model before any training: the descriptors S, M and G of a pretrained backbone side by side, without FC layers."""

import mxnet as mx

from gluon_cgd import backbones
from gluon_cgd.experiment import Experiment
from gluon_cgd.model import Pooled, check_map
from gluon_cgd.models.zoo import for_use

DESCRIPTORS = "SMG"
DATASETS = {"gluon_cgd": ("letters", 32)}  # publisher of a backbone's parameters -> what they were learned on, its side
IMAGENET = ("imagenet", 224)


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
        dim=len(DESCRIPTORS) * recipe.channels,
    )
    size, stride = experiment.input_size, experiment.keep_stride
    file = weights or backbones.imagenet_file(backbone, progress=True)
    net = Pooled(backbones.build(backbone, True, stride, file, input_size=size), DESCRIPTORS)
    check_map(net.backbone, experiment)
    return for_use(net, experiment, ctx or mx.cpu()), experiment, file


def name_of(experiment):
    """The name of the model of `load_pretrained`: "pretrained_smg_efficientnet_lite0_3840"."""
    return f"pretrained_{experiment.descriptors.lower()}_{experiment.backbone}_{experiment.dim}"
