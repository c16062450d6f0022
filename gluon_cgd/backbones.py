"""Feature extractors: GluonCV's networks without their classifier, and without the stride that section 3.1 removes."""

import contextlib
import os
import sys

from mxnet.base import data_dir
from mxnet.gluon import nn


class Backbone(nn.HybridSequential):
    """The layers of a network up to its last feature map; `channels` is the number of that map's channels.

    Inputs: pictures (B, 3, H, W), normalised.  Outputs: features (B, channels, h, w).
    """

    def __init__(self, layers, channels):
        super().__init__(prefix="backbone_")
        self.channels = channels
        self.add(*layers)


# Each recipe returns the library's whole network (the one whose parameter files exist), the layers up to the last
# feature map, its channels, and the convolutions that halve the map between the last two stages.


def _resnet50():
    from gluoncv.model_zoo import resnet50_v1b  # the stride sits in the 3x3 convolution

    net = resnet50_v1b()
    layers = [net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4]
    return net, layers, 2048, [net.layer4[0].conv2, net.layer4[0].downsample[0]]


def _squeezenet():
    from gluoncv.model_zoo import squeezenet1_1

    net = squeezenet1_1()
    return net, list(net.features)[:-1], 512, []  # all but the dropout


def _cifar_resnet10():
    from gluoncv.model_zoo.cifarresnet import CIFARBasicBlockV1, CIFARResNetV1

    net = CIFARResNetV1(CIFARBasicBlockV1, layers=[1, 1, 1, 1], channels=[16, 16, 32, 64, 128])
    last = net.features[5][0]
    return net, list(net.features)[:-1], 128, [last.body[0], last.downsample[0]]  # all but the pooling


def build(name, pretrained=False, keep_stride=None, weights=None, root=None):
    """The feature extractor `name`, a HybridBlock with `.channels`: pictures (B, 3, H, W) -> features (B, C, h, w).

    pretrained: load ImageNet parameters, from the file `weights` or else from GluonCV's repository (kept in `root`,
        by default ~/.mxnet/models); otherwise the parameters are left to be initialised.
    keep_stride: True keeps the down-sampling between the last two stages, False removes it (14 x 14 at 224 for
        ResNet-50); None does as the paper does with this network.
    Raises ValueError for an unknown name, a stride that is not there, or parameters that cannot be had or do not fit.
    """
    if name not in BACKBONES:
        raise ValueError(f"backbone {name!r} is unknown: choose one of {', '.join(BACKBONES)}")
    recipe, library_name = BACKBONES[name]
    net, layers, channels, strided = recipe()
    if keep_stride is False and not strided:
        raise ValueError(f"backbone {name} has no down-sampling that can be removed: leave keep_stride at None")
    if pretrained:
        if library_name is None and weights is None:
            raise ValueError(
                f"there are no ImageNet parameters for backbone {name}: start from random ones (--no-pretrained)"
            )
        load_imagenet(net, weights or _download(library_name, root), name)
    if not keep_stride:
        for convolution in strided:
            convolution._kwargs["stride"] = (1, 1)  # of this instance alone; no weight changes its shape
    return Backbone(layers, channels)


def load_imagenet(net, file, name):
    """Set every parameter of the network `net` from `file`. Raises ValueError when one is missing or does not fit."""
    if not os.path.isfile(file):
        raise ValueError(f"{file}, the file of {name}'s ImageNet parameters, does not exist")
    try:
        net.load_parameters(str(file))
    except AssertionError as error:  # a parameter is missing, has another shape or another type
        raise ValueError(f"{file} does not hold the parameters of {name}: {str(error)[:200]}") from error
    except (OSError, ValueError, RuntimeError) as error:  # MXNet's own is a RuntimeError
        raise ValueError(f"{file} is not a whole MXNet parameter file: download it again") from error


def _download(library_name, root):
    from gluoncv.model_zoo.model_store import get_model_file, short_hash

    root = root or f"{data_dir()}/models"
    try:
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it downloads
            return get_model_file(library_name, root=root)
    except Exception as error:  # requests and MXNet raise many kinds; all of them mean that the file cannot be had
        file = f"{library_name}-{short_hash(library_name)}.params"
        raise ValueError(
            f"the ImageNet parameters of {library_name} cannot be downloaded ({type(error).__name__}): "
            f"put {file} into {root}, or name a file with --weights"
        ) from error


BACKBONES = {
    "resnet50": (_resnet50, "resnet50_v1b"),
    "squeezenet1.1": (_squeezenet, "squeezenet1.1"),
    "cifar_resnet10": (_cifar_resnet10, None),
}
