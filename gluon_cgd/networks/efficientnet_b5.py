"""EfficientNet-B5 of gluoncv2, padded for the pictures that it gets."""

from typing import Any, List, Tuple


def efficientnet_b5b(input_size: int) -> Tuple[Any, List, List]:
    """What `backbones.Recipe.make` returns, for pictures of `input_size` pixels."""
    from gluoncv2.models.efficientnet import efficientnet_b5b

    net = efficientnet_b5b()  # its units pad for pictures of 456 x 456: tell them the real size
    side, stem = input_size, net.features[0]
    for unit in [stem, *(unit for stage in list(net.features)[1:6] for unit in stage)]:
        unit.in_size = (side, side)
        if unit is stem or getattr(unit, "strides", 1) == 2:
            side = -(-side // 2)
    first = net.features[5][0]
    return net, list(net.features)[:-1], [first.conv2.conv, first]
