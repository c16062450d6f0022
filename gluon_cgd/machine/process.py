"""A command as a process: its exit status, its end by a signal, its log, and the environment that it runs in."""

import contextlib
import os
import signal
import sys
from typing import Any, Callable, Iterator, List

from gluon_cgd.files.printable import printable
from gluon_cgd.machine import progress, streams
from gluon_cgd.machine.prepare import WrongEnvironment, broken, installed
from gluon_cgd.machine.progress import PACKAGES
from gluon_cgd.machine.sentences import sentence

# module -> package: all that an exported model needs
LIGHT = dict(numpy="numpy", cv2="opencv-python-headless", PIL="pillow", tqdm="tqdm", portalocker="portalocker")
NEEDED = (*LIGHT, "mxnet", "gluoncv", "gluoncv2", "safetensors", "scipy", "matplotlib", "jinja2")  # of requirements.txt
GOES_ON = "the same command goes on from the last checkpoint"
INTERRUPTED = f"interrupted: {GOES_ON}"
SIGNALS = {  # what ends a command with a line, and why. Exit status: 128 and the number, as shells have it
    signal.SIGINT: INTERRUPTED,
    signal.SIGTERM: f"ended by a signal (kill, or the end of a job's time): {GOES_ON}",
    signal.SIGHUP: f"the terminal was closed: {GOES_ON}",
}
interrupts: List[int] = []  # signals since `run` began: NumPy's import turns the first into an ImportError
ENTERED = "GLUON_CGD_ENTERED"  # environment variable of a command that was started again in another environment


class Ended(KeyboardInterrupt):
    """A signal of SIGNALS. Not KeyboardInterrupt itself: after one inside exec(), Python ends as if by Ctrl-C."""


def refused(message: object) -> int:
    """Print why a command ends, and return its exit status: after Ctrl-C that is the reason, whatever came of it."""
    if interrupts:
        return interrupted()
    streams.say(printable(message, lines=True))
    return 2


def interrupted() -> int:
    """Print that a signal ended the command, and return its exit status."""
    number = interrupts[0] if interrupts else signal.SIGINT
    if interrupts:
        for other in SIGNALS:  # `run` sets them back
            signal.signal(other, signal.SIG_IGN)
    streams.say(SIGNALS[signal.Signals(number)])
    return 128 + number


def exit_status(command: Callable[[], Any]) -> Any:
    """The exit status of `command()`: 2, with a sentence on stderr, for an error that the user can mend.

    Raises WrongEnvironment if a package is missing that the project's own environment has.
    """
    try:
        return streams.with_output(command)
    except BrokenPipeError as error:
        if not streams.is_closed():  # it was another pipe, of a server or a program
            return refused(sentence(error))
        streams.drop_unwritten()
        return 0
    except WrongEnvironment:
        raise
    except ModuleNotFoundError as error:
        name = (error.name or "").split(".")[0]
        if name not in NEEDED:
            return refused(sentence(error))
        from gluon_cgd.machine.facts import setup

        light = f", or for an exported model: python -m pip install {' '.join(LIGHT.values())}" * (name in LIGHT)
        raise WrongEnvironment(f"{sys.executable} has no {name}: {setup()} first{light}") from error
    except ImportError as error:
        return refused(broken(error))
    except (ValueError, OSError, RuntimeError, MemoryError) as error:  # MXNet's own is a RuntimeError
        return refused(sentence(error))
    except Warning as error:
        name = type(error).__name__
        return refused(f"{name}: {error}: warnings of libraries end the command (-W error, PYTHONWARNINGS): unset that")
    except KeyboardInterrupt:
        return interrupted()


def run(main: Callable[[], Any], command: List[str]) -> Any:
    """The exit status of `main()`, a program that was started as `python COMMAND ARGUMENTS`.

    If this environment lacks a package, the program starts again in the project's own environment. A signal of SIGNALS
    gives one line at any time, even if the import of a library turns it into another exception. `nohup` holds.
    """
    streams.open_all()
    interrupts.clear()

    def interrupt(number, frame):
        interrupts.append(number)
        progress.ending[:] = [Ended]  # a library's C code can swallow the one that is raised here
        raise Ended

    hooks = sys.excepthook, sys.unraisablehook
    # What C code swallows it prints first
    sys.excepthook = lambda kind, *rest: None if issubclass(kind, Ended) else hooks[0](kind, *rest)
    sys.unraisablehook = lambda found: None if issubclass(found.exc_type, Ended) else hooks[1](found)
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    before = {number: signal.signal(number, interrupt) for number in SIGNALS if number != signal.SIGHUP or not ignored}
    try:
        return _run(main, command)
    except KeyboardInterrupt:  # a second one, which came while the first was handled
        return interrupted()
    finally:
        sys.excepthook, sys.unraisablehook = hooks
        progress.ending.clear()
        interrupts.clear()
        streams.drop_unwritten()
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(main, command):
    try:
        return exit_status(main)
    except WrongEnvironment as error:
        if not interrupts:
            return go_on_in_project(error, command)
    except Exception:
        if not interrupts:
            raise
    return interrupted()


def run_module(name: str, file: str) -> Any:
    """As `run`, for the script `file`, which is the module `name` of this project. The module is imported here."""
    import importlib

    def main():
        with shown(name.replace(".command", ""), *PACKAGES):  # before the imports, which can take long
            return importlib.import_module(name).main()

    return last(run(main, [os.path.abspath(file)]))


def last(status: Any) -> Any:
    """`status`, the exit status of a process that does nothing more: from now on Ctrl-C ends it without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return status


def go_on_in_project(error: Exception, command: List[str]) -> int:
    """Replace this process by `python COMMAND ARGUMENTS` in the project's own environment, made now if necessary.

    error: what is wrong with this environment. If there is no other, prints it and returns 2.
    """
    import shutil

    from gluon_cgd.machine.facts import SETUP

    if not SETUP.is_file() or not shutil.which("bash") or os.environ.get(ENTERED):
        return refused(error)
    os.environ[ENTERED] = "1"
    streams.say(f"gluon_cgd: {str(error).split(':')[0]}; going on in the project's own environment")
    script = 'where=$1; shift; . "$where" && exec python "$@"'
    os.execvp("bash", ["bash", "-c", script, "bash", str(SETUP), *command, *sys.argv[1:]])


@contextlib.contextmanager
def shown(doing: str, *packages: str) -> Iterator[None]:
    """Show on stderr what the `packages` log, above the progress bars if there are any; no silence gets long.

    doing: the command, for the lines that end a silence.
    """
    import logging

    class Printable(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return printable(super().format(record), lines=True)

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Printable("%(message)s"))
    logging.basicConfig(handlers=[handler])
    for name in packages:
        logging.getLogger(name).setLevel(logging.INFO)
    with contextlib.ExitStack() as stack:
        if installed("tqdm"):  # the doctor works without it
            from tqdm.contrib.logging import logging_redirect_tqdm

            stack.enter_context(logging_redirect_tqdm())
        stack.enter_context(progress.watched(progress.FIRST))
        stack.enter_context(progress.task(doing, bar=False))
        yield
