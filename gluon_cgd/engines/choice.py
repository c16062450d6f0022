"""Which engine trains: MXNet or PyTorch, in which precision."""

import logging
from typing import Any, Mapping, NamedTuple, Optional

from gluon_cgd.machine import device_names, gpus

log = logging.getLogger(__name__)
ENGINES = ("mxnet", "pytorch")
LIBRARIES = {"mxnet": "MXNet", "pytorch": "PyTorch"}  # as device_names calls them
PRECISIONS = ("float32", "tf32", "bf16")


class Engine(NamedTuple):
    """What computes a run. deterministic: with the same bits at each repetition, which PyTorch does only if asked."""

    name: str = "mxnet"
    precision: str = "float32"
    deterministic: bool = False

    def __str__(self) -> str:
        """ "MXNet", or "PyTorch in tf32"."""
        return LIBRARIES[self.name] + f" in {self.precision}" * (self.name != "mxnet")

    @property
    def kind(self) -> "Engine":
        """Itself without what does not change what its numbers mean: whether it repeats their bits."""
        return self._replace(deterministic=False)


MXNET = Engine()


def of(result: Mapping[str, Any]) -> Engine:
    """The Engine that made a run, from its result; MXNet's do not name it. Raises ValueError for an unknown one."""
    made = result.get("engine")
    if not made:
        return MXNET
    engine = Engine(made.get("name"), made.get("precision"), bool(made.get("deterministic")))
    if engine.name not in ENGINES or engine.precision not in PRECISIONS:
        raise ValueError(f"a run is by the engine {made.get('name')!r} in {made.get('precision')!r}, which is unknown")
    return engine


def chosen(
    name: Optional[str] = None,
    precision: Optional[str] = None,
    deterministic: bool = False,
    ctx: Optional[str] = None,
    by_gpu: bool = True,
    tell: bool = True,
) -> Engine:
    """The engine that the flags ask for; None stands for a flag that was not typed.

    ctx: the devices, as --ctx names them; a name that only one engine takes decides, if `name` does not.
    by_gpu: whether, where nothing else decides, PyTorch trains on GPUs that MXNet has no code for; else MXNet does.
    tell: whether to log that it does.
    Raises ValueError for an unknown engine or precision, and for flags or devices that do not go together.
    """
    if name is not None and name not in ENGINES:
        raise ValueError(f"--engine {name} is unknown: choose from {', '.join(ENGINES)}")
    if precision is not None and precision not in PRECISIONS:
        raise ValueError(f"--precision {precision} is unknown: choose from {', '.join(PRECISIONS)}")
    typed = name
    if name is None and ctx is not None:
        name = "pytorch" if ctx.startswith(("cuda", "mps")) else None
    if name is None and by_gpu and ctx is None:
        newer = gpus.beyond_mxnet()
        name = "pytorch" if newer else None
        if newer and tell:
            why = f"MXNet has no code for {newer[0]['name']} (compute capability {newer[0]['compute_cap']})"
            log.info("%s: PyTorch trains on it; --engine mxnet --ctx cpu trains on the CPU (docs/engines.md)", why)
    engine = Engine(name or "mxnet", precision or "float32", deterministic)
    if engine.name == "mxnet":
        if engine.precision != "float32":
            raise ValueError(f"--precision {precision} is PyTorch's, and MXNet trains in float32: add --engine pytorch")
        if deterministic:
            raise ValueError("--deterministic is PyTorch's (MXNet repeats its bits on a CPU): add --engine pytorch")
    if ctx is not None and (typed or engine.name == "pytorch"):
        device_names.parse(ctx, LIBRARIES[engine.name])
    return engine
