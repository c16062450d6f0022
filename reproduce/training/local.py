"""Several runs at once on this machine: a process for each device, which trains one run after the other.

On a CPU the embedded benchmark gets a process for each core, each with one thread: that trains more pictures a second
than one process with all cores, and the numbers do not depend on how many cores there are (the order of a sum does).
"""

import collections
import logging
import multiprocessing
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from logging.handlers import QueueHandler, QueueListener

from tqdm import tqdm

from gluon_cgd.engines.choice import MXNET
from gluon_cgd.machine.progress import task
from gluon_cgd.machine.sentences import sentence
from gluon_cgd.machine.workers import end_with, settings_of_a_worker
from reproduce import store

log = logging.getLogger("reproduce")


def train(todo, devices, threads, runs, data, weights, progress=False, parts=1, engine=MXNET):
    """Train the runs `todo`, [(name, experiment, seed), ...], one at a time on each of `devices` ("cpu", "gpu0", ...).

    threads: of each process on a CPU.  progress: a bar on stderr.  parts: of each batch, as in `train.fit`.
    engine: what trains; PyTorch's devices are "cpu", "cuda0", ..., "mps".
    Returns [(name, seed, sentence), ...] of the runs that failed; the others go on. When this process ends, for
    whatever reason, its workers end too; the next call continues their runs from the checkpoints.
    """
    waiting, running, failed = collections.deque(enumerate(todo, 1)), {}, []
    watched, alive = multiprocessing.Pipe(duplex=False)  # a worker ends when `alive` is closed
    idle = [Worker(device, threads, watched) for device in devices[: len(todo)]]
    with alive, task("training", len(todo), "runs", progress) as bar:
        while waiting or running:
            while waiting and idle:
                worker, (number, (name, experiment, seed)) = idle.pop(0), waiting.popleft()
                log.info("run %d of %d: %s, seed %d on %s", number, len(todo), name, seed, worker.device)
                place = (runs, experiment, seed, data, worker.device, weights, parts, engine)
                running[worker.start(f"[{name}, seed {seed}] ", place)] = worker, name, seed
            done = set()
            while not done:  # a signal that a library has swallowed ends this process within a second
                done = wait(running, 1, FIRST_COMPLETED).done
                bar.update(0)
            for future in done:
                worker, name, seed = running.pop(future)
                problem = worker.problem(future)
                if problem:
                    log.info("[%s, seed %d] failed: %s", name, seed, problem)
                    failed.append((name, seed, problem))
                bar.update()
                if waiting:
                    idle.append(Worker(worker.device, threads, watched) if worker.pool is None else worker)
                else:
                    worker.end()
    return failed


class Worker:
    """A process that trains one run after the other on `device`; it has a pool of its own, for a pool breaks whole."""

    def __init__(self, device, threads, watched):
        context = multiprocessing.get_context("spawn")
        self.device, self.threads, self.process = device, threads, None
        records = context.Queue()
        self.listener = QueueListener(records, log)
        self.listener.start()
        self.pool = ProcessPoolExecutor(1, context, begin, (records, watched))

    def start(self, prefix, place):
        """The Future of a run: "", or a sentence on what went wrong. Its log lines begin with `prefix`."""
        before = set(multiprocessing.active_children())
        try:
            with settings_of_a_worker(self.threads):
                future = self.pool.submit(train_run, prefix, place)
        except BrokenProcessPool as error:  # it died after its last run
            future = Future()
            future.set_exception(error)
        self.process = next(iter(set(multiprocessing.active_children()) - before), self.process)
        return future

    def problem(self, future):
        """What went wrong with a run, a sentence, or "". A worker that died is of no more use: `pool` is then None."""
        error = future.exception()
        if not isinstance(error, BrokenProcessPool):
            return f"{type(error).__name__}: {error}" if error else future.result()  # a bug of ours
        self.pool.shutdown()
        self.pool = None
        return f"its process ended with status {self.process.exitcode}, perhaps because memory ran out"

    def end(self):
        """Let the process go when it has nothing to do, and show the rest of its log."""
        if self.pool:
            self.pool.shutdown()
            self.listener.stop()  # of a process that died it could wait for ever: it may have died holding the lock


def begin(records, watched):
    """Make this process a worker: it sends its log lines to `records`, and ends when the pipe `watched` is closed."""
    library = logging.getLogger("gluon_cgd")
    library.setLevel(logging.INFO)
    library.addHandler(QueueHandler(records))
    tqdm.set_lock(threading.RLock())  # its own lock would be shared with other processes, and left behind by `end_with`
    threading.Thread(target=end_with, args=(watched,), daemon=True).start()


def train_run(prefix, place):
    """Train one run in a worker. Returns "" when it is done, a sentence when it failed."""
    from gluon_cgd.machine import devices  # imports MXNet

    runs, experiment, seed, data, device, weights, parts, engine = place
    sender = next(one for one in logging.getLogger("gluon_cgd").handlers if isinstance(one, QueueHandler))
    sender.setFormatter(logging.Formatter(prefix.replace("%", "%%") + "%(message)s"))
    try:
        ctx = devices.context(device) if engine == MXNET else device
        store.train(runs, experiment, seed, data, ctx, weights, False, parts, engine)
    except (ValueError, OSError, ImportError, RuntimeError, MemoryError) as error:
        return sentence(error)
    return ""
