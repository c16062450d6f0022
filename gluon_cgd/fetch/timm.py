"""timm's ResNet-50, the same parameters as GluonCV's in a .safetensors file under PyTorch's names."""

from functools import lru_cache

import numpy as np

from gluon_cgd.files.regular import open_regular, read_bytes

LIMIT = 1 << 29  # bytes of a file; timm's has 102 MB


def from_timm(file):
    """timm's ResNet-50 under GluonCV's names: {"layer1.0.bn1.gamma": float32 array, ...} of a .safetensors file.

    Convolutions and FC layers keep their names; a batch norm's weight and bias become Gluon's gamma and beta, and its
    count of batches is left out. Raises ValueError for a broken file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(read_bytes(file, LIMIT))
    # KeyError, TypeError: a type that NumPy lacks; MemoryError: an empty tensor whose shape is huge
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, MemoryError) as error:
        raise ValueError(f"{file} is not a whole safetensors file of float32: download timm's again") from error
    return {own: np.asarray(tensors[name], np.float32) for own, name in _own_names(tensors, file).items()}


def check_timm(file, model):
    """Raise ValueError unless the .safetensors `file` has all parameters of GluonCV's `model`, and finite ones."""
    tensors, wanted = from_timm(file), wanted_shapes(model)
    for name in sorted({*tensors, *wanted}):
        if name not in tensors:
            reason = f"it has no {name}"
        elif name not in wanted:
            reason = f"its {name} is not one of them"
        elif tensors[name].shape != wanted[name]:
            reason = f"its {name} is {tensors[name].shape}, not {wanted[name]}"
        elif not np.isfinite(tensors[name]).all():
            reason = f"its {name} is NaN or infinite"
        else:
            continue
        raise ValueError(f"{file} does not hold the parameters of {model} ({reason}): download timm's again")


def holds(file, model):
    """Whether the .safetensors `file` is whole and has the tensors of GluonCV's `model`, by their names and shapes.

    Only the header is read, which states them.
    """
    from safetensors import SafetensorError, safe_open

    try:
        open_regular(file, LIMIT).close()
        with safe_open(file, "numpy") as opened:
            names = _own_names(opened.keys(), file)
            shapes = {own: tuple(opened.get_slice(name).get_shape()) for own, name in names.items()}
    except (SafetensorError, OSError, ValueError, MemoryError, OverflowError):
        return False
    return shapes == wanted_shapes(model)


@lru_cache(maxsize=None)
def wanted_shapes(model):
    """{name: shape} of the parameters of GluonCV's `model`."""
    import mxnet as mx
    from gluoncv.model_zoo import get_model

    net = get_model(model, pretrained=False)
    net.infer_shape(mx.nd.zeros((1, 3, 224, 224)))
    return {name: parameter.shape for name, parameter in net._collect_params_with_prefix().items()}


def _own_names(names, file):
    """{GluonCV's name: timm's name} of timm's `names`."""
    norms = {name[: -len(".running_mean")] for name in names if name.endswith(".running_mean")}
    own = {}
    for name in names:
        layer, _, kind = name.rpartition(".")
        if kind == "num_batches_tracked":
            continue
        if layer in norms:
            kind = {"weight": "gamma", "bias": "beta"}.get(kind, kind)
        renamed = f"{layer}.{kind}"
        if renamed in own:
            raise ValueError(f"{file} holds {renamed} twice, as {own[renamed]} and as {name}: download timm's again")
        own[renamed] = name
    if not own:
        raise ValueError(f"{file} holds no tensors: download timm's again")
    return own
