"""TF32 on NVIDIA's GPUs: the inputs of convolutions rounded to 10 bits, which makes them several times faster."""

from typing import Any

import torch


class Tf32:
    """Let convolutions compute in TF32, or not: from now on, or in a `with` block. Matrix products never do."""

    def __init__(self, allowed: bool):
        self.before = torch.backends.cudnn.conv.fp32_precision
        torch.backends.cudnn.conv.fp32_precision = "tf32" if allowed else "ieee"
        torch.backends.cuda.matmul.fp32_precision = "ieee"

    def __enter__(self) -> "Tf32":
        return self

    def __exit__(self, *error: Any) -> None:
        torch.backends.cudnn.conv.fp32_precision = self.before
