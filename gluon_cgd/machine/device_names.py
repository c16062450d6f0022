"""The names of devices, as --ctx takes them, and which library goes with which. Standard library only.

MXNet calls a GPU gpu0. ONNX Runtime and PyTorch call it cuda0 here, so that a name says what will compute; mps, the GPU
of a Mac, is PyTorch's alone.
"""

import re
from typing import List, NamedTuple


class Device(NamedTuple):
    """A device. kind: "cpu", "gpu" (MXNet's), "cuda" or "mps".  number: 0 for the first of its kind."""

    kind: str
    number: int

    @property
    def name(self) -> str:
        """As it is typed: "cpu", "cuda0", "mps"."""
        return self.kind if self in (("cpu", 0), ("mps", 0)) else f"{self.kind}{self.number}"

    def __str__(self) -> str:
        """As MXNet writes it: "cpu(0)"."""
        return f"{self.kind}({self.number})"


FORM = re.compile("cpu[0-9]{0,2}|(gpu|cuda)[0-9]{1,3}|mps")
KINDS = {  # library -> the kinds of devices that it takes
    "MXNet": ("cpu", "gpu"),
    "ONNX Runtime": ("cpu", "cuda"),
    "OpenVINO": ("cpu",),
    "PyTorch": ("cpu", "cuda", "mps"),
}
SEVERAL = ("MXNet", "PyTorch")  # share a batch between several devices
SHOWN = {"cpu": "cpu", "gpu": "gpu0, gpu1, ...", "cuda": "cuda0, cuda1, ...", "mps": "mps"}
GOES_WITH = {
    "gpu": "gpu0, gpu1, ... are for MXNet, which trains and computes a --checkpoint",
    "cuda": (
        "cuda0, cuda1, ... are for an exported --model (python -m gluon_cgd export writes one), computed by ONNX "
        "Runtime, and for training with --engine pytorch"
    ),
    "mps": "mps is for training with --engine pytorch",
}


def parse(text: str, library: str) -> List[Device]:
    """The devices in `text`, a list with commas, for `library`, one of KINDS.

    Raises ValueError for a name that is none, for one that another library takes, for one named twice, for several
    where `library` takes one, and for different kinds together.
    """
    parts = text.split(",")
    if len(parts) > 1 and not all(parts):
        pair = ",".join(f"{KINDS[library][1]}{number}" for number in (0, 1)) if library in SEVERAL else "cpu"
        raise ValueError(f"--ctx {text!r} has an empty part: put one comma between two devices, as in {pair}")
    found = [_device(part, library) for part in parts]
    if len(found) > 1 and library not in SEVERAL:
        raise ValueError(f"--ctx {text} names {len(found)} devices where {library} computes on one: take {parts[0]}")
    shown = ", ".join(map(str, found))
    if len(set(found)) < len(found):
        raise ValueError(f"the devices {shown} have one twice: name each once")
    if len({device.kind for device in found}) > 1:
        raise ValueError(f"the devices {shown} are of two kinds: take only GPUs or only CPUs")
    return found


def _device(name, library):
    kinds = KINDS[library]
    if not FORM.fullmatch(name):
        several = f", or several: {kinds[1]}0,{kinds[1]}1" if library in SEVERAL else ""
        takes = ", ".join(SHOWN[kind] for kind in kinds)
        raise ValueError(f"device {name!r} is unknown: --ctx takes {takes}{several}")
    kind, number = re.fullmatch("([a-z]+)([0-9]*)", name).groups()  # type: ignore[union-attr]
    if kind not in kinds:
        takes = ", ".join(SHOWN[kind] for kind in kinds)
        raise ValueError(f"--ctx {name} is no device of {library}, which takes {takes}; {GOES_WITH[kind]}")
    if kind == "cpu" and int(number or 0) and library != "MXNet":
        raise ValueError(f"--ctx {name}: to {library} all cores are one CPU; take cpu")
    return Device(kind, int(number or 0))
