"""MXNet's devices: named on the command line, and several for one run.

Each device computes a part of the batch; the first one then computes the losses of the whole batch.
"""

import contextlib
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Union

import mxnet as mx

from gluon_cgd.machine import device_names


def listed(ctx: Union[str, mx.Context, Iterable[mx.Context]]) -> List[mx.Context]:
    """`ctx`, one MXNet device or several, as a list; a text is read as `contexts` reads it.

    Raises ValueError for what is no device of MXNet, for devices that cannot share a batch, and as `contexts`.
    """
    if isinstance(ctx, str):
        return contexts(ctx)
    devices = [ctx] if isinstance(ctx, mx.Context) else list(ctx)
    if not devices:
        raise ValueError("the list of devices is empty: give one or more")
    wrong = [device for device in devices if not isinstance(device, mx.Context)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no device of MXNet: give mx.cpu(), a list of them, or a text, as gpu0,gpu1")
    if len(set(devices)) < len(devices):
        raise ValueError(f"the devices {names(devices)} have one twice: name each once")
    if len({device.device_type for device in devices}) > 1:
        raise ValueError(f"the devices {names(devices)} are of two kinds: take only GPUs or only CPUs")
    return devices


def names(devices: Iterable[mx.Context]) -> str:
    """ "gpu(0), gpu(1)" for two GPUs."""
    return ", ".join(map(str, devices))


def check_batch(size: int, count: int, what: str = "devices") -> None:
    """Raise ValueError if a batch of `size` pictures is too small for `count` parts: batch norm needs two in each."""
    if size < 2 * count:
        raise ValueError(
            f"a batch of {size} pictures is too small for {count} {what}, of which each needs two: "
            f"take {max(1, size // 2)} of them, or a larger batch"
        )


def gathered(outputs: Sequence) -> Any:
    """The network's output for the whole batch, on the first device; gradients flow back to the other devices.

    outputs: (embedding, logits, branches) of each part of the batch, in order, each on its own device.
    """
    if len(outputs) == 1:
        return outputs[0]

    def whole(parts):  # arrays (b, D) on their devices -> (B, D) on the first one
        return mx.nd.concat(*[part.as_in_context(parts[0].context) for part in parts], dim=0)

    embeddings, logits, branches = zip(*outputs)
    return whole(embeddings), whole(logits), [whole(parts) for parts in zip(*branches)]


def statistics(net: mx.gluon.Block) -> Dict[str, mx.gluon.Parameter]:
    """{name by structure: parameter} of the running statistics of the batch norms of `net`; each device has its own."""
    parameters = net._collect_params_with_prefix().items()
    return {name: value for name, value in parameters if name.endswith(("running_mean", "running_var"))}


def average_statistics(net: mx.gluon.Block) -> None:
    """Set the batch norms' running statistics on every device to their mean over the devices, exactly if all are equal.

    Call mx.nd.waitall() first: on a CPU the backward pass changes them without the knowledge of MXNet 1.9.1's engine
    (apache/mxnet, issue 18610).
    """
    for parameter in statistics(net).values():
        first, *others = parameter.list_data()
        if others:
            more = mx.nd.add_n(*[other.as_in_context(first.context) - first for other in others])
            parameter.set_data(first + more / (1 + len(others)))


@contextlib.contextmanager
def kept_statistics(net: mx.gluon.Block) -> Iterator[Dict[str, Any]]:
    """Restore the running statistics of `net`, on one device, at the end; yields a dict that then has the new ones."""
    moved: Dict[str, Any] = {}
    before = {name: parameter.data().copy() for name, parameter in statistics(net).items()}
    yield moved
    mx.nd.waitall()  # as in average_statistics
    for name, parameter in statistics(net).items():
        moved[name] = parameter.data().copy()
        parameter.set_data(before[name])


def set_statistics(net: mx.gluon.Block, of_parts: Sequence[Dict[str, Any]]) -> None:
    """Set the running statistics of `net` to their mean over the parts of a batch, one dict per part."""
    for name, parameter in statistics(net).items():
        first, *others = (values[name] for values in of_parts)
        parameter.set_data(first + mx.nd.add_n(*[other - first for other in others]) / len(of_parts))


def context(name: Optional[str]) -> mx.Context:
    """The MXNet device `name`, as `contexts`. Raises ValueError for several, too."""
    first, *more = contexts(name)
    if name and more:
        raise ValueError(f"--ctx {name} names {1 + len(more)} devices where one is used: take {name.split(',')[0]}")
    return first


def contexts(name: Optional[str]) -> List[mx.Context]:
    """The MXNet devices in a list with commas: "cpu", "gpu0", "gpu0,gpu1"; for tests "cpu0,cpu1".

    None means gpu0 where MXNet has one, else the CPU. Raises ValueError for a device that this machine does not have,
    for one named twice, and for CPUs and GPUs together.
    """
    if name is None:
        name = "gpu0" if mx.context.num_gpus() else "cpu"
    return listed([_context(device) for device in device_names.parse(name, "MXNet")])


def _context(device):
    if device.kind == "cpu":  # MXNet takes one CPU for any number of devices
        return mx.cpu(device.number)
    gpus = mx.context.num_gpus()
    if device.number >= gpus:
        raise ValueError(
            f"device {device.name} is not there: MXNet can use {gpus} GPUs on this machine; take --ctx cpu, or install "
            "the CUDA build where there is a GPU of compute capability 5.0 to 8.9 (python -m gluon_cgd doctor)"
        )
    return mx.gpu(device.number)
