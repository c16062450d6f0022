"""An MXNet graph as a PyTorch module: the same numbers, gradients and running statistics, on what PyTorch runs on."""

import collections
import functools
from typing import Any, Callable, Collection, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gluon_cgd.engines.graph import Graph, Node
from gluon_cgd.engines.operators import OPERATORS, attributes_of, refusal

Place = Tuple[int, int]  # an output of a node, as the first two parts of an Entry
# What these give is needed by nobody on the way back: it may be changed in place
FREE = {"Convolution", "BatchNorm", "elemwise_add", "broadcast_add"}
INPUTS = ("data", "label")
RANDOM = "_random_uniform_like"


class Step(NamedTuple):
    """One operator: which values it takes, and which nobody needs after it."""

    node: int
    sources: List[Place]
    done: List[Place]


class Network(torch.nn.Module):
    """Runs the training graph of an experiment, or the part of it that is asked for.

    graph: as `training_graph.build` describes it.  heads: the names of its heads, in order.
    values: {name: array} of all of its variables but the inputs.  learned: names of those that training changes; the
    others, running statistics among them, are buffers.
    In training mode batch norm uses the batch, and moves its running statistics as MXNet does: by the biased variance.
    Raises ValueError for an operator or an attribute that `operators` does not know, and for a missing value.
    """

    def __init__(self, graph: Graph, heads: Sequence[str], values: Mapping[str, np.ndarray], learned: Collection[str]):
        super().__init__()
        self.nodes = graph.nodes
        self.heads = dict(zip(heads, (entry[:2] for entry in graph.heads)))
        uses = collections.Counter(entry[:2] for node in graph.nodes for entry in node.inputs)
        uses.update(self.heads.values())
        self.alone = {place for place, count in uses.items() if count == 1 and self.nodes[place[0]].op in FREE}
        self.functions = [self._function(node) if node.op != "null" else None for node in graph.nodes]
        variables = [node.name for node in graph.nodes if node.op == "null"]
        for name in variables:
            if name in values:
                value = torch.from_numpy(np.array(values[name], copy=True))
                if name in learned:
                    self.register_parameter(key_of(name), torch.nn.Parameter(value))
                else:
                    self.register_buffer(key_of(name), value)
        lost = sorted(set(variables) - set(values) - set(INPUTS)) or sorted(set(learned) - set(variables))
        if lost:
            raise ValueError(f"parameter {lost[0]} is only in the graph or only beside it: write both again")
        self.plans: Dict[Tuple, List[Step]] = {}
        self.moved: List[Tuple] = []  # statistics of the batch, until the running ones are moved

    def draws(self) -> bool:
        """Whether a step takes random numbers, which are drawn outside: the margin loss does."""
        return any(node.op == RANDOM for node in self.nodes)

    def values(self) -> Dict[str, Tensor]:
        """{name: value} of all parameters and buffers, by the names in a .params file."""
        return {name_of(key): value for key, value in (*self.named_parameters(), *self.named_buffers())}

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        heads: Optional[Sequence[str]] = None,
        uniform: Optional[Callable[[Sequence[int]], np.ndarray]] = None,
    ) -> Dict[str, Tensor]:
        """{name: value} of `heads`, by default all.

        inputs: {"data": pictures (B, 3, H, W), normalised, "label": (B,)}, as far as the heads need them. A head can be
            given, too: {"embedding", "logits", "branch0", ..., "label"} give the losses of outputs that are there.
        uniform: gives the next uniform numbers of a shape, as `draws.Uniform.draw`; the margin loss needs it.
        """
        wanted = tuple(self.heads if heads is None else heads)
        given = {self.heads[name]: value for name, value in inputs.items() if name in self.heads}
        key = (wanted, frozenset(given))
        if key not in self.plans:
            self.plans[key] = self._plan(wanted, given)
        values: Dict[Place, Any] = dict(given)
        self.moved = []
        for step in self.plans[key]:
            taken = [values[source] if source in values else self._variable(source, inputs) for source in step.sources]
            drawing = {"uniform": uniform} if self.nodes[step.node].op == RANDOM else {}
            result = self.functions[step.node](*taken, **drawing)
            del taken
            for place in step.done:
                values.pop(place, None)
            outputs = result if isinstance(result, (tuple, list)) else (result,)
            values.update(((step.node, number), output) for number, output in enumerate(outputs))
        self._move_statistics()
        return {name: values[self.heads[name]] for name in wanted}

    def _plan(self, wanted, given):
        """The steps from the inputs and the `given` places to the `wanted` heads."""
        ends = {self.heads[name] for name in wanted}
        needed = {place[0] for place in ends if place not in given}
        for number in reversed(range(len(self.nodes))):
            if number in needed:
                needed.update(entry.node for entry in self.nodes[number].inputs if entry[:2] not in given)
        steps, seen = [], set(ends)
        for number in sorted(needed, reverse=True):
            if self.nodes[number].op != "null":
                sources = [entry[:2] for entry in self.nodes[number].inputs]
                steps.append(Step(number, sources, [place for place in set(sources) if place not in seen]))
                seen.update(sources)
        return steps[::-1]

    def _variable(self, place, inputs):
        """The value of an input or of a parameter."""
        name = self.nodes[place[0]].name
        if name not in INPUTS:
            return getattr(self, key_of(name))
        if name not in inputs:
            raise ValueError(f"the heads that are asked for need the input {name}: give it")
        return inputs[name]

    def _function(self, node: Node) -> Callable:
        """What computes `node` from the values of its inputs."""
        if node.op == "BatchNorm":
            return functools.partial(self._batch_norm, **attributes_of(node, self._batch_norm))
        if node.op == RANDOM:
            return functools.partial(drawn, **attributes_of(node, drawn))
        if node.op not in OPERATORS:
            raise ValueError(refusal(f"operator {node.op}", node))
        function = OPERATORS[node.op]
        attributes = attributes_of(node, function)
        free = [number for number, entry in enumerate(node.inputs) if entry[:2] in self.alone]
        if free and (node.op == "relu" or attributes.get("act_type") == "relu"):
            return torch.relu_
        if free and node.op == "elemwise_add":
            return functools.partial(added, into=free[0])
        return functools.partial(function, **attributes)

    def _batch_norm(
        self, x, gamma, beta, mean, variance, *, eps=1e-3, momentum=0.9, fix_gamma=True, use_global_stats=False
    ):
        gamma = torch.ones_like(gamma) if fix_gamma else gamma
        if use_global_stats or not self.training:
            return functional.batch_norm(x, mean, variance, gamma, beta, False, 0.0, eps)
        # PyTorch moves running statistics by the unbiased variance: let it move zeros the whole way, and do it here
        of_batch = torch.zeros_like(mean), torch.zeros_like(variance)
        y = functional.batch_norm(x, *of_batch, gamma, beta, True, 1.0, eps)
        count = x.numel() // x.shape[1]
        rate = 1 - float(np.float32(momentum))  # MXNet keeps it so
        self.moved.append((mean, variance, *of_batch, (count - 1) / count, rate))
        return y

    @torch.no_grad()
    def _move_statistics(self):
        """The running statistics a step towards those of the batch, all at once."""
        if self.moved:
            means, variances, batch_means, batch_variances, biased, rates = zip(*self.moved)
            # The way back needs the variances of the batch as they are
            batch = [*batch_means, *torch._foreach_mul(batch_variances, biased)]
            torch._foreach_lerp_([*means, *variances], batch, [*rates, *rates])
        self.moved = []


def drawn(x, *, uniform, low=0, high=1):
    """Uniform numbers of the shape of x, which `uniform` gives."""
    if uniform is None:
        raise ValueError("this graph draws random numbers (the margin loss): give uniform, as draws.Uniform(seed).draw")
    numbers = torch.from_numpy(np.ascontiguousarray(uniform(tuple(x.shape)))).to(x.device, x.dtype)
    return low + (high - low) * numbers


def added(x, y, into):
    """x + y, in the memory of one of them if both are of one kind."""
    first, second = (x, y) if into == 0 else (y, x)
    return first.add_(second) if first.dtype == second.dtype else x + y


def key_of(name: str) -> str:
    """The name of a parameter as PyTorch allows it, without dots."""
    return name.replace(".", "/")


def name_of(key: str) -> str:
    """The inverse of `key_of`."""
    return key.replace("/", ".")
