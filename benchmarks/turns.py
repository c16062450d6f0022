"""Two processes that take turns: each is set up once, and does its work when it is asked to, while the other waits.

Needs nothing but Python: the peers' environment has no MXNet.
"""

import contextlib
import json
import os
import subprocess
import sys
import time


def serve(tasks):
    """Set up the task that the command line names, and do it whenever a line comes in; tells how many seconds it took.

    tasks: {name: a function of nothing that sets up and returns (function of nothing that does the work, units of it)}.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    call, units = tasks[sys.argv[1]]()
    if os.environ.get("BENCHMARK_WARM"):
        call()  # compiled, and what it reads is in memory
    print(json.dumps({"units": units}), file=answers, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        told = call()
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "told": told, "memory": peak()}), file=answers, flush=True)


def peak():
    """Bytes: the most that this process ever had."""
    with open("/proc/self/status", encoding="utf-8") as status:
        return 1024 * int(next(line.split()[1] for line in status if line.startswith("VmHWM")))


class Process:
    """A process that serves one task of a script."""

    def __init__(self, python, script, task, environment):
        command = [str(python), str(script), task]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=environment
        )
        self.name = f"{os.path.basename(script)} {task}"
        self.units = self._answer()["units"]

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.end()
            raise RuntimeError(f"{self.name} ended with status {self.process.returncode}: see above")
        return json.loads(line)

    def turn(self):
        """Do the work once: {"seconds", "told", "memory"}."""
        with contextlib.suppress(BrokenPipeError):  # it has died, as the answer then says
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        return self._answer()

    def end(self):
        """Let it go."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
