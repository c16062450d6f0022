"""MXNet's layers in PyTorch: convolution, FC layer, pooling, padding, activations.

Each function takes the inputs in MXNet's order and, by name, the attributes of its operator with MXNet's defaults.
Where operators of both libraries differ, MXNet decides: which of equal values has the gradient, for example.
"""

import math

import torch
from torch.nn import functional


def full(x):
    """x in float32, or in float64 if it was."""
    return x if x.dtype == torch.float64 else x.float()


def convolution(x, weight, bias=None, *, kernel, stride=(1, 1), dilate=(1, 1), pad=(0, 0), num_group=1, no_bias=False):
    """(B, C, H, W) -> (B, num_filter, h, w). Autocast makes it bfloat16, and it alone."""
    if len(kernel) != 2:
        raise ValueError(f"a convolution with kernel {kernel} is not of pictures: only two sizes are known")
    return functional.conv2d(x, weight, bias, stride or (1, 1), pad or (0, 0), dilate or (1, 1), num_group)


def fully_connected(x, weight, bias=None, *, no_bias=False, flatten=True):
    """(B, C) -> (B, D), also under autocast in float32: descriptors are short, and their distances small."""
    with torch.autocast(x.device.type, enabled=False):
        x = full(x.flatten(1) if flatten else x)
        return functional.linear(x, weight, bias)


def pooling(
    x,
    *,
    kernel=(),
    pool_type="max",
    global_pool=False,
    stride=(1, 1),
    pad=(0, 0),
    pooling_convention="valid",
    count_include_pad=True,
):
    """Mean or maximum of windows, or of the whole map: (B, C, H, W) -> (B, C, h, w).

    The first of equal values has the gradient, as in MXNet. Means of the whole map are float32 also under autocast.
    """
    if global_pool and pool_type == "avg":
        return x.mean((2, 3), keepdim=True, dtype=torch.float64 if x.dtype == torch.float64 else torch.float32)
    if global_pool:
        flat = x.flatten(2)  # (B, C, h w)
        places = flat.detach().argmax(2, keepdim=True)  # the first, and its gradient is always the same bits
        return full(flat.gather(2, places))[..., None]
    full_windows = pooling_convention == "full"
    sides = zip(x.shape[2:], kernel, stride, pad)
    rounded = math.ceil if full_windows else math.floor
    shape = tuple(1 + rounded((side + 2 * p - k) / s) for side, k, s, p in sides)
    if pool_type == "max":
        y = functional.max_pool2d(x, kernel, stride, pad, ceil_mode=full_windows)
    else:
        y = functional.avg_pool2d(
            x, kernel, stride, pad, ceil_mode=full_windows, count_include_pad=bool(count_include_pad)
        )
    if y.shape[2:] != shape:
        raise ValueError(f"a pooling of {tuple(x.shape)} gives {tuple(y.shape[2:])} in PyTorch and {shape} in MXNet")
    return y


def adaptive_mean(x, *, output_size=()):
    """The mean of each part of a map that is cut into `output_size` parts."""
    size = (output_size,) * 2 if isinstance(output_size, int) else tuple(output_size) or x.shape[2:]
    if len(set(size)) == 1 and size[0] == 1:
        return pooling(x, pool_type="avg", global_pool=True)
    return functional.adaptive_avg_pool2d(x, size)


def padded(x, *, pad_width, constant_value=0):
    """Constants around a map. pad_width: (before, after) along each axis, one behind the other."""
    sizes = [size for axis in reversed(range(x.dim())) for size in pad_width[2 * axis : 2 * axis + 2]]
    return functional.pad(x, sizes, value=constant_value)


def softrelu(x):
    """log(1 + exp(x)), not x from some value on, as PyTorch's own."""
    return torch.logaddexp(x, torch.zeros((), dtype=x.dtype, device=x.device))


ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "softrelu": softrelu}


def activation(x, *, act_type):
    """One of ACTIVATIONS, elementwise."""
    return ACTIVATIONS[act_type](x)


def clip(x, *, a_min, a_max):
    """Values into [a_min, a_max]; those at a border still have a gradient."""
    return x.clamp(a_min, a_max)
