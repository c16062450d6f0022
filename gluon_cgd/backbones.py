"""Feature extractors: the libraries' networks without their classifier, and without the stride that section 3.1 removes."""

import importlib
from typing import Callable, NamedTuple, Optional

import mxnet as mx
from mxnet.gluon import nn

from gluon_cgd.fetch import weights as parameters


class Backbone(nn.HybridSequential):
    """The layers of a network up to its last feature map; `channels` is the number of that map's channels.

    Inputs: pictures (B, 3, H, W), normalised.  Outputs: features (B, channels, h, w).
    """

    def __init__(self, layers, channels):
        super().__init__(prefix="backbone_")
        self.channels = channels
        self.add(*layers)

    def map_shape(self, input_size):
        """(channels, height, width) of the map of a picture of `input_size`, inferred without computing it."""
        return self(mx.sym.var("data")).infer_shape(data=(1, 3, input_size, input_size))[1][0][1:]


class Recipe(NamedTuple):
    """How a backbone is made, and where its parameters come from.

    make: a function of the input size; it returns the library's whole network (the one whose parameter files exist),
        the layers up to the last feature map, and those layers that halve the map between the last two stages.
    channels: of the last feature map.
    keeps_stride: whether that down-sampling stays by default, as the paper has it (Table 7).
    publisher, model: where its ImageNet parameters were published, and under which name.
    top1: accuracy on ImageNet in %, as the library states it.
    fuses: whether MXNet 1.9.1 can fuse its layers for a CPU; of squeeze-and-excitation it takes the wrong ones.
    """

    make: Callable
    channels: int
    keeps_stride: bool
    publisher: str = ""
    model: str = ""
    top1: Optional[float] = None
    fuses: bool = True


def _resnet_b(model):
    """GluonCV's ResNets with the stride in the 3x3 convolution (v1b), and with a pooling in the shortcut (v1d)."""

    def make(_):
        from gluoncv import model_zoo

        net = getattr(model_zoo, model)()
        stem, first = [net.conv1, net.bn1, net.relu, net.maxpool], net.layer4[0]
        return net, [*stem, net.layer1, net.layer2, net.layer3, net.layer4], [first.conv2, first.downsample[0]]

    return make


def _resnet(model, strided):
    """GluonCV's ResNet v1 and ResNeXt; `strided`: the layer of a block's body that has the stride."""

    def make(_):
        from gluoncv import model_zoo

        net = getattr(model_zoo, model)()
        first = net.features[7][0]
        return net, list(net.features)[:-1], [first.body[strided], first.downsample[0]]  # all but the pooling

    return make


def _gluoncv2(module, model, strided):
    """gluoncv2's networks; `strided`: a function of the features that returns what halves the map at last."""

    def make(_):
        net = getattr(importlib.import_module(f"gluoncv2.models.{module}"), model)()
        return net, list(net.features)[:-1], strided(net.features)  # all but the pooling

    return make


def _efficientnet_b5b(input_size):
    from gluoncv2.models.efficientnet import efficientnet_b5b

    net = efficientnet_b5b()  # made for pictures of 456 x 456, by which its units pad
    side, stem = input_size, net.features[0]
    for unit in [stem, *(unit for stage in list(net.features)[1:6] for unit in stage)]:
        unit.in_size = (side, side)
        if unit is stem or getattr(unit, "strides", 1) == 2:
            side = -(-side // 2)
    first = net.features[5][0]
    return net, list(net.features)[:-1], [first.conv2.conv, first]


def _squeezenet(_):
    from gluoncv.model_zoo import squeezenet1_1

    net = squeezenet1_1()
    return net, list(net.features)[:-1], []  # all but the dropout


def _cifar_resnet10(_):
    from gluoncv.model_zoo.cifarresnet import CIFARBasicBlockV1, CIFARResNetV1

    net = CIFARResNetV1(CIFARBasicBlockV1, layers=[1, 1, 1, 1], channels=[16, 16, 32, 64, 128])
    first = net.features[5][0]
    return net, list(net.features)[:-1], [first.body[0], first.downsample[0]]


def _se(features):
    return [features[4][0].body.conv1.conv, features[4][0].identity_conv.conv]


def _wide(features):
    return [features[4][0].body.conv2.conv, features[4][0].identity_conv.conv]


def _inception(features):
    single, double, pooling = features[3][0].branches
    return [single.conv2.conv, double.conv3.conv, pooling]


def _shuffle(features):
    return [features[3][0].dw_conv2, features[3][0].dw_conv4]


def _remove_stride(layer):
    """Let `layer`, of this instance alone, leave the map as large as it is; no weight changes its shape."""
    if hasattr(layer, "_kwargs"):
        layer._kwargs["stride"] = (1, 1)
        if isinstance(layer, nn.AvgPool2D):  # of a shortcut: a mean over one position
            layer._kwargs["kernel"] = (1, 1)
        elif isinstance(layer, nn.MaxPool2D):  # of BN-Inception, 3 x 3 without a border
            layer._kwargs["pad"] = (1, 1)
    else:
        layer.strides = 1  # EfficientNet's unit, which pads by hand


def build(name, pretrained=False, keep_stride=None, weights=None, root=None, input_size=224):
    """The feature extractor `name`, a HybridBlock with `.channels`: pictures (B, 3, H, W) -> features (B, C, h, w).

    pretrained: load ImageNet parameters, from the file `weights` or else from where `imagenet_file` finds them;
        otherwise the parameters are left to be initialised.
    keep_stride: True keeps the down-sampling between the last two stages, False removes it (14 x 14 at 224 for
        ResNet-50); None does as the paper does with this network, and with those that it does not have as with ResNet.
    input_size: side of the pictures to come. Only EfficientNet's paddings depend on it.
    Raises ValueError for an unknown name, a stride that is not there, or parameters that cannot be had or do not fit.
    """
    recipe = _recipe(name)
    net, layers, strided = recipe.make(input_size)
    if keep_stride is False and not strided:
        raise ValueError(f"backbone {name} has no down-sampling that can be removed: leave keep_stride at None")
    if pretrained:
        parameters.load_weights(net, weights or imagenet_file(name, root), name)
    if not (recipe.keeps_stride if keep_stride is None else keep_stride):
        for layer in strided:
            _remove_stride(layer)
    return Backbone(layers, recipe.channels)


def imagenet_file(name, root=None, progress=False):
    """Path of the file with backbone `name`'s ImageNet parameters, fetched into `root` (~/.mxnet/models) if need be.

    Raises ValueError for a backbone without any, and when no source has them.
    """
    recipe = _recipe(name)
    if not recipe.model:
        raise ValueError(
            f"there are no ImageNet parameters for backbone {name}: start from random ones (--no-pretrained)"
        )
    return parameters.resolve(recipe.publisher, recipe.model, root, progress)


def _recipe(name):
    if name not in BACKBONES:
        raise ValueError(f"backbone {name!r} is unknown: choose one of {', '.join(BACKBONES)}")
    return BACKBONES[name]


# fmt: off
BACKBONES = {
    # Of the paper: ResNet-50 and SE-ResNet-50 lose the down-sampling, the other two keep it (Table 7)
    "resnet50": Recipe(_resnet_b("resnet50_v1b"), 2048, False, "gluoncv", "resnet50_v1b", 77.67),
    "se_resnet50": Recipe(_gluoncv2("seresnet", "seresnet50", _se), 2048, False, "gluoncv2", "seresnet50", 78.93, fuses=False),
    "bn_inception": Recipe(_gluoncv2("bninception", "bninception", _inception), 1024, True, "gluoncv2", "bninception", 74.88),
    "shufflenet_v2": Recipe(_gluoncv2("shufflenetv2", "shufflenetv2_w1", _shuffle), 1024, True, "gluoncv2", "shufflenetv2_w1", 69.06),
    # Other readings of them
    "resnet50_v1": Recipe(_resnet("resnet50_v1", 0), 2048, False, "gluoncv", "resnet50_v1", 77.36),
    "resnet50_v1d": Recipe(_resnet_b("resnet50_v1d"), 2048, False, "gluoncv", "resnet50_v1d", 79.15),
    "shufflenet_v2_x2": Recipe(_gluoncv2("shufflenetv2", "shufflenetv2_w2", _shuffle), 2153, True, "gluoncv2", "shufflenetv2_w2", 74.20),
    # Others have put under CGD's head
    "resnet101": Recipe(_resnet_b("resnet101_v1b"), 2048, False, "gluoncv", "resnet101_v1b", 79.20),
    "resnext50": Recipe(_resnet("resnext50_32x4d", 3), 2048, False, "gluoncv", "resnext50_32x4d", 79.32),
    "resnext101": Recipe(_resnet("resnext101_32x4d", 3), 2048, False, "gluoncv", "resnext101_32x4d", 80.37),
    "wide_resnet50": Recipe(_gluoncv2("wrn", "wrn50_2", _wide), 2048, False, "gluoncv2", "wrn50_2", 77.98),
    "efficientnet_b5": Recipe(_efficientnet_b5b, 2048, False, "gluoncv2", "efficientnet_b5b", 83.61),
    # Small ones
    "squeezenet1.1": Recipe(_squeezenet, 512, True, "gluoncv", "squeezenet1.1", 54.96),
    "cifar_resnet10": Recipe(_cifar_resnet10, 128, False),
}
# fmt: on
