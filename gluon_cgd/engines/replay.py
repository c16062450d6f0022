"""A training step as a CUDA graph: recorded once, then started as a whole.

A step of a small network is hundreds of kernels of some microseconds, and Python takes longer to start each of them
than the GPU to run it. A recorded step computes the same with the same kernels.
"""

from typing import Callable, List

import torch
from torch import Tensor

WARM = 4  # steps before the recording: in them cuDNN chooses its algorithms and PyTorch's allocator grows


class NotRecorded(RuntimeError):
    """PyTorch cannot record a step. It leaves memory behind that this process cannot free."""


class Replay:
    """Steps of `compute`, recorded after WARM of them. Raises NotRecorded there if PyTorch cannot record it.

    compute: a function of tensors on a GPU that returns one. It changes what it changes in place, reads nothing of the
    GPU back, and sends nothing there.
    """

    def __init__(self, compute: Callable[..., Tensor], device: torch.device):
        self.compute, self.device, self.left = compute, device, WARM
        self.stream = torch.cuda.Stream(device)
        self.inputs: List[Tensor] = []
        self.graph = self.output = None

    def __call__(self, *arrays: Tensor) -> Tensor:
        """What a step returns. arrays: its inputs on the CPU, of the same shapes each time."""
        if not self.inputs:
            self.inputs = [torch.empty_like(array, device=self.device) for array in arrays]
        for held, array in zip(self.inputs, arrays):
            held.copy_(array.pin_memory(), non_blocking=True)
        if self.left == 0:
            self.record()
        self.left -= 1
        if self.graph is not None:
            self.graph.replay()
            return self.output.clone()
        return self.started()

    def started(self) -> Tensor:
        """What a step returns, started kernel by kernel: in a stream of its own, as PyTorch asks before a recording."""
        now = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(now)
        with torch.cuda.stream(self.stream):
            output = self.compute(*self.inputs)
        now.wait_stream(self.stream)
        output.record_stream(now)
        return output

    def record(self) -> None:
        """Record a step, without taking it."""
        torch.cuda.synchronize(self.device)
        torch.cuda.empty_cache()  # a recording has memory of its own
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                output = self.compute(*self.inputs)
        except RuntimeError as error:
            raise NotRecorded(str(error).split("\n")[0]) from error
        self.graph, self.output = graph, output
