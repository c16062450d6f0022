"""A command that is watched while it runs: its seconds and its memory, and killed when it has come far enough."""

import os
import signal
import subprocess
import time
from pathlib import Path

REST = 0.5  # seconds between two looks


class Watched:
    """Runs commands and remembers over all of them: the seconds, and the most memory of main memory and GPU, in bytes.

    Memory is what the processes of a command have for themselves: files that they map are not counted.
    """

    def __init__(self):
        self.seconds, self.memory, self.gpu_memory = 0.0, 0, 0

    def run(self, line, checkpoint=None):
        """Run `line`; with `checkpoint`, kill it and all that it started when that returns a file. Whether it did.

        Raises ValueError if it could not run; that a table is not reproduced (status 1) is right in a rehearsal.
        """
        begun, before, killed = time.monotonic(), used_by_gpu(), False
        process = subprocess.Popen(line, start_new_session=True)
        try:
            while process.poll() is None:
                time.sleep(REST)
                self.memory = max(self.memory, memory_of(process.pid))
                self.gpu_memory = max(self.gpu_memory, used_by_gpu() - before)
                if checkpoint and checkpoint():
                    killed = True
                    break
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            self.seconds += time.monotonic() - begun
        if not killed and process.returncode not in (0, 1):
            raise ValueError(f"{' '.join(line)} ended with status {process.returncode}: see what it printed")
        return killed


def memory_of(session):
    """Bytes of memory of their own that the processes of a `session` have."""
    total = 0
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(place.name)) == session:
                status = (place / "status").read_text()
                total += 1024 * sum(int(row.split()[1]) for row in status.splitlines() if row.startswith("RssAnon"))
        except (OSError, ValueError):  # it has just ended
            continue
    return total


def used_by_gpu():
    """Bytes of memory that are used on all GPUs, 0 without nvidia-smi."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=False)
    except OSError:
        return 0
    return 2**20 * sum(int(value) for value in done.stdout.split() if value.isdigit())
