"""Several devices for one run: each takes a part of the batch, the first one the loss of the whole."""

import contextlib
import re

import mxnet as mx


def listed(ctx):
    """`ctx`, an MXNet device or several, as a list. Raises ValueError for devices that cannot share a batch."""
    found = [ctx] if isinstance(ctx, mx.Context) else list(ctx)
    if not found:
        raise ValueError("the list of devices is empty: give one or more")
    if len(set(found)) < len(found):
        raise ValueError(f"the devices {names(found)} have one twice: name each once")
    if len({one.device_type for one in found}) > 1:
        raise ValueError(f"the devices {names(found)} are of two kinds: take GPUs alone, or CPUs")
    return found


def names(devices):
    """ "gpu(0), gpu(1)" for two GPUs."""
    return ", ".join(map(str, devices))


def check_batch(size, count, what="devices"):
    """Raise ValueError unless a batch of `size` pictures can be split by `count`: a batch norm needs two in each."""
    if size < 2 * count:
        raise ValueError(
            f"a batch of {size} pictures is too small for {count} {what}, of which each needs two: "
            f"take {max(1, size // 2)} of them, or a larger batch"
        )


def gathered(outputs):
    """What the model would give for the whole batch, on the first device; gradients flow back to where they belong.

    outputs: of its parts in order, each (embedding, logits, branches) on a device of its own.
    """
    if len(outputs) == 1:
        return outputs[0]
    embeddings, logits, branches = zip(*outputs)
    return whole(embeddings), whole(logits), [whole(parts) for parts in zip(*branches)]


def whole(parts):
    """Arrays (b, D) on several devices -> (B, D) on the first's."""
    return mx.nd.concat(*[part.as_in_context(parts[0].context) for part in parts], dim=0)


def statistics(net):
    """{name by structure: parameter} of what the batch norms of `net` keep running: each device moves its own."""
    parameters = net._collect_params_with_prefix().items()
    return {name: one for name, one in parameters if name.endswith(("running_mean", "running_var"))}


def average_statistics(net):
    """Give the batch norms' running statistics, on every device, their mean over the devices; equal ones keep each bit.

    Only after mx.nd.waitall(): on a CPU the backward pass moves them behind the back of MXNet 1.9.1's engine
    (apache/mxnet, issue 18610).
    """
    for parameter in statistics(net).values():
        first, *others = parameter.list_data()
        if others:
            more = mx.nd.add_n(*[other.as_in_context(first.context) - first for other in others])
            parameter.set_data(first + more / (1 + len(others)))


@contextlib.contextmanager
def kept_statistics(net):
    """Leave the running statistics of `net`, on one device, as they were; gives {name: what they became} at the end."""
    moved = {}
    before = {name: parameter.data().copy() for name, parameter in statistics(net).items()}
    yield moved
    mx.nd.waitall()  # as in average_statistics
    for name, parameter in statistics(net).items():
        moved[name] = parameter.data().copy()
        parameter.set_data(before[name])


def set_statistics(net, found):
    """Give the running statistics of `net` the mean of those in `found`, one dict a part of the batch."""
    for name, parameter in statistics(net).items():
        first, *others = (moved[name] for moved in found)
        parameter.set_data(first + mx.nd.add_n(*[other - first for other in others]) / len(found))


def context(name):
    """The one MXNet device `name`; as `contexts`, but several are refused too."""
    found = contexts(name)
    if len(found) > 1:
        raise ValueError(f"--ctx {name} names {len(found)} devices where one is used: take {name.split(',')[0]}")
    return found[0]


def contexts(name):
    """The MXNet devices that `name` lists with commas between: "cpu", "gpu0", "gpu0,gpu1", for tests "cpu0,cpu1".

    None is gpu0 where MXNet has one, else the CPU.
    Raises ValueError for one that this machine does not have, for one named twice, and for CPUs and GPUs together.
    """
    import mxnet as mx

    from gluon_cgd.machine.devices import listed

    if name is None:
        name = "gpu0" if mx.context.num_gpus() else "cpu"
    parts = name.split(",")
    if len(parts) > 1 and not all(parts):
        raise ValueError(f"--ctx {name!r} has an empty part: put one comma between two devices, as in gpu0,gpu1")
    return listed([_device(part) for part in parts])


def _device(name):
    import mxnet as mx

    if re.fullmatch("cpu[0-9]{0,2}", name):  # to MXNet a CPU is as many devices as one likes
        return mx.cpu(int(name[3:] or 0))
    if not re.fullmatch("gpu[0-9]+", name):
        raise ValueError(f"device {name!r} is unknown: --ctx takes cpu, gpu0, gpu1, ..., or several: gpu0,gpu1")
    gpus = mx.context.num_gpus()
    if int(name[3:]) >= gpus:
        raise ValueError(
            f"device {name} is not there: MXNet can use {gpus} GPUs on this machine; take --ctx cpu, or install "
            "the CUDA build where there is a GPU of compute capability 5.0 to 8.9 (python -m gluon_cgd doctor)"
        )
    return mx.gpu(int(name[3:]))
