"""Adam as MXNet computes it (section 4.2), in PyTorch."""

import math
from typing import List, Sequence

import numpy as np
import torch
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # MXNet's defaults


def single(value: float) -> float:
    """`value` rounded to float32, as MXNet hands numbers to its operators: 1 - BETA2 is 1.3e-5 smaller then."""
    return float(np.float32(value))


class Adam:
    """The moments of some parameters, and how often they were updated.

    PyTorch's own Adam adds epsilon to the corrected root of the second moment; MXNet corrects the learning rate alone.
    parameters: tensors of the shapes of those that `step` changes.  decay: MXNet's weight decay, part of the gradient.
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float = 0.0):
        self.means: List[Tensor] = [torch.zeros_like(parameter, requires_grad=False) for parameter in parameters]
        self.variances: List[Tensor] = [torch.zeros_like(parameter, requires_grad=False) for parameter in parameters]
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def step(self, parameters: List[Tensor], gradients: List[Tensor], rate: float) -> None:
        """Change `parameters` in place by their `gradients`. rate: the learning rate."""
        self.updates += 1
        rate = single(rate * math.sqrt(1 - BETA2**self.updates) / (1 - BETA1**self.updates))
        if self.decay:
            gradients = torch._foreach_add(gradients, parameters, alpha=single(self.decay))
        torch._foreach_mul_(self.means, single(BETA1))
        torch._foreach_add_(self.means, gradients, alpha=1 - single(BETA1))
        torch._foreach_mul_(self.variances, single(BETA2))
        torch._foreach_addcmul_(self.variances, gradients, gradients, 1 - single(BETA2))
        roots = torch._foreach_sqrt(self.variances)
        torch._foreach_add_(roots, single(EPSILON))
        torch._foreach_addcdiv_(parameters, self.means, roots, -rate)
