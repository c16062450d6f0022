"""The GPUs of this machine, as nvidia-smi lists them, and which of them MXNet has code for; MXNet is not needed."""

import re
import subprocess
from typing import Dict, List, Optional

FIELDS = ["index", "name", "memory.free", "driver_version", "compute_cap"]


def listed() -> Optional[List[Dict[str, str]]]:
    """[{"index", "name", "compute_cap", "memory.free", "driver_version"}, ...] of the GPUs, as nvidia-smi prints them.

    Memory is in MiB; "compute_cap" is "" if the driver is too old to tell it. None without a driver.
    """
    for query in (FIELDS, FIELDS[:-1]):
        command = ["nvidia-smi", f"--query-gpu={','.join(query)}", "--format=csv,noheader,nounits"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if not done.returncode:
            rows = [[value.strip() for value in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
            return [dict(zip(FIELDS, [*row, ""])) for row in rows]
    return None


def numbers(version: str) -> List[int]:
    """[8, 9] of "8.9"."""
    return [int(part) for part in re.findall("[0-9]+", version)]


def mxnet_runs(gpu: Dict[str, str]) -> bool:
    """Whether MXNet's CUDA build has code for `gpu`, one of `listed`: for 5.0, 6.0, 7.0, 8.0 and 8.6, and no PTX."""
    return [5] <= numbers(gpu["compute_cap"]) < [9]


def is_newer(gpu: Dict[str, str]) -> bool:
    """Whether `gpu`, one of `listed`, is newer than all that MXNet has code for."""
    return numbers(gpu["compute_cap"]) >= [9]


def beyond_mxnet() -> List[Dict[str, str]]:
    """The GPUs of this machine if all of them are newer than MXNet's code, so that only PyTorch uses them; else []."""
    there = listed() or []
    return there if all(map(is_newer, there)) else []
