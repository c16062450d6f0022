"""Two processes that take turns: each is set up once, then works when it gets a line, while the other waits.

Needs only Python's standard library: the peers' environment has no MXNet.
"""

import contextlib
import json
import os
import subprocess
import sys
import time


def serve(tasks):
    """Set up the task that the command line names; do it for each line of input and print the seconds it took.

    tasks: {name: setup}, where setup() returns (a function that does the work once, the number of units it does).
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # so that what a library prints is not taken for an answer
    call, units = tasks[sys.argv[1]]()
    if os.environ.get("BENCHMARK_WARM"):
        call()  # compiles, and reads the files into the system's cache
    print(json.dumps({"units": units}), file=answers, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        answer = call()
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "answer": answer, "memory": peak()}), file=answers, flush=True)


def peak():
    """The peak memory of this process, in bytes."""
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
            raise RuntimeError(f"{self.name} ended with status {self.process.returncode}: see its output above")
        return json.loads(line)

    def turn(self):
        """Do the work once; returns {"seconds", "answer", "memory"}."""
        with contextlib.suppress(BrokenPipeError):  # the process has died, which _answer reports
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        return self._answer()

    def end(self):
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
