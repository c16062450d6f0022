"""The PyTorch engine: the graph that MXNet wrote, trained by Adam on PyTorch's devices, as `train.Run` asks for it."""

import contextlib
import copy
import platform
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

import numpy as np
import torch
from torch import Tensor

from gluon_cgd import recall
from gluon_cgd.engines import adam, graph, search
from gluon_cgd.engines.draws import Uniform
from gluon_cgd.engines.pictures import MEAN, STD, cropped, cut, sent
from gluon_cgd.engines.pytorch import Network
from gluon_cgd.engines.replay import Replay
from gluon_cgd.engines.tf32 import Tf32
from gluon_cgd.engines.training_file import Training
from gluon_cgd.evaluate import finite
from gluon_cgd.machine import facts
from gluon_cgd.machine.device_names import Device
from gluon_cgd.machine.progress import by_batches
from gluon_cgd.runs import results
from gluon_cgd.sampler import Crops

DETERMINISTIC = "deterministic"  # the name of an array of a checkpoint: whether all steps up to there were
HELD = 0.4  # of the free memory of a GPU: as much as the training pictures may take, the rest is for training


class Batch(NamedTuple):
    """Which pictures make a batch: places among those on the device, or, where they are not there, the pictures."""

    pictures: Optional[Tensor]  # uint8 (B, S, S, 3), or None
    places: np.ndarray  # (B,)
    crops: Crops


class TorchEngine:
    """What `train.Run` asks of an engine, by PyTorch.

    devices: the first holds the pictures and computes the losses of the whole batch; each computes a part of it.
    precision: float32; tf32 and bf16 are for convolutions alone. Recall is measured in float32 in any case, for so will
    those who use the model.
    deterministic: only algorithms that repeat their bits; after `restore`, whether all steps so far were of them.
    records: whether steps are recorded where they can be (see `replay`).
    """

    parts = 1

    def __init__(
        self,
        training: Training,
        devices: Sequence[torch.device],
        precision: str,
        deterministic: bool,
        records: bool = True,
    ):
        self.experiment, self.precision, self.deterministic = training.experiment, precision, deterministic
        self.devices, self.records = list(devices), records
        if self.devices[0].type == "cuda":
            torch.cuda.set_device(self.devices[0])  # else PyTorch takes memory of the first GPU for what names none
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.benchmark = not deterministic
        Tf32(False)
        first = Network(graph.parse(training.graph), training.heads, training.values, training.learned)
        if precision != "float32" and self.devices[0].type == "cuda":
            first = first.to(memory_format=torch.channels_last)  # what tensor cores are fast with
        self.networks = [copy.deepcopy(first).to(device) for device in self.devices]
        self.unused = {name: training.values[name] for name in training.values if name not in first.values()}
        self.order = list(training.values)
        self.learned = [name for name in self.order if name in training.learned]
        self.weights = [[values[name] for name in self.learned] for values in (one.values() for one in self.networks)]
        self.adam = adam.Adam([first.values()[name] for name in self.learned], self.experiment.weight_decay)
        self.adam.means = [mean.to(self.devices[0]) for mean in self.adam.means]
        self.adam.variances = [variance.to(self.devices[0]) for variance in self.adam.variances]
        self.normal = {device.index or 0: torch.tensor([MEAN, STD], device=device) for device in self.devices}
        self.replay: Optional[Replay] = None  # of `computed`, where that takes nothing but numbers of one shape
        self.outputs = [head for head in training.heads if head not in ("ranking", "classification")]
        self.losses = [head for head in training.heads if head in ("ranking", "classification")]
        self.held: Any = None

    def hold(self, pictures: np.ndarray) -> None:
        """Take batches from `pictures`, uint8 (N, S, S, 3), from now on: on the first device, if they fit."""
        self.pictures = torch.from_numpy(pictures)
        device = self.devices[0]
        fits = device.type == "cpu"
        if device.type == "cuda":
            fits = pictures.nbytes < HELD * torch.cuda.mem_get_info(device)[0]
        self.held = self.pictures.to(device) if fits else None
        changes = self.experiment.erasing or self.experiment.colour_jitter
        plain = len(self.devices) == 1 and not changes and not self.networks[0].draws()
        if self.records and device.type == "cuda" and fits and plain:
            self.replay = Replay(self.computed, device)

    def batch(self, indices: np.ndarray, crops: Crops, iteration: int) -> Batch:
        """The batch of `iteration`, as `step` takes it."""
        if self.held is not None:
            return Batch(None, indices, crops)
        pictures = self.pictures[torch.from_numpy(indices)]
        if self.devices[0].type == "cuda":
            pictures = pictures.pin_memory()
        return Batch(pictures, np.arange(len(indices)), crops)

    def step(self, batch: Batch, labels: np.ndarray, learning_rate: float, seed: int) -> Tensor:
        """One update by a batch; returns the means of its losses. seed: of what the losses draw."""
        device, rate = self.devices[0], self.adam.rate(learning_rate)
        label = np.asarray(labels, np.float32)
        if self.replay is not None:
            crops = np.stack([batch.places, *batch.crops[:3]])
            return self.replay(torch.from_numpy(crops), torch.from_numpy(label), torch.tensor(rate))
        pictures = self.held if batch.pictures is None else batch.pictures.to(device, non_blocking=True)
        pixels = cropped(pictures, sent(batch.places, device), batch.crops, self.experiment.input_size)
        # On a GPU the kernels are those of a recording, so that the same bits come
        factor = sent(np.array(rate, np.float32), device) if device.type == "cuda" else rate
        return self.learned_from(pixels, sent(label, device), factor, Uniform(seed))

    def computed(self, crops: Tensor, label: Tensor, rate: Tensor) -> Tensor:
        """What `step` does on a GPU that holds all pictures. crops: places, tops, lefts and flips, (4, B)."""
        return self.learned_from(cut(self.held, *crops, self.experiment.input_size), label, rate, None)

    def learned_from(self, pixels: Tensor, label: Tensor, rate: Union[float, Tensor], uniform: Any) -> Tensor:
        """One update by the pictures `pixels`, uint8 (B, H, W, 3), and the step's corrected learning `rate`."""
        outputs = self.forward(pixels)
        with Tf32(False):
            means = self.networks[0]({**outputs, "label": label}, self.losses, uniform and uniform.draw)
            total = torch.stack([mean.reshape(()) for mean in means.values()])
        with Tf32(self.precision == "tf32"):
            total.sum().backward()
        self.update(rate)
        return total.detach()

    def forward(self, pixels: Tensor) -> Dict[str, Tensor]:
        """{head: its value for the whole batch} in training, on the first device. pixels: uint8 (B, H, W, 3)."""
        found: List[Dict[str, Tensor]] = []
        parts = torch.tensor_split(pixels, len(self.devices))
        for network, device, part in zip(self.networks, self.devices, parts):
            network.train()
            with Tf32(self.precision == "tf32"), self.autocast(device):
                found.append(network({"data": self.normalised(part.to(device))}, self.outputs))
        return {
            head: torch.cat([outputs[head].to(self.devices[0], torch.float32) for outputs in found])
            for head in self.outputs
        }

    def autocast(self, device: torch.device) -> Any:
        """The context in which a network computes in this precision."""
        return torch.autocast(device.type, torch.bfloat16) if self.precision == "bf16" else contextlib.nullcontext()

    def normalised(self, pixels: Tensor) -> Tensor:
        """uint8 (B, H, W, 3) -> float32 (B, 3, H, W), ImageNet's mean 0 and deviation 1."""
        mean, std = self.normal[pixels.device.index or 0]
        data = pixels.float().div_(255).sub_(mean).div_(std).permute(0, 3, 1, 2)
        is_last = self.precision != "float32" and pixels.device.type == "cuda"
        return data.contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format)

    def update(self, rate: Union[float, Tensor]) -> None:
        """Add up the gradients of the devices, take a step of Adam, and give all devices the new parameters."""
        weights, *others = self.weights
        for theirs in others:
            for weight, other in zip(weights, theirs):
                weight.grad += other.grad.to(weight.device)
        self.adam.update(weights, [weight.grad for weight in weights], rate)
        with torch.no_grad():
            for theirs in others:
                for weight, other in zip(weights, theirs):
                    other.copy_(weight)
        for network in self.networks:
            network.zero_grad(set_to_none=True)

    def wait(self, means: Tensor) -> None:
        """Wait until a step has been taken. PyTorch's queue takes no memory, so there is nothing to do."""

    def mean(self, steps: Sequence[Tensor]) -> np.ndarray:
        """The mean of what several steps returned, in NumPy."""
        return torch.stack(list(steps)).mean(dim=0).cpu().numpy()

    def numbers(self, means: Tensor) -> List[float]:
        """What a step returned, as numbers for a checkpoint."""
        return means.cpu().tolist()

    def means(self, numbers: Sequence[float]) -> Tensor:
        """The inverse of `numbers`."""
        return torch.tensor(numbers, dtype=torch.float32, device=self.devices[0])

    def settle(self) -> None:
        """Give every device the same running statistics, their mean."""
        for first, *others in self.statistics().values():
            if others:
                mean = first + sum(other.to(first.device) - first for other in others) / (1 + len(others))
                for value in (first, *others):
                    value.copy_(mean)

    def statistics(self) -> Dict[str, List[Tensor]]:
        """{name: its value on each device} of the running statistics, which alone differ between the devices."""
        of_devices = [network.values() for network in self.networks]
        names = [name for name in of_devices[0] if name.endswith(("running_mean", "running_var"))]
        return {name: [values[name] for values in of_devices] for name in names}

    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """The embeddings of `pictures`, uint8 (N, H, W, 3): float32 (N, D). Raises NotFinite as `evaluate.embed`."""
        rows, size = [], self.experiment.batch_size
        for start in by_batches(len(pictures), size):
            batch, started = torch.from_numpy(np.ascontiguousarray(pictures[start : start + size])), []
            for network, device, part in zip(self.networks, self.devices, torch.tensor_split(batch, len(self.devices))):
                network.eval()
                with torch.no_grad(), Tf32(False):
                    data = self.normalised(part.to(device))
                    started.append(network({"data": data}, ["embedding"])["embedding"])
            rows.extend(embedding.cpu().numpy() for embedding in started)  # when all devices have begun
        return finite(np.concatenate(rows))

    def ranks(self, *embeddings: Any) -> np.ndarray:
        """As `recall.ranks`, on the GPU of the losses: the CPU would take as long for them as that GPU for the rest."""
        device = self.devices[0]
        return search.ranks(device, *embeddings) if device.type == "cuda" else recall.ranks(*embeddings)

    def parameters(self) -> Dict[str, np.ndarray]:
        """{name by structure: value}, also of the running statistics, in MXNet's order."""
        values = {**self.unused, **{name: array_of(value) for name, value in self.networks[0].values().items()}}
        return {name: values[name] for name in self.order}

    def state(self) -> Dict[str, np.ndarray]:
        """The arrays of a checkpoint, from which `restore` goes on; named as the MXNet engine names them."""
        arrays = {f"parameter:{name}": value for name, value in self.parameters().items()}
        arrays[DETERMINISTIC] = np.array(self.deterministic, np.uint8)
        for name, mean, variance in zip(self.learned, self.adam.means, self.adam.variances):
            arrays[f"adam_mean:{name}"], arrays[f"adam_variance:{name}"] = array_of(mean), array_of(variance)
        for name, values in self.statistics().items():
            if len(values) > 1:
                of_devices = np.stack([array_of(value) for value in values])
                arrays[f"devices:{name}"], arrays[f"parameter:{name}"] = of_devices, of_devices.mean(axis=0)
        return arrays

    def restore(self, arrays: Mapping[str, np.ndarray], updates: int) -> None:
        """Go on from the arrays of a checkpoint after `updates` updates. Raises ValueError if they do not fit."""
        for network in self.networks:
            for name, value in network.values().items():
                put(arrays, f"parameter:{name}", value)
        for name, values in self.statistics().items():
            of_devices = arrays.get(f"devices:{name}", ())
            if len(of_devices) == len(values):  # for another number of devices the mean stays
                for number, value in enumerate(values):
                    put({name: of_devices[number]}, name, value)
        for name, mean, variance in zip(self.learned, self.adam.means, self.adam.variances):
            put(arrays, f"adam_mean:{name}", mean)
            put(arrays, f"adam_variance:{name}", variance)
        self.adam.updates = updates
        self.deterministic = self.deterministic and bool(arrays.get(DETERMINISTIC, False))

    def names(self) -> str:
        """The devices and the precision, for the log."""
        shown = [f"{device.type}({device.index or 0})" for device in self.devices]
        return f"{', '.join(shown)} (PyTorch, {self.precision})"

    def origin(self) -> Dict[str, Any]:
        """What a result says of how it was made."""
        first = self.devices[0]
        machine = torch.cuda.get_device_name(first) if first.type == "cuda" else facts.machine("cpu")
        versions = {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__}
        if first.type == "cuda":
            versions["cuda"] = str(torch.version.cuda)
        engine = dict(name="pytorch", precision=self.precision, deterministic=self.deterministic)
        engine.update(device=machine, versions=versions)
        device = ", ".join(f"{device.type}({device.index or 0})" for device in self.devices)
        return {**results.origin(device, machine, versions), "engine": engine}


def device_of(device: Device) -> torch.device:
    """PyTorch's device of this name."""
    return torch.device(device.kind, device.number) if device.kind == "cuda" else torch.device(device.kind)


def array_of(tensor: Tensor) -> np.ndarray:
    """A copy of `tensor` in NumPy, in C order, whatever its layout on the device."""
    return np.array(tensor.detach().cpu().numpy(), order="C")


def put(arrays: Mapping[str, np.ndarray], name: str, value: Tensor) -> None:
    """Copy the array `name` into `value`. Raises ValueError if it is not there or has another shape."""
    array = arrays.get(name)
    if array is None or array.shape != tuple(value.shape):
        raise ValueError(f"the checkpoint does not fit the model ({name}): delete it to train from the start")
    with torch.no_grad():
        value.copy_(torch.from_numpy(np.array(array)))
