"""Several runs at once on this machine: a process a device, which trains one run after the other.

What a worker is told and what it answers are lines of JSON. On a CPU the embedded benchmark gets a process a core, each
with one thread: that trains more pictures a second than one process with all cores, and its numbers do not depend on
how many cores there are (the order of a sum does).
"""

import contextlib
import json
import logging
import os
import queue
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from gluon_cgd.experiment import Experiment
from gluon_cgd.machine import devices, process
from reproduce import store

log = logging.getLogger("reproduce")
PROJECT = Path(__file__).resolve().parents[2]


def train(todo, devices, threads, runs, data, weights, progress=False, parts=1):
    """Train the runs `todo`, [(name, experiment, seed), ...], one at a time on each of `devices` ("cpu", "gpu0", ...).

    threads: of each process on a CPU.  progress: a bar on stderr.  parts: of each batch, as of `train.fit`.
    Returns [(name, seed, sentence), ...] of the runs that failed; the others go on. When this process ends, so do its
    workers, whose runs go on from their checkpoints the next time.
    """
    waiting, failed = queue.SimpleQueue(), []
    for number, one in enumerate(todo):
        waiting.put((number, *one))
    bar, workers = tqdm(total=len(todo), unit="run", disable=not progress), []

    def serve(device):
        worker = None
        try:
            while True:
                try:
                    number, name, experiment, seed = waiting.get_nowait()
                except queue.Empty:
                    return
                log.info("run %d of %d: %s, seed %d on %s", number + 1, len(todo), name, seed, device)
                asked = {"experiment": experiment.to_dict(), "seed": seed, "ctx": device, "runs": str(runs)}
                asked = {**asked, "data": str(data), "weights": weights and str(weights), "parts": parts}
                if worker is None:
                    worker = start(threads)
                    workers.append(worker)
                answer = ask(worker, asked, f"[{name}, seed {seed}] ")
                if answer is None:  # it died; the next run gets a new one
                    answer = f"its process ended with status {end(worker)}, for want of memory perhaps"
                    worker = None
                if answer:
                    log.info("[%s, seed %d] failed: %s", name, seed, answer)
                    failed.append((name, seed, answer))
                bar.update()
        finally:
            if worker:
                end(worker)

    with ThreadPoolExecutor(len(devices)) as pool:
        serving = [pool.submit(serve, device) for device in devices[: len(todo)]]
        try:
            for one in serving:
                one.result()
        except BaseException:  # Ctrl-C: no new run, and no old one without anybody who waits for it
            while not waiting.empty():
                waiting.get()
            for worker in workers:
                worker.terminate()
            raise
        finally:
            bar.close()
    return failed


def start(threads):
    """A worker process, which waits for what `ask` tells it."""
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "reproduce.training.local"]
    environment = {**os.environ, **limits, "PYTHONPATH": path}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, encoding="utf-8")


def end(worker):
    """Let a worker go that has nothing to do; returns its exit status."""
    with contextlib.suppress(BrokenPipeError):  # it is gone already
        worker.stdin.close()
    code = worker.wait()
    worker.stdout.close()
    return code


def ask(worker, asked, prefix):
    """Let `worker` train a run: "" when it is done, a sentence when it failed, None when the worker died."""
    try:
        worker.stdin.write(json.dumps(asked) + "\n")
        worker.stdin.flush()
    except BrokenPipeError:
        return None
    for line in worker.stdout:
        told = json.loads(line)
        if "answer" in told:
            return told["answer"]
        log.info("%s%s", prefix, told["log"])
    return None


class Told(logging.Handler):
    """Sends what is logged to the process that started this one."""

    def __init__(self, tell):
        super().__init__()
        self.tell = tell

    def emit(self, record):
        self.tell({"log": record.getMessage()})


def worker():
    """Train what stdin says, line by line, until it ends; returns the exit status."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer

    def tell(message):
        print(json.dumps(message), file=answers, flush=True)

    package = logging.getLogger("gluon_cgd")
    package.setLevel(logging.INFO)
    package.addHandler(Told(tell))
    asked, busy = queue.SimpleQueue(), threading.Event()

    def listen():
        for line in sys.stdin:
            asked.put(json.loads(line))
        if busy.is_set():
            os._exit(1)  # whoever wanted the run is gone
        asked.put(None)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        one = asked.get()
        if one is None:
            return 0
        busy.set()
        try:
            experiment, ctx = Experiment.from_dict(one["experiment"]), devices.context(one["ctx"])
            store.train(one["runs"], experiment, one["seed"], one["data"], ctx, one["weights"], False, one["parts"])
            answer = ""
        except (ValueError, OSError, ImportError, RuntimeError, MemoryError) as error:
            answer = process.sentence(error)
        busy.clear()
        tell({"answer": answer})


if __name__ == "__main__":
    try:
        sys.exit(worker())
    except KeyboardInterrupt:  # the one that started this one says so
        sys.exit(130)
