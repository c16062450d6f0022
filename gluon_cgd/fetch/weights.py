"""Where ImageNet parameters come from: a file, the cache, and the places on the network that still have them."""

import logging
import os
import tempfile
from pathlib import Path
from typing import Callable, NamedTuple

import mxnet as mx
import numpy as np
import portalocker
from mxnet.base import data_dir

from gluon_cgd.fetch import download
from gluon_cgd.files.whole import digest

log = logging.getLogger(__name__)

GLUONCV = "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/"  # unless MXNET_GLUON_REPO names another
GLUONCV2 = "https://github.com/osmr/imgclsmob"
HUGGING_FACE = "https://huggingface.co"  # unless HF_ENDPOINT names another
TIMM = {"resnet50_v1b": "resnet50.gluon_in1k"}  # the same parameters, under timm's names


class Source(NamedTuple):
    """One place on the network: `url` of what is sent, and `get(root, progress)`, the path of `name` made from it."""

    publisher: str
    url: str
    name: str
    get: Callable


def cache_folder():
    """MXNet's own: $MXNET_HOME/models, by default ~/.mxnet/models."""
    return os.path.join(data_dir(), "models")


def published(library, model):
    """(file name, SHA-1, url of its zip) of `model` as `library` ("gluoncv" or "gluoncv2") published it."""
    if library == "gluoncv":
        from gluoncv.model_zoo.model_store import _model_sha1

        repository = os.environ.get("MXNET_GLUON_REPO") or GLUONCV
        stem = f"{model}-{_model_sha1[model][:8]}"
        return f"{stem}.params", _model_sha1[model], f"{repository.rstrip('/')}/gluon/models/{stem}.zip"
    from gluoncv2.models.model_store import _model_sha1

    error, sha1, release = _model_sha1[model]
    name = f"{model}-{error}-{sha1[:8]}.params"
    return name, sha1, f"{GLUONCV2}/releases/download/{release}/{name}.zip"


def sources(library, model):
    """The places that `resolve` asks, in order."""
    name, sha1, url = published(library, model)
    found = [Source(library, url, name, lambda *rest: _unzipped(url, name, sha1, *rest))]
    if library == "gluoncv" and model in TIMM:
        endpoint = (os.environ.get("HF_ENDPOINT") or HUGGING_FACE).rstrip("/")
        file, url_of_it = f"{TIMM[model]}.safetensors", f"{endpoint}/timm/{TIMM[model]}/resolve/main/model.safetensors"
        found.append(Source("timm", url_of_it, file, lambda *rest: _from_hub(url_of_it, file, *rest)))
    return found


def kept(library, model, root=None):
    """Path of the whole file of `model`'s ImageNet parameters in `root` (by default `cache_folder()`), or None.

    timm's, whose hash only the hub knows, is taken as it is.
    """
    sha1 = published(library, model)[1]
    for place in sources(library, model):
        file = Path(root or cache_folder()).expanduser() / place.name
        if file.is_file() and (place.publisher == "timm" or digest(file, "sha1") == sha1):
            return file
    return None


def resolve(library, model, root=None, progress=False):
    """Path of the file of `model`'s ImageNet parameters, fetched into `root` (by default `cache_folder()`) if need be.

    library: "gluoncv" or "gluoncv2", whose published file it is. Two processes fetch it once.
    Raises ValueError, listing every source with what is wrong there, and the file to fetch by hand.
    """
    root = Path(root or cache_folder()).expanduser()
    places = sources(library, model)
    found = kept(library, model, root)
    if found:  # nothing to write, so the folder may be one that cannot be written
        return found
    files = [root / place.name for place in places]
    problems = [f"{file} is {'not the file that was published' if file.exists() else 'not there'}" for file in files]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with portalocker.Lock(root / f"{model}.lock", flags=portalocker.LockFlags.EXCLUSIVE):
            found = kept(library, model, root)
            if found:
                return found
            for place in places:
                log.info("fetching %s", place.url)
                try:
                    return place.get(root, progress)
                except (OSError, ValueError) as error:  # an error of requests is an OSError
                    problems.append(str(error).rpartition(": ")[0])  # what to do follows once, for all of them
    except OSError as error:
        problems.append(f"{root} cannot be written ({error.strerror or type(error).__name__})")
    listed = "".join(f"\n  - {problem}" for problem in problems)
    raise ValueError(f"{model}'s ImageNet parameters cannot be had:{listed}\nGet {by_hand(library, model, root)}")


def by_hand(library, model, root):
    """What to fetch and where to put it, in words: URL as NAME by hand into `root`, ..."""
    places = sources(library, model)
    wanted = " or ".join(f"{place.url} {'(unpacked) ' * place.url.endswith('.zip')}as {place.name}" for place in places)
    return f"{wanted} by hand into {root}, or name such a file with --weights"


def _unzipped(url, name, sha1, root, progress):
    """Fetch the zip at `url` and put its member `name` into `root`."""
    archive = root / f"{name}.zip"
    download.fetch(url, archive, None, progress)
    try:
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=root) as folder:
            download.unpack(archive, folder)
            file = Path(folder) / name
            if not file.is_file():
                raise ValueError(f"{url} holds no {name}")
            found = digest(file, "sha1")
            if found != sha1:
                raise ValueError(f"{url} sent another file (sha1 {found}, not {sha1})")
            os.replace(file, root / name)
    finally:
        archive.unlink()
    return root / name


def _from_hub(url, name, root, progress):
    """Fetch the safetensors file at `url` into `root`, compared with the SHA-256 that the hub says it has."""
    download.fetch(url, root / name, download.stated_sha256(url), progress)
    try:
        from_timm(root / name)
    except ValueError:
        (root / name).unlink()
        raise
    return root / name


def load_weights(net, file, name):
    """Set every parameter of the network `net` from `file`, a .params of MXNet or a .safetensors of timm's ResNet-50.

    Raises ValueError when one is missing, is left over, does not fit or is not a number: no network is half random.
    """
    file = Path(file)
    if not file.is_file():
        raise ValueError(f"{file}, the file of {name}'s ImageNet parameters, does not exist")
    converted = from_timm(file) if file.suffix == ".safetensors" else None
    with tempfile.TemporaryDirectory() as folder:
        source = str(file)
        if converted:
            source = os.path.join(folder, "converted.params")
            mx.nd.save(source, {key: mx.nd.array(value) for key, value in converted.items()})
        try:
            net.load_parameters(source)
        except (AssertionError, ValueError) as error:  # a parameter is missing, is left over or has another shape
            told = str(error).replace(source, file.name)[:200]
            raise ValueError(f"{file} does not hold the parameters of {name}: {told}; check --weights") from error
        except (OSError, RuntimeError, AttributeError) as error:  # MXNet's own is a RuntimeError; arrays without names
            raise ValueError(f"{file} is not a whole parameter file of {name}: download it again") from error
    parameters = net._collect_params_with_prefix()
    for key, parameter in parameters.items():
        if not np.isfinite(parameter.data().asnumpy()).all():
            raise ValueError(f"{file} does not hold the parameters of {name}: {key} is NaN or infinite")
    told = (name, file, digest(file), len(parameters))
    log.info("%s starts from %s (sha256 %s): all of its %d parameters are set", *told)


def from_timm(file):
    """timm's ResNet-50 as GluonCV names it: {"layer1.0.bn1.gamma": float32 array, ...} of a .safetensors file.

    A convolution or FC layer keeps its names; a batch norm's weight and bias are Gluon's gamma and beta, and its count
    of batches has no place there. Raises ValueError for a broken file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(file)
    except (SafetensorError, OSError, TypeError, AttributeError) as error:  # bfloat16 is a TypeError of NumPy
        raise ValueError(f"{file} is not a whole safetensors file of float32: download timm's again") from error
    if not tensors:
        raise ValueError(f"{file} holds no tensors: download timm's again")
    norms = {name[: -len(".running_mean")] for name in tensors if name.endswith(".running_mean")}
    renamed = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        if kind != "num_batches_tracked":
            kind = {"weight": "gamma", "bias": "beta"}.get(kind, kind) if layer in norms else kind
            renamed[f"{layer}.{kind}"] = np.asarray(tensor, np.float32)
    return renamed
