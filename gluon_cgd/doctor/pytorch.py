"""The doctor's lines on the PyTorch engine: its environment, and what it can compute on."""

from gluon_cgd.doctor.findings import info, note, ok
from gluon_cgd.machine import gpus

TRAIN = "--engine pytorch --ctx cuda0 (of train and of the tables)"
CONTAINER = "NVIDIA's container mxnet:24.06-py3, which has MXNet 1.9.1 with code for Hopper, untested here"


def way(gpu):
    """What trains on `gpu`, one of `gpus.listed`, which is newer than MXNet's code: a part of a sentence."""
    number = int(gpu["index"]) if gpu["index"].isdigit() else 0
    other = f"; or {CONTAINER}" if gpus.numbers(gpu["compute_cap"])[:1] == [9] else ""
    return f"PyTorch trains on it, {TRAIN.replace('cuda0', f'cuda{number}')}{other}"


def environment():
    """The line of the PyTorch engine's environment; it is made only when something trains with it."""
    from gluon_cgd.engines import environment as own  # needs portalocker

    newer = gpus.beyond_mxnet()
    try:
        python = own.found()
        if python is None:
            says = f"{own.VENV} is not made yet: --engine pytorch makes it at its first run; {own.NEEDS}"
            return [info("PyTorch", says)]
        told = own.devices(python)
    except ValueError as error:
        says, _, remedy = str(error).rpartition(": ")
        return [note("PyTorch", says, remedy)]
    versions = dict(told["versions"])
    versions["CUDA"] = told["cuda_version"] or "none"
    devices = [f"cuda{number} {name}" for number, name in enumerate(told["cuda"])] + ["mps"] * told["mps"]
    says = f"{', '.join(f'{name} {version}' for name, version in versions.items())} in {python}"
    says += f"; it trains on {', '.join(['cpu', *devices])}"
    pinned = own.pinned("torch")
    if versions["torch"].partition("+")[0] != pinned:
        return [note("PyTorch", says, f"the project is tested with torch {pinned}: unset {own.NAMED}, or install that")]
    if newer and not told["cuda"]:
        why, remedy = own.why_idle(told)
        return [note("PyTorch", f"{says}; it {why}, and {newer[0]['name']} stays idle", remedy)]
    return [ok("PyTorch", says)]
