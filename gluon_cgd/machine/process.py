"""A command as a process: its exit status, Ctrl-C, its log on the terminal, and the environment that it runs in."""

import contextlib
import os
import signal
import sys
from typing import Any, Callable, Iterator, List

from gluon_cgd.files.printable import printable
from gluon_cgd.machine.prepare import WrongEnvironment, installed
from gluon_cgd.machine.sentences import sentence

# module -> package: all that an exported model needs
LIGHT = dict(numpy="numpy", cv2="opencv-python-headless", PIL="pillow", tqdm="tqdm", portalocker="portalocker")
NEEDED = (*LIGHT, "mxnet", "gluoncv", "gluoncv2", "safetensors", "scipy", "matplotlib", "jinja2")  # of requirements.txt
INTERRUPTED = "interrupted: the same command goes on from the last checkpoint"
interrupts: List[int] = []  # signals of Ctrl-C since `run` began: NumPy's import turns the first into an ImportError
ENTERED = "GLUON_CGD_ENTERED"  # environment variable of a command that was started again in another environment


def refused(message: object) -> int:
    """Print why a command ends, and return its exit status: after Ctrl-C that is the reason, whatever came of it."""
    print(INTERRUPTED if interrupts else printable(message, lines=True), file=sys.stderr)
    return 130 if interrupts else 2


def exit_status(command: Callable[[], Any]) -> Any:
    """The exit status of `command()`: 2, with a sentence on stderr, for an error that the user can mend.

    Raises WrongEnvironment if a package is missing that the project's own environment has.
    """
    try:
        return command()
    except BrokenPipeError:  # the reader of the output has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
    except (ValueError, OSError, ImportError, RuntimeError, MemoryError) as error:  # MXNet's own is a RuntimeError
        return refused(sentence(error))
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130


def run(main: Callable[[], Any], command: List[str]) -> Any:
    """The exit status of `main()`, a program that was started as `python COMMAND ARGUMENTS`.

    If this environment lacks a package, the program starts again in the project's own environment. Ctrl-C gives one
    line and status 130 at any time, even if the import of a library turns it into another exception.
    """
    interrupts.clear()

    def interrupt(number, frame):
        interrupts.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        return exit_status(main)
    except WrongEnvironment as error:
        if not interrupts:
            return go_on_in_project(error, command)
    except Exception:
        if not interrupts:
            raise
    finally:
        signal.signal(signal.SIGINT, before)
    return refused(INTERRUPTED)


def run_module(name: str, file: str) -> Any:
    """As `run`, for the script `file`, which is the module `name` of this project. The module is imported here."""
    import importlib

    return run(lambda: importlib.import_module(name).main(), [os.path.abspath(file)])


def go_on_in_project(error: Exception, command: List[str]) -> int:
    """Replace this process by `python COMMAND ARGUMENTS` in the project's own environment, made now if necessary.

    error: what is wrong with this environment. If there is no other, prints it and returns 2.
    """
    import shutil

    from gluon_cgd.machine.facts import SETUP

    if not SETUP.is_file() or not shutil.which("bash") or os.environ.get(ENTERED):
        return refused(error)
    os.environ[ENTERED] = "1"
    print(f"gluon_cgd: {str(error).split(':')[0]}; going on in the project's own environment", file=sys.stderr)
    script = 'where=$1; shift; . "$where" && exec python "$@"'
    sys.stderr.flush()
    os.execvp("bash", ["bash", "-c", script, "bash", str(SETUP), *command, *sys.argv[1:]])


@contextlib.contextmanager
def shown(name: str) -> Iterator[None]:
    """Show on stderr what the package `name` logs, above the progress bars if there are any."""
    import logging

    class Printable(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return printable(super().format(record), lines=True)

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Printable("%(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger(name).setLevel(logging.INFO)
    if not installed("tqdm"):  # the doctor works without it
        yield
        return
    from tqdm.contrib.logging import logging_redirect_tqdm

    with logging_redirect_tqdm():
        yield
