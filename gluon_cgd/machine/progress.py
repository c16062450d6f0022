"""How far a long task is: a bar on a terminal; elsewhere a line in the log, before a silence gets long.

One thread watches the log of the process. When nothing has been said for a while, it says what is being done, however
long a single step takes. Commands are watched from their first moment (`process.shown`), other programs during a task.
"""

import contextlib
import logging
import sys
import threading
import time
from typing import Any, Callable, Iterable, Iterator, List, Optional

FIRST, THEN = 3.5, 13.0  # seconds of silence, at the beginning and later: five and fifteen are promised
PACKAGES = ("gluon_cgd", "reproduce")  # whose log lines end a silence

log = logging.getLogger(__name__)
ending: List[Any] = []  # what a signal has raised (see `process.run`): a library may have swallowed it


def end_if_told() -> None:
    """Raise again what a signal has raised, if the main thread goes on all the same."""
    if ending and threading.current_thread() is threading.main_thread():
        raise ending[0]


class Task:
    """What is being done and how far it is; `update` and `at` tell. Made by `task`.

    total: how many things there are to do, None where that is not known.  unit: their name, "B" for bytes.
    """

    def __init__(self, title: str, total: Optional[int], unit: str, done: int, bar: bool, started: float):
        self.title, self.total, self.unit, self.done, self.started = title, total, unit, done, started
        self.first = done
        self.bar: Any = None
        if bar and sys.stderr is not None:
            from tqdm import tqdm

            # leave=None: a bar below another one goes when it is done
            shape = dict(total=total, unit=unit, initial=done, unit_scale=unit == "B", leave=None)
            self.bar = tqdm(desc=title, **shape)

    def update(self, count: int = 1) -> None:
        """`count` more things are done."""
        end_if_told()
        self.done += count
        if self.bar is not None:
            self.bar.update(count)

    def at(self, done: int) -> None:
        """`done` things are done in all."""
        self.update(done - self.done)

    def note(self, text: str) -> None:
        """Show `text` behind the bar, if there is one."""
        if self.bar is not None:
            self.bar.set_postfix_str(text)

    def line(self, now: float) -> str:
        """ "rendering letters: 1,200 of 6,000 pictures, 12 s so far, 48 s left at this rate" """
        seconds, words = now - self.started, []
        if self.total:
            words.append(f"{amount(self.done, self.unit)} of {amount(self.total, self.unit, named=True)}")
        elif self.done:
            words.append(amount(self.done, self.unit, named=True))
        words.append(f"{duration(seconds)} so far")
        if self.total and self.first < self.done < self.total:
            left = seconds * (self.total - self.done) / (self.done - self.first)
            words.append(f"{duration(left)} left at this rate")
        return f"{self.title}: {', '.join(words)}"


def amount(count: int, unit: str, named: bool = False) -> str:
    """ "1,200", with `named` "1,200 pictures"; of bytes always "1.2 MB"."""
    if unit == "B":
        return f"{count / 1e6:,.1f} MB"
    return f"{count:,} {unit}".strip() if named else f"{count:,}"


def duration(seconds: float) -> str:
    """ "48 s", from two minutes on "3 min", from two hours on "2.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class Watch:
    """Says what the innermost task is doing when nothing was said for `first` seconds, later for THEN seconds.

    clock: seconds, as time.monotonic.  say: what receives a line.
    """

    def __init__(
        self, first: float = FIRST, clock: Callable[[], float] = time.monotonic, say: Callable[[str], Any] = log.info
    ):
        self.clock, self.say = clock, say
        self.tasks: List[Task] = []
        self.heard, self.limit = clock(), first

    def hear(self) -> None:
        """Something was said just now."""
        self.heard, self.limit = self.clock(), THEN

    def look(self) -> float:
        """Speak if the silence is too long; returns in how many seconds to look again."""
        left = self.heard + self.limit - self.clock()
        if left > 0:
            return left
        self.hear()
        with contextlib.suppress(IndexError):  # the last task has just ended
            innermost = self.tasks[-1]
            if not innermost.title:  # it waits for people, as a server does
                return self.limit
            if innermost.bar is None:
                self.say(innermost.line(self.clock()))
            else:
                innermost.bar.refresh()
        return self.limit


class _Ear(logging.Handler):
    """Tells the Watch that a line was logged."""

    def __init__(self, watch):
        super().__init__(logging.INFO)
        self.watch = watch

    def emit(self, record):
        self.watch.hear()


class _Watching(threading.Thread):
    """A Watch, and the thread that looks again and again until `end`."""

    def __init__(self, first):
        super().__init__(name="progress", daemon=True)
        self.watch, self.stop = Watch(first), threading.Event()
        self.ear = _Ear(self.watch)
        # On a logger without any handler, ours would keep warnings from Python's handler of last resort
        self.loggers = [logger for logger in map(logging.getLogger, PACKAGES) if logger.hasHandlers()]
        for logger in self.loggers:
            logger.addHandler(self.ear)

    def run(self):
        while not self.stop.wait(self.watch.look()):
            pass

    def end(self):
        self.stop.set()
        for logger in self.loggers:
            logger.removeHandler(self.ear)


_watching: Optional[_Watching] = None  # of this process, while something is being done
_users = 0
_changing = threading.RLock()  # re-entrant: a forgotten task can be collected, and so end, at any moment


@contextlib.contextmanager
def watched(first: float = THEN) -> Iterator[Watch]:
    """The Watch of this process; its thread ends with the last `with watched()`. first: see Watch."""
    global _watching, _users
    with _changing:
        if _watching is None:
            _watching = _Watching(first)
            _watching.start()
        _users += 1
        watch = _watching.watch
    try:
        yield watch
    finally:
        with _changing:
            _users -= 1
            if not _users and _watching:
                _watching.end()
                _watching = None


@contextlib.contextmanager
def task(
    title: str, total: Optional[int] = None, unit: str = "", bar: Optional[bool] = None, done: int = 0
) -> Iterator[Task]:
    """`with task("indexing", len(paths), "img") as doing:` then doing.update() as it goes on.

    bar: show a bar on stderr (default: if it is a terminal, and our log is shown), else lines in the log.
    done: how many of the `total` things were done before.  title: "" for a task that says nothing while it waits.
    """
    end_if_told()
    with watched() as watch:
        doing = Task(title, total, unit, done, on_terminal() if bar is None else bar, watch.clock())
        watch.tasks.append(doing)
        try:
            yield doing
        finally:
            watch.tasks.remove(doing)
            if doing.bar is not None:
                doing.bar.close()


def each(
    items: Iterable, title: str, total: Optional[int] = None, unit: str = "", bar: Optional[bool] = None
) -> Iterator[Any]:
    """Yield `items`; each counts as done when the next one is asked for. Arguments as of `task`."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    with task(title, total, unit, bar) as doing:
        for item in items:
            yield item
            doing.update()


def by_batches(pictures: int, size: int) -> Iterator[int]:
    """Yield where each batch of `size` pictures starts. A single batch is a step of somebody's task, not one itself.

    Raises ValueError for a size that is no number of pictures.
    """
    if size < 1:
        raise ValueError(f"batch_size {size} must be at least 1")
    if pictures <= size:
        yield from range(0, pictures, size)
        return
    with task("embedding", pictures, "img") as doing:
        for start in range(0, pictures, size):
            yield start
            doing.at(min(start + size, pictures))


def on_terminal() -> bool:
    """Whether a bar can be shown: stderr is a terminal, and a command shows our log there."""
    return bool(sys.stderr and sys.stderr.isatty()) and logging.getLogger("gluon_cgd").isEnabledFor(logging.INFO)
