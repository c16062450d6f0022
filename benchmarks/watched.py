"""A command that is watched while it runs: its seconds and its memory, and killed when it has come far enough."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

REST = 0.5  # seconds between two looks


class Watched:
    """Runs commands and remembers over all of them: the seconds, and the most memory of main memory and GPU, in bytes.

    Memory is what the processes of a command have for themselves: files that they map are not counted.
    known: what `to_dict` returned of the commands before these.
    """

    def __init__(self, known=None):
        self.seconds, self.memory, self.gpu_memory = 0.0, 0, 0
        self.__dict__.update(known or {})

    def to_dict(self):
        """{"seconds", "memory", "gpu_memory"}."""
        return dict(self.__dict__)

    def run(self, line, is_far_enough=None):
        """Run `line`; with `is_far_enough`, kill it and all that it started when that returns true. Whether it did.

        Raises ValueError if it could not run; that a table is not reproduced (status 1) is right in a rehearsal.
        """
        begun, before, killed = time.monotonic(), used_by_gpu(), False
        process = subprocess.Popen(line, start_new_session=True)
        try:
            while process.poll() is None:
                time.sleep(REST)
                self.memory = max(self.memory, memory_of(started_by(process.pid)))
                self.gpu_memory = max(self.gpu_memory, used_by_gpu() - before)
                if is_far_enough and is_far_enough():
                    killed = True
                    break
        finally:
            if process.poll() is None:
                for pid in started_by(process.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.wait()
            self.seconds += time.monotonic() - begun
        if not killed and process.returncode not in (0, 1):
            raise ValueError(f"{' '.join(line)} ended with status {process.returncode}: see what it printed")
        return killed


def started_by(session):
    """The ids of the processes of a `session` and of all that these started, in sessions of their own too."""
    parents, found = {}, set()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(place.name)] = int((place / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
            if os.getsid(int(place.name)) == session:
                found.add(int(place.name))
        except (OSError, ValueError):  # it has just ended
            continue
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def memory_of(processes):
    """Bytes of memory of their own that the `processes`, their ids, have."""
    total = 0
    for pid in processes:
        with contextlib.suppress(OSError, ValueError):  # it has just ended
            status = Path(f"/proc/{pid}/status").read_text(errors="replace")
            total += 1024 * sum(int(row.split()[1]) for row in status.splitlines() if row.startswith("RssAnon"))
    return total


def used_by_gpu():
    """Bytes of memory that are used on all GPUs, 0 without nvidia-smi."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=False)
    except OSError:
        return 0
    return 2**20 * sum(int(value) for value in done.stdout.split() if value.isdigit())
