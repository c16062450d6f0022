"""A command as a process: its exit status, its log on the terminal, and the environment that it runs in."""

import contextlib
import importlib
import logging
import os
import shutil
import signal
import sys

from gluon_cgd.machine.facts import SETUP, setup
from gluon_cgd.machine.prepare import WrongEnvironment, installed

# module -> package: all that an exported model needs
LIGHT = dict(numpy="numpy", cv2="opencv-python-headless", PIL="pillow", tqdm="tqdm", portalocker="portalocker")
NEEDED = (*LIGHT, "mxnet", "gluoncv", "gluoncv2", "safetensors", "scipy", "matplotlib", "jinja2")  # of requirements.txt
INTERRUPTED = "interrupted: the same command goes on from the last checkpoint"
ENTERED = "GLUON_CGD_ENTERED"  # set where a command goes on in another environment


def sentence(error):
    """What to tell a person of an exception: its message; of MXNet's, which quote their C++ source, the last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines and lines[0].startswith("Traceback") else str(error) or type(error).__name__


def exit_status(command):
    """Call `command` and return its exit status: 2, with a sentence on stderr, for what a person can mend.

    Raises WrongEnvironment for a package that is not installed here and is in the project's own environment.
    """
    try:
        return command()
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except WrongEnvironment:
        raise
    except ModuleNotFoundError as error:
        name = (error.name or "").split(".")[0]
        if name not in NEEDED:
            print(sentence(error), file=sys.stderr)
            return 2
        light = f", or for an exported model: python -m pip install {' '.join(LIGHT.values())}" * (name in LIGHT)
        raise WrongEnvironment(f"{sys.executable} has no {name}: {setup()} first{light}") from error
    except (ValueError, OSError, ImportError, RuntimeError, MemoryError) as error:  # MXNet's own is a RuntimeError
        print(sentence(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130


def run(main, command):
    """The exit status of `main()`, a program of the project that was typed as `python COMMAND ARGUMENTS`.

    Where this environment lacks what it needs, the program starts again in the project's own. Ctrl-C is one line and
    status 130 at any time, also where a library's import turns it into another exception.
    """
    interrupts = []

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
    print(INTERRUPTED, file=sys.stderr)
    return 130


def main_of(parser, run):
    """The function main(arguments=None) of a script, which calls `run` with the options and returns the exit status."""

    def main(arguments=None):
        options = parser().parse_args(arguments)
        return exit_status(lambda: run(options)) or 0

    return main


def run_module(name, file):
    """As `run`, of the program `file`, which is the module `name` of this project; it is imported here."""
    return run(lambda: importlib.import_module(name).main(), [os.path.abspath(file)])


def go_on_in_project(error, command):
    """Start `python COMMAND` and the arguments again in the project's own environment, set up if need be.

    error: what is wrong with this one. Returns 2, having said so, where there is no other.
    """
    if not SETUP.is_file() or not shutil.which("bash") or os.environ.get(ENTERED):
        print(error, file=sys.stderr)
        return 2
    os.environ[ENTERED] = "1"
    print(f"gluon_cgd: {str(error).split(':')[0]}; going on in the project's own environment", file=sys.stderr)
    script = 'where=$1; shift; . "$where" && exec python "$@"'
    sys.stderr.flush()
    os.execvp("bash", ["bash", "-c", script, "bash", str(SETUP), *command, *sys.argv[1:]])


@contextlib.contextmanager
def shown(name):
    """Show on stderr what the package `name` logs, above the progress bars where there are any."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger(name).setLevel(logging.INFO)
    if not installed("tqdm"):  # the doctor works without
        yield
        return
    from tqdm.contrib.logging import logging_redirect_tqdm

    with logging_redirect_tqdm():
        yield
