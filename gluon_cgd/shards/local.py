"""Shards on this machine: a process for each device, one shard at a time in each."""

import collections
import logging
import multiprocessing
import threading
import time
from multiprocessing import connection

from gluon_cgd.machine import facts
from gluon_cgd.machine.sentences import sentence
from gluon_cgd.machine.workers import end_with, settings_of_a_worker
from gluon_cgd.shards.filling import fill

LONGEST = 4096  # characters of what went wrong: a pipe takes 64 kB before somebody reads
EVERY = 1  # seconds between two looks at how far the shards are


def run(plan, numbers, devices, skip_bad, look):
    """Fill the shards `numbers`, one at a time on each of `devices` ("cpu", "gpu0", ...; None: the default).

    look: is called at least once a second. Returns {number: sentence} of the shards that failed; the others go on.
    When this process ends, for whatever reason, the others end too; the next call goes on where they were.
    """
    context = multiprocessing.get_context("spawn")
    waiting, running, failed = collections.deque(numbers), {}, {}
    watched, alive = context.Pipe(duplex=False)  # a worker ends when `alive` is closed
    idle = list(devices)
    threads = max(1, facts.cores() // len(idle)) if len(idle) > 1 else None
    with alive:
        while waiting or running:
            while waiting and idle:
                number, device = waiting.popleft(), idle.pop(0)
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=work, args=(plan, number, device, skip_bad, sender, watched))
                with settings_of_a_worker(threads):
                    process.start()
                sender.close()
                running[process.sentinel] = process, receiver, number, device
            for sentinel in connection.wait(list(running), EVERY):
                process, receiver, number, device = running.pop(sentinel)
                process.join()
                problem = receiver.recv() if process.exitcode == 0 else f"its process {_end_of(process.exitcode)}"
                receiver.close()
                if problem:
                    failed[number] = problem
                idle.append(device)
            look()
    return failed


def work(plan, number, device, skip_bad, sender, watched):
    """Fill one shard in a process of its own; sends "" when it is done, a sentence when it failed."""
    threading.Thread(target=end_with, args=(watched,), daemon=True).start()
    # Warnings are shown; how far it is the first process says
    logging.basicConfig(format=f"[shard {number}] %(message)s", level=logging.WARNING)
    try:
        fill(plan, number, device, skip_bad)
        sender.send("")
    except (ValueError, OSError, ImportError, RuntimeError, MemoryError) as error:
        sender.send(sentence(error)[:LONGEST])


def _end_of(status):
    if status < 0:
        return f"was ended by signal {-status}, perhaps because memory ran out"
    return f"ended with status {status}"


class Progress:
    """How far all shards are, on one line: `look` moves the bar of the task `doing` and names what it is at."""

    def __init__(self, plan, doing):
        self.plan, self.doing, self.started = plan, doing, time.monotonic()
        self.finished, self.before = set(), doing.done

    def look(self):
        """Count what is embedded by now."""
        rest = [number for number in self.plan.filled if number not in self.finished]
        self.finished.update(number for number in rest if self.plan.summary_file(number).exists())
        pictures = sum(
            self.plan.parts[number - 1].pictures if number in self.finished else self.plan.done(number)
            for number in self.plan.filled
        )
        self.doing.at(max(pictures, self.doing.done))
        seconds = time.monotonic() - self.started
        shards = f"{len(self.finished):,} of {len(self.plan.filled):,} shards done"
        rate = (self.doing.done - self.before) / max(seconds, 1e-9)
        self.doing.title = f"indexing, {shards}, {rate:,.1f} pictures/s"
        self.doing.note(shards)
