"""The MXNet engine: a Gluon network on MXNet's devices, as `train.Run` asks for it."""

import platform
from typing import Any, Dict, List, Mapping, Optional, Sequence

import mxnet as mx
import numpy as np
from mxnet import gluon

from gluon_cgd import model, recall
from gluon_cgd.datasets import images
from gluon_cgd.datasets.records import PathLike
from gluon_cgd.evaluate import embed
from gluon_cgd.experiment import Experiment
from gluon_cgd.learner import Learner
from gluon_cgd.machine import devices, facts
from gluon_cgd.runs import results
from gluon_cgd.runs.parameters import values_of
from gluon_cgd.sampler import Crops


def started(
    experiment: Experiment, classes: int, seed: int, ctx: Any, weights: Optional[PathLike] = None, parts: int = 1
) -> "GluonEngine":
    """The engine of a new run: a network of random parameters, but for those of ImageNet in the file `weights`.

    ctx, parts: see `learner.Learner`; None is the CPU. Raises ValueError for an experiment, devices or parts that do
    not fit together.
    """
    ctx = devices.listed(ctx or mx.cpu())
    devices.check_batch(experiment.batch_size, len(ctx))
    mx.random.seed(seed)
    net = model.from_experiment(experiment, classes, weights)
    net.collect_params().reset_ctx(ctx)
    return GluonEngine(Learner(experiment, net, ctx, parts))


class GluonEngine:
    """What `train.Run` asks of an engine, by a Learner.

    A step returns the means of its losses as an array of MXNet (2,) or (1,), which need not be computed yet.
    """

    ranks = staticmethod(recall.ranks)

    def __init__(self, learner: Learner):
        self.learner, self.net, self.trainer = learner, learner.net, learner.trainer
        self.devices, self.parts = learner.devices, learner.parts
        self.pictures: Any = None
        self.buffers: Any = None

    def hold(self, pictures: np.ndarray) -> None:
        """Take batches from `pictures`, uint8 (N, S, S, 3), from now on."""
        experiment, size = self.learner.experiment, self.learner.experiment.input_size
        self.pictures = pictures
        self.buffers = np.empty((2, experiment.batch_size, size, size, 3), np.uint8)  # one is filled, one is read

    def batch(self, indices: np.ndarray, crops: Crops, iteration: int) -> np.ndarray:
        """The batch of `iteration`, uint8 (B, H, W, 3); that of the iteration before the last is then overwritten."""
        size = self.learner.experiment.input_size
        return images.cropped(self.pictures, indices, crops, size, self.buffers[iteration % 2])

    def step(self, batch: np.ndarray, labels: np.ndarray, learning_rate: float, seed: int) -> Any:
        """One update by a batch; returns the means of its losses. seed: of all that MXNet draws in this step."""
        self.trainer.set_learning_rate(learning_rate)
        return self.learner.step(batch, mx.nd.array(labels, ctx=self.devices[0]), seed)

    def wait(self, means: Any) -> None:
        """Wait until a step has been taken."""
        means.wait_to_read()

    def mean(self, steps: Sequence) -> np.ndarray:
        """The mean of what several steps returned, in NumPy."""
        return mx.nd.stack(*steps).mean(axis=0).asnumpy()

    def numbers(self, means: Any) -> List[float]:
        """What a step returned, as numbers for a checkpoint."""
        return means.asnumpy().tolist()

    def means(self, numbers: Sequence[float]) -> Any:
        """The inverse of `numbers`."""
        return mx.nd.array(numbers, ctx=self.devices[0])

    def settle(self) -> None:
        """Wait for all steps, and give every device the same running statistics, their mean."""
        mx.nd.waitall()  # see state_of and devices.average_statistics
        devices.average_statistics(self.net)

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """The embeddings of `pictures`, uint8 (N, H, W, 3): float32 (N, D). Raises NotFinite as `evaluate.embed`."""
        return embed(self.net, pictures, self.devices, self.learner.experiment.batch_size)

    def parameters(self) -> Dict[str, np.ndarray]:
        """{name by structure: value}, also of the running statistics."""
        return values_of(self.net)

    def state(self) -> Dict[str, np.ndarray]:
        """The arrays of a checkpoint, from which `restore` goes on to the same bits."""
        return state_of(self.net, self.trainer)

    def restore(self, arrays: Mapping[str, np.ndarray], updates: int) -> None:
        """Go on from the arrays of a checkpoint after `updates` updates."""
        restore(arrays, self.net, self.trainer, updates)

    def names(self) -> str:
        """The devices, for the log."""
        return devices.names(self.devices)

    def origin(self) -> Dict[str, Any]:
        """What a result says of how it was made."""
        first = self.devices[0]
        versions = {"python": platform.python_version(), "mxnet": mx.__version__, "numpy": np.__version__}
        return results.origin(self.names(), facts.machine(f"{first.device_type}{first.device_id}"), versions)


def state_of(net: gluon.Block, trainer: gluon.Trainer) -> Dict[str, np.ndarray]:
    """{name: array} of all parameters and of Adam's moments, for a checkpoint."""
    mx.nd.waitall()  # MXNet crashes if a weight is copied while its update is still pending
    arrays = {}
    indices = {parameter: index for index, parameter in enumerate(trainer._params)}
    for name, parameter in net._collect_params_with_prefix().items():  # names by structure: the same in every process
        arrays[f"parameter:{name}"] = parameter.list_data()[0].asnumpy()  # equal on all devices
        moments = trainer._updaters[0].states.get(indices.get(parameter), ())
        for kind, moment in zip(("mean", "variance"), moments):
            arrays[f"adam_{kind}:{name}"] = moment.asnumpy()
    for name, parameter in devices.statistics(net).items():  # only these differ between the devices
        first, *others = [array.asnumpy() for array in parameter.list_data()]
        if others:
            arrays[f"devices:{name}"] = np.stack([first, *others])
            arrays[f"parameter:{name}"] = first + sum(other - first for other in others) / (1 + len(others))
    return arrays


def restore(arrays: Mapping[str, np.ndarray], net: gluon.Block, trainer: gluon.Trainer, updates: int) -> None:
    """Put the arrays of a checkpoint into `net` and `trainer`, which then has made `updates` updates.

    They may come from another number of devices. Raises ValueError if they are not of this network.
    """
    indices = {parameter: index for index, parameter in enumerate(trainer._params)}
    optimizer = trainer._optimizer
    # Adam's state is set by hand, because Gluon's load_states would unpickle a file
    for name, parameter in net._collect_params_with_prefix().items():
        value, *moments = (arrays.get(f"{kind}:{name}") for kind in ("parameter", "adam_mean", "adam_variance"))
        of_devices = list(arrays.get(f"devices:{name}", ()))
        shapes = [array.shape for array in (value, *moments, *of_devices) if array is not None]
        if value is None or any(shape != parameter.shape for shape in shapes):
            raise ValueError(f"the checkpoint does not fit the model ({name}): delete it to train from the start")
        parameter.set_data(mx.nd.array(value, dtype="float32"))
        if len(of_devices) == len(parameter.list_ctx()):  # for another number of devices the mean stays
            for array, own_value in zip(parameter.list_data(), of_devices):
                array[:] = own_value
        if parameter in indices and parameter.grad_req != "null":
            if any(moment is None for moment in moments):
                raise ValueError(f"the checkpoint lacks Adam's state ({name}): delete it to train from the start")
            index = indices[parameter]
            for updater, ctx in zip(trainer._updaters, parameter.list_ctx()):
                updater.states[index] = tuple(mx.nd.array(moment, ctx=ctx) for moment in moments)
                updater.states_synced[index] = True
                optimizer._set_current_context(ctx.device_id)  # updates are counted on each device
                optimizer._index_update_count[index] = updates
    optimizer.num_update = updates
