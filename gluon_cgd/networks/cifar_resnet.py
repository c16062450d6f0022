"""A small residual network of GluonCV's class for pictures of CIFAR."""

from typing import Any, List, Tuple


def cifar_resnet10(_: int) -> Tuple[Any, List, List]:
    """What `backbones.Recipe.make` returns; the size of the pictures does not matter."""
    from gluoncv.model_zoo.cifarresnet import CIFARBasicBlockV1, CIFARResNetV1

    net = CIFARResNetV1(CIFARBasicBlockV1, layers=[1, 1, 1, 1], channels=[16, 16, 32, 64, 128])
    first = net.features[5][0]
    return net, list(net.features)[:-1], [first.body[0], first.downsample[0]]
