"""Everything that must happen before `import mxnet`.

MXNet 1.9.1 reads its thread counts once, links CUDA 11 libraries that systems no longer have, and uses names that NumPy
has removed. `prepare()`, which `import gluon_cgd` calls, takes care of all three.
This module imports little at its top: until a program has started, Ctrl-C would show a traceback.
"""

import os
import sys
from importlib.machinery import PathFinder

# Each after those it depends on; DRIVER comes before all
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
CHOSEN = set()  # names of the environment variables that `prepare` has set
REMOVED_FROM_NUMPY = dict(bool=bool, int=int, float=float, object=object, str=str, complex=complex)


class WrongEnvironment(ImportError):
    """This Python lacks a package, or has a wrong one; the project's own environment has the right ones."""


def numpy_needed() -> str:
    """The NumPy that MXNet 1.9.1 works with in this Python; other versions of its series, such as 1.23.x, do too."""
    return "1.26.4" if sys.version_info >= (3, 12) else "1.23.5"


def check_numpy(version: str, file: str = "") -> None:
    """Raise ImportError, naming the remedy, unless NumPy `version` is of the series that MXNet needs.

    file: where it was imported from. If this Python would take another one, but for the user's settings or folder, the
    error is not WrongEnvironment: the project's own environment would take the same one.
    """
    from gluon_cgd.machine import facts

    needed = numpy_needed()
    if version.split(".")[:2] == needed.split(".")[:2]:
        return
    rule = f"MXNet 1.9.1 on Python {sys.version_info[0]}.{sys.version_info[1]} needs NumPy {needed[:4]}.x"
    if foreign(file):
        raise ImportError(f"NumPy {version} is taken from {file}, but {rule}: {foreign(file)}")
    own = f", or use the project's own environment instead ({facts.setup()})" if facts.SETUP.is_file() else ""
    pip = f"run `{facts.pip()} install --no-deps numpy=={needed}`"
    raise WrongEnvironment(f"NumPy {version} is installed, but {rule}: {pip}{own}")


def foreign(file: str) -> str:
    """What to do so that Python does not take a module from `file`; "" if the interpreter's own packages hold it."""
    file, typed = os.path.abspath(file) if file else "", os.environ.get("PYTHONPATH")
    if file.startswith(os.path.join(sys.prefix, "")):  # as .venv inside of a project that PYTHONPATH names
        return ""
    home = os.path.expanduser(os.path.join("~", ".local", ""))
    remedies = {home: "`export PYTHONNOUSERSITE=1`, so that the packages in ~/.local are not taken"}
    for folder in map(os.path.abspath, typed.split(os.pathsep) if typed else ()):
        if not folder.startswith(os.path.join(sys.prefix, "")):
            remedies[os.path.join(folder, "")] = f"take {folder} out of PYTHONPATH, or `unset PYTHONPATH`"
    # The longest: PYTHONPATH may name the home folder
    return remedies.get(max((folder for folder in remedies if file.startswith(folder)), key=len, default=""), "")


def numpy_file() -> str:
    """The file that Python takes NumPy from, without importing it; "" if there is none."""
    spec = PathFinder.find_spec("numpy")
    return str(spec.origin or "") if spec else ""


def broken(error: BaseException) -> str:
    """What went wrong in an import, in one sentence with its remedy. NumPy says it in twenty lines."""
    file = getattr(error, "path", None) or (numpy_file() if "numpy" in str(error).lower() else "")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1:
        said = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("original error was:")]
        lines = [f"{file or 'a package'} cannot be imported ({(said or lines[-1:])[0]})"]
    text, remedy = " ".join(lines) or type(error).__name__, foreign(file)
    return text if remedy in text else f"{text}: {remedy}"  # "" is in every text


def restore_numpy_names(numpy: object) -> None:
    """Give NumPy back the aliases (np.bool, np.int, ...) that MXNet reads when it is imported."""
    for name, builtin in REMOVED_FROM_NUMPY.items():
        if name not in numpy.__dict__:
            setattr(numpy, name, builtin)


def load_cuda_libraries(site: object = None) -> list:
    """Load the CUDA 11 libraries from their packages and return their names; [] if MXNet's build is not for CUDA.

    site: the folder that holds the `nvidia` packages; by default the one that holds NumPy.
    Raises WrongEnvironment, naming the remedy, if one cannot be loaded.
    """
    import ctypes
    from pathlib import Path

    import numpy

    from gluon_cgd.machine import facts

    packages = Path(str(site or Path(numpy.__file__).parents[1]))
    if not (packages / "nvidia").is_dir() or not any(packages.glob("mxnet_cu*.dist-info")):
        return []
    loaded = []
    for library in (DRIVER, *(str(packages / "nvidia" / name) for name in CUDA_LIBRARIES)):
        try:
            ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise WrongEnvironment(
                f"the CUDA build of MXNet is installed, but {Path(library).name} cannot be loaded ({error}): "
                f"install the NVIDIA driver and run {facts.install('requirements.txt')}, or uninstall mxnet-cu112 "
                f"and run {facts.install('requirements-cpu.txt')}"
            ) from error
        loaded.append(library)
    return loaded


def check_mxnet() -> None:
    """Raise WrongEnvironment, naming the remedy, if MXNet or GluonCV is not installed."""
    from gluon_cgd.machine import facts

    for name in ("mxnet", "gluoncv"):
        if not installed(name):
            raise WrongEnvironment(f"{sys.executable} has no {name}: {facts.setup()} first")


def installed(name: str) -> bool:
    """Whether the package `name` can be imported; this imports nothing and does not ask Gate."""
    return sys.modules[name] is not None if name in sys.modules else PathFinder.find_spec(name) is not None


def check_settings() -> None:
    """Raise ImportError, naming the remedy, for settings of Python and OpenMP with which `import mxnet` crashes."""
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    if not (threads.isascii() and threads.isdigit() and int(threads[:9]) < 5000):
        raise ImportError(
            f"OMP_NUM_THREADS is {threads[:80]!r}, and MXNet needs a whole number below 5000: `unset OMP_NUM_THREADS`"
        )
    if sys.flags.optimize > 1:
        raise ImportError(
            "this Python runs without docstrings (-OO, or PYTHONOPTIMIZE=2), and MXNet needs them: leave out -OO, or "
            "`unset PYTHONOPTIMIZE`"
        )


def make_ready() -> None:
    """Make `import mxnet` work; does nothing if MXNet is not installed. Raises ImportError, naming the remedy."""
    check_settings()
    try:
        import numpy

        version, file = numpy.__version__, str(numpy.__file__)
    except ModuleNotFoundError as error:
        from gluon_cgd.machine import facts

        raise WrongEnvironment(f"{sys.executable} has no NumPy: {facts.setup()} first") from error
    if installed("mxnet"):
        check_numpy(version, file)
        restore_numpy_names(numpy)
        load_cuda_libraries()


class Gate:
    """An import hook that calls `make_ready` when something imports MXNet. It finds no module itself."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "mxnet":
            make_ready()


def choose(name: str, value: str) -> None:
    """Set the environment variable `name` unless it is set already; CHOSEN remembers it."""
    if name not in os.environ:
        os.environ[name] = value
        CHOSEN.add(name)


def prepare() -> None:
    """Set the variables that libraries read when they are imported, and install the Gate. Raises nothing."""
    # All cores, as facts.cores counts them: by default MXNet uses half of them and is half as fast
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    choose("OMP_NUM_THREADS", str(cores))
    # OpenMP also takes 4,2 for nested regions, which MXNet has not; it reads one number, and ends the process at others
    first = os.environ["OMP_NUM_THREADS"].partition(",")[0].strip()
    os.environ["OMP_NUM_THREADS"] = first or str(cores)
    # Waiting threads sleep instead of spinning. It costs nothing for one process; without it a second process on the
    # same cores makes both ten times slower.
    choose("OMP_WAIT_POLICY", "PASSIVE")
    # Matplotlib ends where there is no home folder, and complains of one that cannot be written to
    home, cache = os.path.expanduser("~"), os.environ.get("GLUON_CGD_CACHE")
    if home == "~" or (cache and not os.access(home, os.W_OK)):
        choose("MPLCONFIGDIR", os.path.join(cache or os.devnull, "matplotlib"))  # null: it makes a temporary one
    if Gate not in sys.meta_path:
        sys.meta_path.insert(0, Gate)
