"""The doctor's lines on Python and its packages: their versions, and whether they can be imported.

`probe` imports them in another process, because a broken package can end the process that imports it.
"""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from typing import NamedTuple

from gluon_cgd.doctor.findings import info, note, ok, wrong
from gluon_cgd.machine import facts, prepare

BACKBONES = ("gluoncv", "gluoncv2")  # the libraries that hold the networks
OTHERS = ("PIL", "scipy.io", "matplotlib", "jinja2", "safetensors", "portalocker", "tqdm", "requests", "graphviz")
RENAMED = {"cv2": "opencv-python-headless", "PIL": "pillow", "scipy.io": "scipy"}
# {name of a module: name under which it is installed}
PACKAGES = {name: RENAMED.get(name, name) for name in ("numpy", "mxnet", *BACKBONES, "cv2", *OTHERS)}
EXTRAS = {  # module: (name under which it is installed, what it is for)
    "sklearn": ("scikit-learn", "t-SNE"),
    "submitit": ("submitit", "training on Slurm"),
    "onnx": ("onnx", "exported models"),
    "onnxruntime": ("onnxruntime", "exported models"),
    "openvino": ("openvino", "exported models"),
    "faiss": ("faiss-cpu", "search"),
    "pymilvus": ("pymilvus", "search"),
}
MARK = "gluon_cgd probe "  # begins each line of the probe, because packages print when they are imported
PROBE = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
def tell(name, version="", error=None):
    print("\\n" + sys.argv[2] + json.dumps([name, str(version), error]), flush=True)
for name in sys.argv[3:]:
    try:
        version = getattr(importlib.import_module(name), "__version__", "")
        if name == "gluon_cgd":  # its gate would refuse MXNet if NumPy is wrong; NumPy has its own line
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
    """The result of importing a package: its version, or the error in words."""

    version: str = ""
    error: str = ""


def probe(names=("gluon_cgd", *PACKAGES), python=sys.executable):
    """{module: Tried} of importing the modules `names`, in this order, in another process.

    The version of "gpus" is the number of GPUs that MXNet finds.
    """
    command = [python, "-c", PROBE, str(facts.PACKAGES), MARK, *names]
    try:
        done = subprocess.run(command, capture_output=True, timeout=LIMIT, check=False)
        output, end = done.stdout, f"ends Python with status {done.returncode}"
    except subprocess.TimeoutExpired as error:
        output, end = error.stdout or b"", f"takes longer than {LIMIT} seconds"
    lines = output.decode(errors="replace").splitlines()
    answers = [json.loads(line[len(MARK) :]) for line in lines if line.startswith(MARK)]
    tried = {name: Tried(version, error or "") for name, version, error in answers}
    silent = [name for name in (*names, "gpus") if name not in tried]
    for name in silent:
        tried[name] = Tried(error=f"its import {end}" if name == silent[0] else f"not tried after {silent[0]}")
    return tried


def distributions():
    """{name in lower case with hyphens: version} of all installed packages that say their names; of two, the first.

    That is the one which Python imports: an environment may also see the system's packages.
    """
    from importlib import metadata  # new in Python 3.8

    found = {}
    for distribution in metadata.distributions():
        try:
            name, version = distribution.metadata["Name"], distribution.version
        except (ValueError, KeyError):  # no UTF-8, for example
            continue
        if name:
            found.setdefault(re.sub("[-_.]+", "-", name).lower(), version)
    return found


def python():
    """The line of Python's version."""
    version = ".".join(map(str, sys.version_info[:3]))
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return [ok("Python", version)]
    remedy = f"install Python 3.11 and, with PYTHON=/path/to/python3.11, {facts.setup()}"
    return [wrong("Python", f"{version}, but MXNet 1.9.1 runs on 3.8 to 3.12", remedy)]


def numpy(tried, versions):
    """The line of NumPy's version."""
    spec = find_spec("numpy")
    file = spec.origin or "" if spec else ""
    version = not prepare.foreign(file) and versions.get("numpy") or tried["numpy"].version
    if prepare.foreign(file) and tried["numpy"].error:
        return [wrong("NumPy", f"{file} cannot be imported", prepare.foreign(file))]
    if not version:
        return [_absent("NumPy", "numpy")]
    try:
        prepare.check_numpy(version, file)
    except ImportError as error:
        says, _, remedy = str(error).partition(": ")
        return [wrong("NumPy", says, remedy)]
    if tried["numpy"].error:
        return _packages("NumPy", ("numpy",), tried, versions)
    return [ok("NumPy", f"{version}; MXNet 1.9.1 needs {prepare.numpy_needed()[:4]}.x")]


def builds(versions):
    """{package: version} of the installed builds of MXNet: "mxnet" is for CPUs, "mxnet-cu112" and others for CUDA."""
    pattern = "mxnet(-cu[0-9]+|-mkl|-native)?(mkl)?"
    return {name: version for name, version in versions.items() if re.fullmatch(pattern, name)}


def build(versions):
    """The installed build of MXNet: "cuda" if there is one for CUDA, else "cpu"."""
    return "cuda" if any(name.startswith("mxnet-cu") for name in builds(versions)) else "cpu"


def mxnet(tried, versions):
    """The line of MXNet, of which exactly one build must be installed, in version 1.9.1."""
    there = builds(versions) or ({"mxnet": tried["mxnet"].version} if tried["mxnet"].version else {})
    installed = " and ".join(f"{name} {version}" for name, version in there.items())
    if not there:
        return [_absent("MXNet", "MXNet", "requirements-cpu.txt, or requirements.txt for a GPU")]
    file = "requirements.txt" if build(there) == "cuda" else "requirements-cpu.txt"
    again = f"{facts.pip()} uninstall -y {' '.join(there)}, then {facts.install(file)}"
    if len(there) > 1:
        return [wrong("MXNet", f"{installed} are both installed, but only one build may be", again)]
    if set(there.values()) != {"1.9.1"}:
        return [wrong("MXNet", f"{installed} is installed, but the project needs 1.9.1", again)]
    if tried["mxnet"].error:
        refused = tried["gluon_cgd"].error.partition(": ")[2]  # without the name of the exception
        if "CUDA build" in refused:  # the project's own words
            says, _, remedy = refused.rpartition(": ")
            return [wrong("MXNet", f"{installed}: {says}", remedy)]
        says = f"{installed} cannot be imported ({tried['mxnet'].error})"
        return [wrong("MXNet", says, f"fix the other lines first; if that is not enough, {again}")]
    return [ok("MXNet", f"{installed}, the {'CUDA' if build(there) == 'cuda' else 'CPU'} build")]


def gluoncv(tried, versions):
    """The line of the two libraries that hold the backbones; both import MXNet."""
    if tried["mxnet"].error and all(name in versions for name in BACKBONES):
        there = ", ".join(f"{name} {versions[name]}" for name in BACKBONES)
        return [note("GluonCV", f"{there}; both need MXNet", "fix MXNet first")]
    return _packages("GluonCV", BACKBONES, tried, versions)


def opencv(tried, versions):
    """The line of OpenCV, of which only one package may be installed."""
    there = {name: version for name, version in versions.items() if re.fullmatch("opencv(-contrib)?-python.*", name)}
    installed = " and ".join(f"{name} {version}" for name, version in there.items())
    again = f"{facts.pip()} uninstall -y {' '.join(there)}, then {facts.install('constraints.txt')}"
    if len(there) > 1:
        return [wrong("OpenCV", f"{installed} are both installed, but only one package may be", again)]
    if there and tried["cv2"].error:
        return [wrong("OpenCV", f"{installed} cannot be imported ({tried['cv2'].error})", again)]
    return [ok("OpenCV", installed)] if there else _packages("OpenCV", ("cv2",), tried, versions)


def others(tried, versions):
    """The line of all other packages."""
    return _packages("packages", OTHERS, tried, versions)


def _packages(title, names, tried, versions):
    """A line for the modules that are not installed and one for the broken ones; without any, the line of versions."""
    bad = [name for name in names if tried[name].error]
    absent = [PACKAGES[name] for name in bad if find_spec(name.split(".")[0]) is None]
    broken = [name for name in bad if PACKAGES[name] not in absent]
    lines = [_absent(title, ", ".join(absent))] if absent else []
    if broken:
        says = [f"{PACKAGES[name]} {versions.get(PACKAGES[name], '')} ({tried[name].error})" for name in broken]
        remedy = facts.install("constraints.txt") + " --force-reinstall"
        lines.append(wrong(title, f"cannot be imported: {', '.join(says)}", remedy))
    present = ", ".join(f"{PACKAGES[name]} {versions.get(PACKAGES[name]) or tried[name].version}" for name in names)
    return lines or [ok(title, present)]


def _absent(title, package, file="constraints.txt"):
    own = f"{facts.setup()} enters an environment that has it, or " if facts.SETUP.is_file() else ""
    return wrong(title, f"not installed in {sys.executable}: {package}", own + facts.install(file))


def seen_by_mxnet(tried, versions):
    """The line of the GPUs that MXNet's CUDA build finds; none for the CPU build or if MXNet cannot be imported."""
    gpus = tried["gpus"]
    if build(versions) == "cpu" or tried["mxnet"].error:
        return []
    if gpus.error or not int(gpus.version):
        says = f"MXNet's CUDA build finds no GPU{f' ({gpus.error})' if gpus.error else ''}: training uses the CPU"
        return [note("GPUs of MXNet", says, "see the lines of the driver and of the GPUs")]
    return [ok("GPUs of MXNet", f"{gpus.version}; --ctx gpu0 uses the first")]


def extras(versions):
    """The line of the optional packages. versions: as `distributions` returns them."""
    present = [f"{name} {versions.get(name, '')}".strip() for module, (name, _) in EXTRAS.items() if find_spec(module)]
    missing = [f"{name} ({purpose})" for module, (name, purpose) in EXTRAS.items() if not find_spec(module)]
    says = [f"{', '.join(present)} installed"] * bool(present) + [f"{', '.join(missing)} missing"] * bool(missing)
    remedy = f" ({facts.install('requirements-extra.txt')} installs those that commands use)"
    return [info("extras", "; ".join(says) + remedy * bool(missing))]
