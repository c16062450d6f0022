"""All that must happen before `import mxnet`, in one place.

MXNet 1.9.1 reads its thread counts once, links CUDA 11 libraries that no longer come with systems,
and uses NumPy names that NumPy has since removed. `prepare()`, which `import gluon_cgd` calls, settles all three.
"""

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from gluon_cgd.machine.facts import SETUP, cores, install, setup

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
CHOSEN = set()  # names of the variables that `prepare` set, which nobody asked for
REMOVED_FROM_NUMPY = dict(bool=bool, int=int, float=float, object=object, str=str, complex=complex)


class WrongEnvironment(ImportError):
    """This Python lacks what the command needs; the project's own environment has it."""


def numpy_needed():
    """The NumPy series that MXNet 1.9.1 works with under this Python, as "major.minor"."""
    return "1.26" if sys.version_info >= (3, 12) else "1.23"


def check_numpy(version):
    """Raise WrongEnvironment naming the fix unless NumPy `version` is of the series that MXNet needs."""
    needed = numpy_needed()
    if ".".join(version.split(".")[:2]) != needed:
        pin = {"1.23": "1.23.5", "1.26": "1.26.4"}[needed]
        own = f", or use the project's own environment instead ({setup()})" if SETUP.is_file() else ""
        raise WrongEnvironment(
            f"NumPy {version} is installed, but MXNet 1.9.1 on Python {sys.version_info[0]}.{sys.version_info[1]} "
            f"needs NumPy {needed}.x: run `{sys.executable} -m pip install --no-deps numpy=={pin}`{own}"
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
    import ctypes

    import numpy

    site = Path(site or Path(numpy.__file__).parents[1])
    if not (site / "nvidia").is_dir() or not any(site.glob("mxnet_cu*.dist-info")):
        return []
    loaded = []
    for library in (DRIVER, *(str(site / "nvidia" / name) for name in CUDA_LIBRARIES)):
        try:
            ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise WrongEnvironment(
                f"the CUDA build of MXNet is installed, but {Path(library).name} cannot be loaded ({error}): "
                f"install the NVIDIA driver and run {install('requirements.txt')}, or uninstall mxnet-cu112 and run "
                f"{install('requirements-cpu.txt')}"
            ) from error
        loaded.append(library)
    return loaded


def check_mxnet():
    """Raise WrongEnvironment naming the fix where MXNet or GluonCV is not installed."""
    for name in ("mxnet", "gluoncv"):
        if not installed(name):
            raise WrongEnvironment(f"{sys.executable} has no {name}: {setup()} first")


def installed(name):
    """Whether the package `name` is there to be imported; nothing is imported, and no gate asked."""
    return sys.modules[name] is not None if name in sys.modules else PathFinder.find_spec(name) is not None


def make_ready():
    """Make `import mxnet` work. Raises WrongEnvironment with the fix where it cannot.

    Where MXNet is not installed there is nothing to do.
    """
    try:
        import numpy
    except ModuleNotFoundError as error:
        raise WrongEnvironment(f"{sys.executable} has no NumPy: {setup()} first") from error
    if installed("mxnet"):
        check_numpy(numpy.__version__)
        restore_numpy_names(numpy)
        load_cuda_libraries()


class Gate:
    """A finder that makes ready for MXNet when something imports it, and finds nothing itself."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "mxnet":
            make_ready()


def choose(name, value):
    """Set the environment's variable `name` where it is not set, and remember that it was not."""
    if name not in os.environ:
        os.environ[name] = value
        CHOSEN.add(name)


def prepare():
    """Set what MXNet reads when it is imported, and see to the rest at that moment. Raises nothing."""
    # MXNet takes half of the cores by default; twice as fast with all of them.
    choose("OMP_NUM_THREADS", str(cores()))
    # Waiting threads sleep instead of spinning: alone it costs nothing, and a second process on the same cores is no
    # longer slowed down tenfold.
    choose("OMP_WAIT_POLICY", "PASSIVE")
    if Gate not in sys.meta_path:
        sys.meta_path.insert(0, Gate)
