"""An exported model on a GPU, by ONNX Runtime's CUDA provider, where its embeddings are those of the CPU."""

import contextlib
import ctypes
import io
import re

import numpy as np

from gluon_cgd.machine import facts, prepare, streams
from gluon_cgd.models.runtimes import session_options

PROVIDER = "CUDAExecutionProvider"
LIMIT = 1e-4  # by which an embedding, of unit length, may differ from the CPU's
PICTURES = 4  # that are compared
TAKE_CPU = "or take --ctx cpu"


class NotOnCuda(Exception):
    """Why a model cannot be computed on a GPU, in words that follow "because"; it names the remedy."""


def opened(data, device, on_cpu, side):
    """(compute, difference): computes as `on_cpu` does, on the GPU `device`, a Device of kind "cuda".

    data: the ONNX file's bytes.  on_cpu: the function of uint8 pictures (N, side, side, 3) and an output's name.
    difference: the largest between the two, over the embeddings of PICTURES random pictures.
    Raises NotOnCuda, and ValueError for a GPU of a number that this machine does not have.
    """
    import onnxruntime

    installed = f"onnxruntime {onnxruntime.__version__}"
    if PROVIDER not in onnxruntime.get_available_providers():
        remedy = f"{facts.pip()} uninstall onnxruntime, then {facts.pip()} install onnxruntime-gpu"
        raise NotOnCuda(f"{installed} is the build without CUDA: {remedy} (docs/gpus.md has the versions), {TAKE_CPU}")
    gpus = count_gpus()
    if not gpus:
        says = f"{prepare.DRIVER} cannot be loaded" if gpus is None else "it shows no GPU"
        raise NotOnCuda(f"there is no working NVIDIA driver ({says}): check what nvidia-smi prints, {TAKE_CPU}")
    if device.number >= gpus:
        last = f"cuda{gpus - 1}"
        raise ValueError(
            f"device {device.name} is not there: the driver shows {gpus} GPU{'s' * (gpus > 1)}; take "
            f"{'cuda0' if gpus == 1 else f'cuda0 to {last}'}, {TAKE_CPU}"
        )
    session, said = _session(onnxruntime, data, device)
    if session is None or PROVIDER not in session.get_providers():
        needs = getattr(onnxruntime, "cuda_version", "")
        raise NotOnCuda(
            f"{installed} cannot use CUDA ({_reason(said)}): install the libraries that it needs"
            f"{f', of CUDA {needs}' if needs else ''}, with cuDNN 9, and a driver that is new enough (docs/gpus.md), "
            f"{TAKE_CPU}"
        )

    def compute(pictures, output):
        return session.run([output], {"pictures": pictures})[0]

    return compute, _compared(compute, on_cpu, side)


def count_gpus():
    """The number of GPUs that the driver shows to this process, None without a driver."""
    count = ctypes.c_int()
    try:
        driver = ctypes.CDLL(prepare.DRIVER)
        failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):
        return None
    return 0 if failed else count.value


def _session(onnxruntime, data, device):
    """(session or None, what was said meanwhile): where the provider fails, ONNX Runtime only writes to its stderr."""
    options = session_options(onnxruntime)
    # TF32 has ten bits of mantissa; the default search times all algorithms for every new size of batch
    how = {"device_id": str(device.number), "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    providers, session, printed = [(PROVIDER, how), "CPUExecutionProvider"], None, io.StringIO()
    with streams.caught_stderr() as caught, contextlib.redirect_stdout(printed):
        try:
            if hasattr(onnxruntime, "preload_dlls"):  # from 1.21; of NVIDIA's packages in this environment
                onnxruntime.preload_dlls()
            # Without enable_fallback=0 it prints to stdout and goes on with the CPU, in every later run too
            session = onnxruntime.InferenceSession(data, options, providers=providers, enable_fallback=0)
        except Exception as error:  # the provider raises kinds of its own
            printed.write(f"{error}\n")
    return session, f"{printed.getvalue()}\n{''.join(caught)}"


def _reason(said):
    """The cause in what ONNX Runtime said, a line of 200 letters at most."""
    library = re.search(r"(lib\S+): cannot open shared object file", said)
    if library:
        return f"{library[1]} is not there"
    failure = re.search(r"(CUDA failure \d+|CUDA error|CUDNN failure \d+|with error)[^\n]*", said)
    line = failure[0] if failure else next((line for line in map(str.strip, said.splitlines()) if line), "")
    return line[:200] or "it does not say why"


def _compared(compute, on_cpu, side):
    """The largest difference of two functions' embeddings of random pictures. Raises NotOnCuda above LIMIT."""
    pictures = np.random.default_rng(0).integers(0, 256, (PICTURES, side, side, 3), np.uint8)
    expected = on_cpu(pictures, "embedding")
    try:
        found = compute(pictures, "embedding")
    except Exception as error:
        reason = "".join(str(error).strip().splitlines()[:1])[:200]
        raise NotOnCuda(f"the GPU cannot compute it ({reason}): free its memory, {TAKE_CPU}") from error
    difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
    if not difference <= LIMIT:  # also for NaN
        raise NotOnCuda(
            f"its embeddings of {PICTURES} random pictures differ there by {difference:.1e}, more than {LIMIT:g}: "
            f"another version of onnxruntime-gpu may compute it right, {TAKE_CPU}"
        )
    return difference
