"""Facts about this computer and this copy of the project: its folder, commit and packages; cores and processor."""

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import Optional, Sequence

PACKAGES = Path(__file__).resolve().parents[2]  # the folder that holds this package: the project, or site-packages
SETUP = PACKAGES / "env.sh"  # makes the project's own environment; there is none where the package is installed
OWN_CACHE = "set GLUON_CGD_CACHE to a folder that you can write to"
PROJECT = PACKAGES if SETUP.is_file() else Path()  # data/ and runs/ are here by default; Path(): the present folder


def quoted(path: object) -> str:
    """`path` as it is typed into a shell."""
    import shlex

    return shlex.quote(str(path))


def pip() -> str:
    """The command that starts this Python's pip."""
    return f"{quoted(sys.executable)} -m pip"


def install(file: str) -> str:
    """The command that installs the requirements file `file` of this project; the wheel has a copy of it."""
    folder = PACKAGES if SETUP.is_file() else PACKAGES / "gluon_cgd" / "requirements"
    return f"{pip()} install --no-deps -r {quoted(folder / file)}"


def setup() -> str:
    """The command that provides every package that training needs, in backquotes."""
    return f"`source {quoted(SETUP)}`" if SETUP.is_file() else f"`{install('requirements-cpu.txt')}`"


def cores() -> int:
    """Number of cores that this process may use (by its affinity mask, where the system has one)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_folder() -> Path:
    """The folder of rendered glyphs and resized pictures: $GLUON_CGD_CACHE, or ~/.cache/gluon_cgd."""
    try:
        return Path(os.environ.get("GLUON_CGD_CACHE") or Path.home() / ".cache" / "gluon_cgd")
    except RuntimeError as error:
        raise ValueError(f"this user has no home folder for the cache of pictures: {OWN_CACHE}") from error


def made(folder: Path) -> Path:
    """`folder`, which lies in the cache or is named by the user in its place; it is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"the cache {folder} cannot be made ({error.strerror}): {OWN_CACHE}") from error
    return folder


def machine(device: str) -> str:
    """The name of the processor and the number of usable cores for "cpu"; the name of the GPU for "gpu0", ..."""
    import platform
    import subprocess

    if device.startswith("gpu"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", f"--id={device[3:]}"]
        with contextlib.suppress(OSError):
            return subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip() or "GPU"
        return "GPU"
    names = []
    with contextlib.suppress(OSError):
        names = re.findall(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{names[0] if names else platform.machine()}, {cores()} cores"


def commit(apart: Sequence[str] = ()) -> Optional[str]:
    """The commit of this project, followed by + if files differ from it; None outside of its repository.

    apart: files and folders of the project that may differ.
    """
    import subprocess

    answers = []
    status = ["status", "--porcelain", "--untracked-files=no", "--", ".", *(f":(exclude){place}" for place in apart)]
    for question in (["rev-parse", "--show-toplevel"], ["rev-parse", "HEAD"], status):
        command = ["git", "-C", str(PACKAGES), *question]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            return None
        answers.append(done.stdout.strip())
        if done.returncode or Path(answers[0]).resolve() != PACKAGES:  # another project's repository around this copy
            return None
    return answers[1] + "+" * bool(answers[2])
