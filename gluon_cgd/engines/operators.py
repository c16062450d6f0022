"""Which function computes which of MXNet's operators: those of the networks, descriptors and losses of this package.

An operator or an attribute that is not listed is refused before anything runs.
"""

import inspect
from typing import Any, Callable, Dict

import torch

from gluon_cgd.engines import arrays, layers
from gluon_cgd.engines.graph import Node
from gluon_cgd.engines.layers import full

SETTLED = {  # the values of an attribute that are known, where not all are
    ("Convolution", "layout"): ("NCHW", None),
    ("Pooling", "layout"): ("NCHW", None),
    ("Pooling", "p_value"): (2, None),
    ("Pooling", "pool_type"): ("avg", "max"),
    ("Pooling", "pooling_convention"): ("valid", "full"),
    ("Activation", "act_type"): tuple(layers.ACTIVATIONS),
    ("BatchNorm", "axis"): (1,),
    ("BatchNorm", "output_mean_var"): (False,),
    ("Pad", "mode"): ("constant",),
    ("pick", "mode"): ("clip",),
    ("log_softmax", "use_length"): (False,),
    ("Reshape", "reverse"): (False,),
    ("_linalg_makediag", "offset"): (0,),
    ("Cast", "dtype"): ("float32",),
    ("log_softmax", "dtype"): (None, "float32"),
    ("_np_cumsum", "dtype"): (None, "float32"),
}
HINTS = {"cudnn_off", "cudnn_tune", "workspace", "num_filter", "num_hidden", "num_args", "layout", "is_int"}


def compared(function: Callable) -> Callable:
    """The operator that gives 1 where `function` of two arrays is true, else 0."""
    return lambda x, y: function(x, y).to(x.dtype)


def compared_with(function: Callable) -> Callable:
    """The operator that gives 1 where `function` of an array and a scalar is true, else 0."""
    return lambda x, *, scalar: function(x, scalar).to(x.dtype)


COMPARISONS = {
    "equal": torch.eq,
    "not_equal": torch.ne,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "lesser": torch.lt,
    "lesser_equal": torch.le,
}
OPERATORS: Dict[str, Callable] = {
    **{f"broadcast_{name}": compared(function) for name, function in COMPARISONS.items()},
    **{f"_{name}": compared(function) for name, function in COMPARISONS.items()},
    **{f"_{name}_scalar": compared_with(function) for name, function in COMPARISONS.items()},
    "Convolution": layers.convolution,
    "FullyConnected": layers.fully_connected,
    "Pooling": layers.pooling,
    "_contrib_AdaptiveAvgPooling2D": layers.adaptive_mean,
    "Pad": layers.padded,
    "Activation": layers.activation,
    "relu": lambda x: torch.relu(x),
    "sigmoid": lambda x: torch.sigmoid(x),
    "tanh": lambda x: torch.tanh(x),
    "clip": layers.clip,
    "Flatten": lambda x: x.flatten(1),
    "Concat": lambda *x, dim=1: torch.cat(x, dim),
    "add_n": lambda *x: sum(x[1:], x[0]),
    "elemwise_add": lambda x, y: x + y,
    "elemwise_sub": lambda x, y: x - y,
    "elemwise_mul": lambda x, y: x * y,
    "elemwise_div": lambda x, y: x / y,
    "broadcast_add": lambda x, y: x + y,
    "broadcast_sub": lambda x, y: x - y,
    "broadcast_mul": lambda x, y: x * y,
    "broadcast_div": lambda x, y: x / y,
    "broadcast_maximum": lambda x, y: torch.where(x >= y, x, y),  # among equal ones the first has the gradient
    "broadcast_minimum": lambda x, y: torch.where(x <= y, x, y),
    "_plus_scalar": lambda x, *, scalar: x + scalar,
    "_minus_scalar": lambda x, *, scalar: x - scalar,
    "_rminus_scalar": lambda x, *, scalar: scalar - x,
    "_mul_scalar": lambda x, *, scalar: x * scalar,
    "_div_scalar": lambda x, *, scalar: x / scalar,
    "_rdiv_scalar": lambda x, *, scalar: scalar / x,
    "_power_scalar": lambda x, *, scalar: full(x).pow(scalar),
    "_maximum_scalar": lambda x, *, scalar: x.clamp_min(scalar),  # at the border there is still a gradient
    "_minimum_scalar": lambda x, *, scalar: x.clamp_max(scalar),
    "negative": lambda x: -x,
    "abs": lambda x: x.abs(),
    "square": lambda x: full(x).square(),
    "sqrt": lambda x: full(x).sqrt(),
    "exp": lambda x: full(x).exp(),
    "log": lambda x: full(x).log(),
    "sum": arrays.reduced(lambda x, axes, keepdim: full(x).sum(axes, keepdim)),
    "mean": arrays.reduced(lambda x, axes, keepdim: full(x).mean(axes, keepdim)),
    "max": arrays.reduced(arrays.extreme(torch.amax)),
    "min": arrays.reduced(arrays.extreme(torch.amin)),
    "argmax": arrays.place_of(torch.argmax),
    "argmin": arrays.place_of(torch.argmin),
    "pick": arrays.pick,
    "log_softmax": arrays.log_softmax,
    "dot": arrays.product,
    "batch_dot": arrays.product,
    "transpose": arrays.transposed,
    "Reshape": arrays.reshaped,
    "SwapAxis": lambda x, *, dim1=0, dim2=0: x.transpose(dim1, dim2),
    "SliceChannel": arrays.split,
    "slice": arrays.sliced,
    "slice_axis": arrays.sliced_along,
    "expand_dims": lambda x, *, axis: x.unsqueeze(axis),
    "Cast": lambda x: full(x),
    "ones_like": lambda x: torch.ones_like(x),
    "zeros_like": lambda x: torch.zeros_like(x),
    "_np_cumsum": lambda x, *, axis=None: x.flatten().cumsum(0) if axis is None else x.cumsum(axis),
    "_linalg_makediag": lambda x: torch.diag_embed(x),
    "BlockGrad": lambda x: x.detach(),
}


def attributes_of(node: Node, function: Callable) -> Dict[str, Any]:
    """The attributes of `node` as `function` takes them. Raises ValueError for one that the engine does not know."""
    parameters = inspect.signature(function).parameters.values()
    known = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY}
    found = {}
    for name in node.attributes:
        value = node.value(name)
        settled = SETTLED.get((node.op, name))
        if settled and value not in settled:
            raise ValueError(refusal(f"{name} {value!r} of operator {node.op}", node))
        if name in known:
            found[name] = value
        elif not settled and name not in HINTS and not name.startswith("__"):
            raise ValueError(refusal(f"attribute {name} of operator {node.op}", node))
    return found


def refusal(what: str, node: Node) -> str:
    """The sentence for something in a graph that this engine cannot compute."""
    return (
        f"the PyTorch engine does not know {what} (layer {node.name}): train with --engine mxnet, or add it to "
        "gluon_cgd/engines/operators.py"
    )
