"""How much of the processor other programs use while something is measured."""

import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple, Optional

QUIET = 0.2  # cores; an idle system uses about a tenth of that


class Reading(NamedTuple):
    """Seconds: of the clock, of all cores at work, and of this process and its children that have ended."""

    clock: float
    everyone: float
    ours: float


def now() -> Optional[Reading]:
    """The Reading of this moment; None where the system does not tell (it is not Linux)."""
    times = os.times()
    with contextlib.suppress(OSError, ValueError, IndexError):
        # user, nice, system, idle, iowait, irq, softirq, steal: in all cores, since the system has started
        ticks = [int(count) for count in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        busy = sum(ticks) - ticks[3] - ticks[4]
        return Reading(time.monotonic(), busy / os.sysconf("SC_CLK_TCK"), sum(times[:4]))
    return None


def others(before: Optional[Reading], after: Optional[Reading]) -> Optional[float]:
    """How many cores other programs kept busy between two readings, on average; None where that is not known."""
    if before is None or after is None or after.clock <= before.clock:
        return None
    used = (after.everyone - before.everyone) - (after.ours - before.ours)
    return max(0.0, used / (after.clock - before.clock))


def warning(cores: Optional[float]) -> str:
    """A sentence if other programs used `cores` while something was measured, "" if they were quiet."""
    if cores is None or cores <= QUIET:
        return ""
    return (
        f"other programs used {cores:.1f} of {os.cpu_count()} cores meanwhile, so the times are too long: "
        "measure again when the machine is idle"
    )
