"""MXNet's operators on whole arrays in PyTorch: sums and extremes, products, and everything that reshapes.

Each function takes the inputs in MXNet's order and, by name, the attributes of its operator with MXNet's defaults.
Where operators of both libraries differ, MXNet decides: which of equal values has the gradient, for example.
"""

from typing import Callable

import torch
from torch.nn import functional

from gluon_cgd.engines.layers import full


def reduced(function: Callable) -> Callable:
    """The operator that applies `function` of (x, axes, keepdim) along some axes; (1,) if that leaves none."""

    def operator(x, *, axis=None, keepdims=False, exclude=False):
        axes = axis if isinstance(axis, (tuple, list)) else () if axis is None else (axis,)
        axes = tuple(one % x.dim() for one in axes)
        if exclude:
            axes = tuple(one for one in range(x.dim()) if one not in axes)
        y = function(x, axes or tuple(range(x.dim())), bool(keepdims))
        return y if y.dim() else y.reshape(1)

    return operator


class Extreme(torch.autograd.Function):
    """Maximum or minimum along some axes, which stay; all equal values have the whole gradient, as in MXNet."""

    @staticmethod
    def forward(ctx, x, axes, function):
        """function: torch.amax or torch.amin."""
        y = function(x, axes, keepdim=True)
        ctx.save_for_backward(x == y)
        return y

    @staticmethod
    def backward(ctx, gradient):
        """Of x alone."""
        return gradient * ctx.saved_tensors[0], None, None


def extreme(function: Callable) -> Callable:
    """The maximum or minimum as `reduced` takes it."""

    def values(x, axes, keepdim):
        y = Extreme.apply(x, axes, function)
        return y if keepdim else y.squeeze(axes)

    return values


def place_of(function: Callable) -> Callable:
    """The operator that gives the place of the first maximum or minimum, as a float."""

    def operator(x, *, axis=None, keepdims=False):
        return function(x, axis, bool(keepdims)).to(x.dtype)

    return operator


def pick(x, index, *, axis=-1, keepdims=False):
    """x at `index` along an axis; an index outside counts as the nearest inside."""
    places = index.long().clamp(0, x.shape[axis] - 1).unsqueeze(axis)
    y = x.gather(axis, places)
    return y if keepdims else y.squeeze(axis)


def log_softmax(x, *, axis=-1, temperature=None):
    """The logarithm of the softmax, in float32 also under autocast."""
    return functional.log_softmax(full(x) / (temperature or 1), axis)


def product(x, y, *, transpose_a=False, transpose_b=False):
    """Of matrices, or of a batch of them. Distances are differences of such products, and small: on a GPU they are
    computed in float64, so that neither TF32 nor bfloat16 touches them.
    """
    with torch.autocast(x.device.type, enabled=False):
        kind = torch.float64 if torch.float64 in (x.dtype, y.dtype) else torch.float32
        x, y = (one.to(torch.float64 if one.is_cuda else kind) for one in (x, y))
        return ((x.mT if transpose_a else x) @ (y.mT if transpose_b else y)).to(kind)


def transposed(x, *, axes=()):
    """The axes in another order, by default backwards."""
    return x.permute(axes or tuple(reversed(range(x.dim()))))


def reshaped(x, *, shape):
    """As MXNet's codes say: 0 keeps a size, -1 is what is left, -2 all that follow, -3 joins two, -4 splits one."""
    sizes, at, codes = [], 0, list(shape)
    while codes:
        code = codes.pop(0)
        if code == -2:
            sizes.extend(x.shape[at:])
            at = x.dim()
        elif code == -3:
            sizes.append(x.shape[at] * x.shape[at + 1])
            at += 2
        elif code == -4:
            first, second = codes.pop(0), codes.pop(0)
            first = x.shape[at] // second if first == -1 else first
            sizes.extend((first, x.shape[at] // first))
            at += 1
        else:
            sizes.append(x.shape[at] if code == 0 else code)
            at += 1
    return x.reshape(sizes)


def split(x, *, num_outputs, axis=1, squeeze_axis=False):
    """`num_outputs` equal parts along an axis."""
    parts = x.chunk(num_outputs, axis)
    return tuple(part.squeeze(axis) for part in parts) if squeeze_axis else parts


def sliced(x, *, begin, end, step=()):
    """A part along each axis, as Python slices."""
    steps = tuple(step) or (None,) * len(begin)
    return x[tuple(slice(*one) for one in zip(begin, end, steps))]


def sliced_along(x, *, axis, begin, end):
    """A part along one axis."""
    return x[(slice(None),) * (axis % x.dim()) + (slice(begin, end),)]
