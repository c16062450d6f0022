"""All that must happen before `import mxnet`, in one place.

MXNet 1.9.1 reads its thread counts once, links CUDA 11 libraries that no longer come with systems,
and uses NumPy names that NumPy has since removed. `prepare()` settles all three.
"""

import contextlib
import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]

# In the order in which they depend on each other; the driver's own comes first.
CUDA_LIBRARIES = (
    "cuda_runtime/lib/libcudart.so.11.0",
    "nvtx/lib/libnvToolsExt.so.1",
    "cuda_nvrtc/lib/libnvrtc.so.11.2",
    "cublas/lib/libcublasLt.so.11",
    "cublas/lib/libcublas.so.11",
    "cufft/lib/libcufft.so.10",
    "curand/lib/libcurand.so.10",
    "cusolver/lib/libcusolver.so.11",
    "nccl/lib/libnccl.so.2",
    "cudnn/lib/libcudnn.so.8",
)
DRIVER = "libcuda.so.1"  # comes with the GPU's driver
LIGHT = dict(cv2="opencv-python-headless", PIL="pillow", tqdm="tqdm", portalocker="portalocker")  # module -> package
REMOVED_FROM_NUMPY = dict(bool=bool, int=int, float=float, object=object, str=str, complex=complex)


def cores():
    """Number of cores this process may use (the affinity mask where there is one)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def cache_folder():
    """Where rendered glyphs and resized pictures are kept: $GLUON_CGD_CACHE, or ~/.cache/gluon_cgd."""
    return Path(os.environ.get("GLUON_CGD_CACHE") or Path.home() / ".cache" / "gluon_cgd")


def context(name):
    """The one MXNet device `name`; as `contexts`, but several are refused too."""
    found = contexts(name)
    if len(found) > 1:
        raise ValueError(f"--ctx {name} names {len(found)} devices where one is used: take {name.split(',')[0]}")
    return found[0]


def contexts(name):
    """The MXNet devices that `name` lists with commas between: "cpu", "gpu0", "gpu0,gpu1", for tests "cpu0,cpu1".

    None is gpu0 where MXNet has one, else the CPU.
    Raises ValueError for one that this machine does not have, for one named twice, and for CPUs and GPUs together.
    """
    import mxnet as mx

    from .devices import listed

    if name is None:
        name = "gpu0" if mx.context.num_gpus() else "cpu"
    parts = name.split(",")
    if len(parts) > 1 and not all(parts):
        raise ValueError(f"--ctx {name!r} has an empty part: put one comma between two devices, as in gpu0,gpu1")
    return listed([_device(part) for part in parts])


def _device(name):
    import mxnet as mx

    if re.fullmatch("cpu[0-9]{0,2}", name):  # to MXNet a CPU is as many devices as one likes
        return mx.cpu(int(name[3:] or 0))
    if not re.fullmatch("gpu[0-9]+", name):
        raise ValueError(f"device {name!r} is unknown: --ctx takes cpu, gpu0, gpu1, ..., or several: gpu0,gpu1")
    gpus = mx.context.num_gpus()
    if int(name[3:]) >= gpus:
        raise ValueError(
            f"device {name} is not there: MXNet can use {gpus} GPUs on this machine; take --ctx cpu, or install "
            "the CUDA build (requirements.txt) where there is a GPU of compute capability 5.0 to 8.9"
        )
    return mx.gpu(int(name[3:]))


def machine(device):
    """The name of what computes: for "cpu" the processor and the cores that one may use, for "gpu0", ... the GPU."""
    if device.startswith("gpu"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", f"--id={device[3:]}"]
        with contextlib.suppress(OSError):
            return subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip() or "GPU"
        return "GPU"
    names = []
    with contextlib.suppress(OSError):
        names = re.findall(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{names[0] if names else platform.machine()}, {cores()} cores"


def commit():
    """The commit of this project that is running, with + where files differ from it; None outside of a repository."""
    told = []
    for question in ("rev-parse --show-toplevel", "rev-parse HEAD", "status --porcelain --untracked-files=no"):
        command = ["git", "-C", str(PROJECT), *question.split()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            return None
        told.append(done.stdout.strip())
        if done.returncode or Path(told[0]).resolve() != PROJECT:  # a repository that the project is only put into
            return None
    return told[1] + "+" * bool(told[2])


def numpy_needed():
    """The NumPy series that MXNet 1.9.1 works with under this Python, as "major.minor"."""
    return "1.26" if sys.version_info >= (3, 12) else "1.23"


def check_numpy(version):
    """Raise ImportError naming the fix unless NumPy `version` is of the series that MXNet needs."""
    needed = numpy_needed()
    if ".".join(version.split(".")[:2]) != needed:
        pin = {"1.23": "1.23.5", "1.26": "1.26.4"}[needed]
        raise ImportError(
            f"NumPy {version} is installed, but MXNet 1.9.1 on Python {sys.version_info[0]}.{sys.version_info[1]} "
            f"needs NumPy {needed}.x: run `{sys.executable} -m pip install --no-deps numpy=={pin}`, or leave this "
            "environment as it is and take the project's own (`source env.sh`)"
        )


def restore_numpy_names(numpy):
    """Give a newer NumPy back the aliases (np.bool, np.int, ...) that MXNet reads at import."""
    for name, builtin in REMOVED_FROM_NUMPY.items():
        if name not in numpy.__dict__:
            setattr(numpy, name, builtin)


def load_cuda_libraries(site=None):
    """Load the CUDA 11 libraries installed from the package index; return those loaded.

    `site`: the folder that holds the `nvidia` packages; by default the one that holds NumPy.
    Does nothing, and returns [], where the CUDA build is not installed.
    """
    import numpy

    site = Path(site or Path(numpy.__file__).parents[1])
    if not (site / "nvidia").is_dir() or not any(site.glob("mxnet_cu*.dist-info")):
        return []
    loaded = []
    for library in (DRIVER, *(str(site / "nvidia" / name) for name in CUDA_LIBRARIES)):
        try:
            ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise ImportError(
                f"the CUDA build of MXNet is installed, but {Path(library).name} cannot be loaded ({error}): "
                "install the NVIDIA driver and requirements.txt, or the CPU build from requirements-cpu.txt"
            ) from error
        loaded.append(library)
    return loaded


def sentence(error):
    """What to tell a person of an exception: its message; of MXNet's, which quote their C++ source, the last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines and lines[0].startswith("Traceback") else str(error) or type(error).__name__


def exit_status(command):
    """Call `command` and return its exit status: 2, with a sentence on stderr, for what a person can mend."""
    try:
        return command()
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, ImportError, RuntimeError, MemoryError) as error:  # MXNet's own is a RuntimeError
        print(sentence(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


def command():
    """What was typed after `python` if it is one of the project's commands, ["-m", "gluon_cgd"] say; else None."""
    typed = sys.argv[0] if sys.argv else ""
    if typed == "-m":  # while the package itself is being imported
        return ["-m", "gluon_cgd"]
    place = Path(typed)
    if place.name == "__main__.py" and place.parent.name in ("gluon_cgd", "reproduce"):
        return ["-m", place.parent.name]
    if place.suffix == ".py" and place.resolve().parent == PROJECT / "visualize":
        return [str(place.resolve())]
    return None


def asks_doctor():
    """Whether what was typed is `python -m gluon_cgd doctor`, while the package itself is being imported."""
    return sys.argv[:2] == ["-m", "doctor"]


def without_mxnet():
    """Whether the command that was typed may need no MXNet: it names an exported model, or an index that may have one.

    Such an index is asked later, and `need_mxnet` where it has not.
    """
    words = sys.argv[1:]
    return words[:1] in (["index"], ["search"]) or any(word.split("=")[0] == "--model" for word in words)


def check_mxnet():
    """Raise ImportError naming the fix where MXNet or GluonCV is not installed."""
    missing = [name for name in ("mxnet", "gluoncv") if find_spec(name) is None]
    if missing:
        raise ImportError(f"{sys.executable} has no {missing[0]}: `source env.sh` first")


def check_light():
    """Raise ImportError naming the fix where something is not installed that commands without MXNet need too."""
    missing = [name for name in LIGHT if find_spec(name) is None]
    if missing:
        raise ImportError(f"{sys.executable} has no {missing[0]}: python -m pip install {' '.join(LIGHT.values())}")


def need_mxnet():
    """Raise ImportError where MXNet is not installed; a command goes on in the project's own environment instead."""
    try:
        check_mxnet()
    except ImportError as error:
        if not command():
            raise
        go_on_in_project(error)


def go_on_in_project(error):
    """Start this command again in the project's own environment, set up if need be; exit with 2 where there is none.

    error: what is wrong with this one.
    """
    setup = PROJECT / "env.sh"
    if not setup.is_file() or not shutil.which("bash") or os.environ.get("GLUON_CGD_ENTERED"):
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    os.environ["GLUON_CGD_ENTERED"] = "1"
    print(f"gluon_cgd: {str(error).split(':')[0]}; going on in the project's own environment", file=sys.stderr)
    script = 'where=$1; shift; . "$where" && exec python "$@"'
    sys.stderr.flush()
    os.execvp("bash", ["bash", "-c", script, "bash", str(setup), *command(), *sys.argv[1:]])


def prepare():
    """Make `import mxnet` work, and fast, whatever comes next. Raises ImportError with the fix when it cannot.

    Where MXNet is not installed there is nothing to do, and any NumPy will do for an exported model.
    """
    try:
        import numpy
    except ImportError as error:
        raise ImportError(
            f"{sys.executable} has no NumPy: start through the scripts (bash reproduce/table1.sh --mini), "
            "or `source env.sh` first"
        ) from error
    if find_spec("mxnet") is None:
        return
    check_numpy(numpy.__version__)
    restore_numpy_names(numpy)
    # MXNet takes half of the cores by default; twice as fast with all of them.
    os.environ.setdefault("OMP_NUM_THREADS", str(cores()))
    # Waiting threads sleep instead of spinning: alone it costs nothing, and a second process on the same cores is no
    # longer slowed down tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    load_cuda_libraries()
