"""Adam as MXNet computes it (section 4.2), in PyTorch."""

import math
from typing import List, Sequence, Union

import numpy as np
import torch
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # MXNet's defaults
NEVER = 1e9  # steps, by which 1 - beta**steps is 1


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

    def rate(self, learning_rate: float) -> float:
        """The corrected learning rate of the next update, which is counted."""
        self.updates += 1
        return single(learning_rate * math.sqrt(1 - BETA2**self.updates) / (1 - BETA1**self.updates))

    def step(self, parameters: List[Tensor], gradients: List[Tensor], learning_rate: float) -> None:
        """Change `parameters` in place by their `gradients`."""
        self.update(parameters, gradients, self.rate(learning_rate))

    @torch.no_grad()
    def update(self, parameters: List[Tensor], gradients: List[Tensor], rate: Union[float, Tensor]) -> None:
        """As `step`, with what `rate` returned. A tensor (), on the same GPU: all in one kernel."""
        if isinstance(rate, Tensor):
            betas = dict(beta1=single(BETA1), beta2=single(BETA2), eps=single(EPSILON))
            # PyTorch's own correction of the moments, after so many steps, is none
            steps = [torch.full_like(rate, NEVER)] * len(parameters)
            moments, other = (self.means, self.variances, [], steps), dict(amsgrad=False, maximize=False)
            decay = single(self.decay)
            torch._fused_adam_(parameters, gradients, *moments, lr=rate, weight_decay=decay, **betas, **other)
            return
        if self.decay:
            gradients = torch._foreach_add(gradients, parameters, alpha=single(self.decay))
        torch._foreach_mul_(self.means, single(BETA1))
        torch._foreach_add_(self.means, gradients, alpha=1 - single(BETA1))
        torch._foreach_mul_(self.variances, single(BETA2))
        torch._foreach_addcmul_(self.variances, gradients, gradients, 1 - single(BETA2))
        roots = torch._foreach_sqrt(self.variances)
        torch._foreach_add_(roots, single(EPSILON))
        torch._foreach_addcdiv_(parameters, self.means, roots, -rate)
