"""The environment of the PyTorch engine, .venv-torch: an interpreter with PyTorch and without MXNet, made on demand."""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from gluon_cgd.files.lock import waiting
from gluon_cgd.machine import facts

log = logging.getLogger(__name__)
NAMED = "GLUON_CGD_TORCH"  # environment variable: an interpreter that has PyTorch, which is then used as it is
VENV = facts.PROJECT / ".venv-torch"
REQUIREMENTS = (facts.PACKAGES if facts.SETUP.is_file() else facts.PACKAGES / "gluon_cgd" / "requirements") / (
    "requirements-torch.txt"
)
LEAST = 1.2e9  # bytes of disk that PyTorch without CUDA takes, which is the least
NEEDS = "it takes 1 GB of disk, or 5 GB where the package index has PyTorch with CUDA"
PROBE = """
import json, platform, numpy, torch
mps = getattr(torch.backends, "mps", None)
cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
versions = dict(python=platform.python_version(), torch=torch.__version__, numpy=numpy.__version__)
print(json.dumps(dict(versions=versions, cuda=cuda, cuda_version=torch.version.cuda,
                      mps=bool(mps and mps.is_available()))))
"""


def found() -> Optional[Path]:
    """The interpreter of the environment, if it is there: the one that GLUON_CGD_TORCH names, or that of .venv-torch.

    Raises ValueError if GLUON_CGD_TORCH names no program.
    """
    named = os.environ.get(NAMED)
    if named:
        program = shutil.which(named)
        if not program:
            raise ValueError(f"{NAMED} is {named}, which is no program: name the python of an environment with PyTorch")
        return Path(os.path.abspath(program))  # not resolved: the python of an environment is a link
    python = VENV / "bin" / "python"
    with contextlib.suppress(OSError):
        if os.access(python, os.X_OK) and (VENV / "installed").read_text() == stamp():
            return python
    return None


def interpreter() -> Path:
    """As `found`, but .venv-torch is made first if it is missing or of another version; that happens once.

    Raises ValueError, naming the remedy, if it cannot be made.
    """
    python = found()
    if python:
        return python
    if not facts.SETUP.is_file():
        raise ValueError(
            f"the PyTorch engine needs an environment of its own, which an installed package cannot make: install "
            f"{REQUIREMENTS} into a new one, and name its python in {NAMED}"
        )
    try:
        with waiting(VENV.with_name(".venv-torch.lock"), str(VENV)):
            return found() or make()
    except OSError as error:
        reason = f"{VENV} cannot be made ({error.strerror or error})"
        raise ValueError(f"{reason}: let the owner of the project make it, or name a python in {NAMED}") from error


def make() -> Path:
    """Make .venv-torch; returns its interpreter. Raises ValueError, naming the remedy, if that is not possible."""
    free = shutil.disk_usage(VENV.parent).free
    if free < LEAST:
        raise ValueError(f"{free / 1e9:.1f} GB are free for {VENV}, and {NEEDS}: free some space")
    base = base_interpreter()
    log.info("making %s with %s, once: some minutes, and %s", VENV, base, NEEDS)
    shutil.rmtree(VENV, ignore_errors=True)
    python = VENV / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    for command in ([base, "-m", "venv", str(VENV)], [*pip, "-r", str(REQUIREMENTS)]):
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=variables())
        if done.returncode:
            reason, remedy = failure(done.stderr + done.stdout)
            raise ValueError(f"{VENV} could not be made ({reason}): {remedy}")
    (VENV / "installed").write_text(stamp())
    return python


def failure(output: str) -> Tuple[str, str]:
    """(what went wrong, what to do about it), from the `output` of pip or venv."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it says nothing"]
    errors = [line.partition(":")[2].strip() for line in lines if re.match("error:", line, re.I)] or lines
    if re.search(r"No space left|Disk quota|Errno (28|122)", output):
        return "the disk is full", f"{NEEDS}, and 3 GB more of temporary files: free some, or set TMPDIR"
    if re.search("Connection|Temporary failure|timed out|Network is|ProxyError", output):
        return "the package index does not answer", "check the network, and PIP_INDEX_URL if you use a mirror"
    if re.search("No matching distribution|Could not find a version", output):
        return errors[-1][:300], "the package index lacks it, so name another one in PIP_INDEX_URL"
    return errors[-1][:300], f"it needs a package index, and {NEEDS}"


def base_interpreter() -> str:
    """The Python that .venv-torch is made with, as env.sh chooses it. Raises ValueError if there is none."""
    functions = facts.SETUP.read_text(encoding="utf-8").rpartition("\ncgd_enter")[0]  # all but the last line
    done = subprocess.run(
        ["bash", "-c", f"{functions}\ncgd_interpreter_of_torch"], capture_output=True, text=True, check=False
    )
    if done.returncode or not done.stdout.strip():
        raise ValueError((done.stderr.strip() or "bash finds no Python").replace("gluon_cgd: ", "", 1))
    return done.stdout.strip()


def pinned(package: str) -> str:
    """The version of `package` that the requirements name."""
    found = re.search(f"^{package}==([0-9.]+)", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
    assert found, f"{package} is not in {REQUIREMENTS}"
    return found[1]


def stamp() -> str:
    """What the file `installed` in a whole .venv-torch holds: a checksum of the requirements."""
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest() + "\n"


def variables() -> Dict[str, str]:
    """The environment variables of a process in .venv-torch: of Python's own, only the path to a checkout.

    An installed package lies among MXNet's packages, which must not come before those of PyTorch: see `module`.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON") and name != "VIRTUAL_ENV"
    }
    own = {"PYTHONPATH": str(facts.PACKAGES)} if facts.SETUP.is_file() else {}
    return {**kept, **own, "PYTHONNOUSERSITE": "1"}


def module(python: Path, name: str, asked: Mapping[str, Any]) -> Dict[str, Any]:
    """The arguments of subprocess.run with which `python` runs the module `name` of this package on `asked`, as JSON.

    What the interpreter `python` has itself comes first; from the folder of this package come only what it lacks.
    """
    start = f"import runpy, sys; sys.path.append({str(facts.PACKAGES)!r}); "
    start += f"runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"
    return dict(args=[str(python), "-c", start, json.dumps(asked)], env=variables(), cwd="/")


def devices(python: Path, seconds: float = 120) -> Dict[str, Any]:
    """What PyTorch says in the interpreter `python`: {"versions", "cuda": [name, ...], "cuda_version", "mps"}.

    Raises ValueError if it cannot be imported there.
    """
    command = [str(python), "-c", PROBE]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, env=variables(), timeout=seconds
        )
        lines = done.stdout.strip().splitlines()
        if not done.returncode and lines:
            return dict(json.loads(lines[-1]))
        said = (done.stderr.strip().splitlines() or [f"it ends with status {done.returncode}"])[-1][:300]
    except subprocess.TimeoutExpired:
        said = f"it takes longer than {seconds:.0f} seconds"
    except (OSError, ValueError) as error:
        said = str(error)
    remedy = f"delete {VENV}, and it is made again" if NAMED not in os.environ else f"name another one in {NAMED}"
    raise ValueError(f"PyTorch cannot be used in {python} ({said}): {remedy}")


def why_idle(told: Mapping[str, Any]) -> Tuple[str, str]:
    """Why PyTorch uses no GPU of a machine that has one, and the remedy. told: of `devices`."""
    if told["cuda_version"]:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        if hidden is not None:
            return "finds no GPU", f"unset CUDA_VISIBLE_DEVICES, which is {hidden or 'empty'}"
        return "finds no GPU", f"update the driver, to one that runs CUDA {told['cuda_version']}"
    if os.environ.get(NAMED):
        return "has no CUDA", f"name a python in {NAMED} whose PyTorch has it"
    return "has no CUDA", f"delete {VENV}, and name a package index that has PyTorch with CUDA in PIP_INDEX_URL"
