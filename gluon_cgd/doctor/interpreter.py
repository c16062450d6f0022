"""What this Python has of what training needs: versions, packages that can be imported, libraries that can be loaded.

Nothing is imported into this process, which a broken package could end: `probe` starts another for that.
"""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from typing import NamedTuple

from gluon_cgd.doctor.findings import note, ok, wrong
from gluon_cgd.machine import facts, prepare

PACKAGES = {  # what is imported: the name under which it is installed
    "numpy": "numpy",
    "mxnet": "mxnet",
    "gluoncv": "gluoncv",
    "gluoncv2": "gluoncv2",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "scipy.io": "scipy",
    "matplotlib": "matplotlib",
    "jinja2": "jinja2",
    "safetensors": "safetensors",
    "portalocker": "portalocker",
    "tqdm": "tqdm",
    "requests": "requests",
    "graphviz": "graphviz",
}
MARK = "gluon_cgd probe "  # before each line of the probe: packages print when they are imported
PROBE = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
def tell(name, version="", error=None):
    print("\\n" + sys.argv[2] + json.dumps([name, str(version), error]), flush=True)
for name in sys.argv[3:]:
    try:
        version = getattr(importlib.import_module(name), "__version__", "")
        if name == "gluon_cgd":  # its gate would refuse MXNet for what is wrong with NumPy, which has its own line
            prepare = importlib.import_module("gluon_cgd.machine.prepare")
            sys.meta_path.remove(prepare.Gate)
            prepare.make_ready()
        tell(name, version)
    except BaseException as error:
        tell(name, error=" ".join((type(error).__name__ + ": " + str(error)).split())[:300])
try:
    tell("gpus", sys.modules["mxnet"].context.num_gpus())
except Exception as error:
    tell("gpus", error=" ".join(str(error).split())[:300])
"""
PYTHONS = (3, 8), (3, 12)  # the first and the last that MXNet 1.9.1 runs on
LIMIT = 180  # seconds


class Tried(NamedTuple):
    """What came of importing a package: its version, or the error in words."""

    version: str = ""
    error: str = ""


def probe(names=("gluon_cgd", *PACKAGES), python=sys.executable):
    """{package: Tried, "gpus": their number to MXNet as version} of importing `names`, in order, in another process."""
    command = [python, "-c", PROBE, str(facts.PACKAGES), MARK, *names]
    try:
        done = subprocess.run(command, capture_output=True, timeout=LIMIT, check=False)
        output, end = done.stdout, f"ends Python with status {done.returncode}"
    except subprocess.TimeoutExpired as error:
        output, end = error.stdout or b"", f"takes longer than {LIMIT} seconds"
    lines = output.decode(errors="replace").splitlines()
    told = [json.loads(line[len(MARK) :]) for line in lines if line.startswith(MARK)]
    found = {name: Tried(version, error or "") for name, version, error in told}
    silent = [name for name in (*names, "gpus") if name not in found]
    for name in silent[:1]:
        found[name] = Tried(error=f"its import {end}")
    for name in silent[1:]:
        found[name] = Tried(error=f"not tried after {silent[0]}")
    return found


def distributions():
    """{name in lower case with hyphens: version} of all that is installed."""
    from importlib import metadata  # new in Python 3.8

    named = ((d.metadata["Name"], d.version) for d in metadata.distributions())
    return {re.sub("[-_.]+", "-", name).lower(): version for name, version in named if name}


def python():
    """The line of Python's version."""
    version = ".".join(map(str, sys.version_info[:3]))
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return [ok("Python", version)]
    remedy = f"install Python 3.11 and, with PYTHON=/path/to/python3.11, {facts.setup()}"
    return [wrong("Python", f"{version}, where MXNet 1.9.1 runs on 3.8 to 3.12", remedy)]


def numpy(tried, versions):
    """The line of NumPy's version."""
    version = versions.get("numpy") or tried["numpy"].version
    if not version:
        return [_absent("NumPy", "numpy")]
    try:
        prepare.check_numpy(version)
    except ImportError as error:
        says, _, remedy = str(error).partition(": ")
        return [wrong("NumPy", says, remedy)]
    if tried["numpy"].error:
        return _packages("NumPy", ("numpy",), tried, versions)
    return [ok("NumPy", f"{version}, of the series {prepare.numpy_needed()} that MXNet 1.9.1 needs")]


def builds(versions):
    """{build of MXNet: its version} of those installed: "mxnet" is the CPU's, "mxnet-cu112" and others are CUDA's."""
    pattern = "mxnet(-cu[0-9]+|-mkl|-native)?(mkl)?"
    return {name: version for name, version in versions.items() if re.fullmatch(pattern, name)}


def build(versions):
    """Which build of MXNet is installed: "cuda" where one of CUDA is, else "cpu"."""
    return "cuda" if any(name.startswith("mxnet-cu") for name in builds(versions)) else "cpu"


def mxnet(tried, versions):
    """The line of MXNet: one build, version 1.9.1, that can be imported."""
    there = builds(versions) or ({"mxnet": tried["mxnet"].version} if tried["mxnet"].version else {})
    told = " and ".join(f"{name} {version}" for name, version in there.items())
    if not there:
        return [_absent("MXNet", "MXNet", "requirements-cpu.txt, or requirements.txt for a GPU")]
    file = "requirements.txt" if build(there) == "cuda" else "requirements-cpu.txt"
    again = f"{sys.executable} -m pip uninstall -y {' '.join(there)}, then {facts.install(file)}"
    if len(there) > 1:
        return [wrong("MXNet", f"{told} are both installed, into one folder, where one build may be", again)]
    if set(there.values()) != {"1.9.1"}:
        return [wrong("MXNet", f"{told} is installed, where the project needs 1.9.1", again)]
    if tried["mxnet"].error:
        refused = tried["gluon_cgd"].error.partition(": ")[2]  # without the name of the exception
        if "CUDA build" in refused:  # the project's own words
            says, _, remedy = refused.rpartition(": ")
            return [wrong("MXNet", f"{told}: {says}", remedy)]
        says = f"{told} cannot be imported ({tried['mxnet'].error})"
        return [wrong("MXNet", says, f"mend the other lines first, if that is not enough {again}")]
    return [ok("MXNet", f"{told}, the {'CUDA' if build(there) == 'cuda' else 'CPU'} build")]


def gluoncv(tried, versions):
    """The line of the two libraries with the backbones, which import MXNet."""
    there = [f"{name} {versions[name]}" for name in ("gluoncv", "gluoncv2") if name in versions]
    if len(there) == 2 and tried["mxnet"].error:
        return [note("GluonCV", f"{', '.join(there)}, of no use without MXNet", "mend the line of MXNet")]
    return _packages("GluonCV", ("gluoncv", "gluoncv2"), tried, versions)


def opencv(tried, versions):
    """The line of OpenCV, of which one package may be installed."""
    there = {name: version for name, version in versions.items() if re.fullmatch("opencv(-contrib)?-python.*", name)}
    told = " and ".join(f"{name} {version}" for name, version in there.items())
    again = f"{sys.executable} -m pip uninstall -y {' '.join(there)}, then {facts.install('constraints.txt')}"
    if len(there) > 1:
        return [wrong("OpenCV", f"{told} are in one folder, where the last one wins or neither works", again)]
    if there and tried["cv2"].error:
        return [wrong("OpenCV", f"{told} cannot be imported ({tried['cv2'].error})", again)]
    return [ok("OpenCV", told)] if there else _packages("OpenCV", ("cv2",), tried, versions)


def others(tried, versions):
    """The line of every other package."""
    apart = ("numpy", "mxnet", "gluoncv", "gluoncv2", "cv2")
    return _packages("packages", [name for name in PACKAGES if name not in apart], tried, versions)


def _packages(title, names, tried, versions):
    """A line of those of `names` that are not installed, and of those that cannot be imported; else of the versions."""
    bad = [name for name in names if tried[name].error]
    absent = [PACKAGES[name] for name in bad if find_spec(name.split(".")[0]) is None]
    broken = [name for name in bad if PACKAGES[name] not in absent]
    lines = [_absent(title, ", ".join(absent))] if absent else []
    if broken:
        says = [f"{PACKAGES[name]} {versions.get(PACKAGES[name], '')} ({tried[name].error})" for name in broken]
        remedy = facts.install("constraints.txt") + " --force-reinstall"
        lines.append(wrong(title, f"cannot be imported: {', '.join(says)}", remedy))
    told = ", ".join(f"{PACKAGES[name]} {versions.get(PACKAGES[name]) or tried[name].version}" for name in names)
    return lines or [ok(title, told)]


def _absent(title, package, file="constraints.txt"):
    own = f"{facts.setup()} takes or makes an environment that has it, or " if facts.SETUP.is_file() else ""
    return wrong(title, f"not installed in {sys.executable}: {package}", own + facts.install(file))


def seen_by_mxnet(tried, versions):
    """The line of the GPUs that MXNet's CUDA build says it has; none for the CPU build, or where it cannot be asked."""
    gpus = tried["gpus"]
    if build(versions) == "cpu" or tried["mxnet"].error:
        return []
    if gpus.error or not int(gpus.version):
        says = f"MXNet's CUDA build finds no GPU{f' ({gpus.error})' if gpus.error else ''}: training takes the CPU"
        return [note("GPUs of MXNet", says, "see the lines of the driver and of the GPUs")]
    return [ok("GPUs of MXNet", f"{gpus.version}, --ctx gpu0 takes the first")]
