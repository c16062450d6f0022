"""An exported model, run by ONNX Runtime or OpenVINO: pictures to embeddings without MXNet."""

import json
import logging

import numpy as np

from gluon_cgd.evaluate import finite, finite_weights
from gluon_cgd.experiment import Experiment
from gluon_cgd.extensions.whitening import Whitening
from gluon_cgd.files.regular import open_regular
from gluon_cgd.machine import device_names
from gluon_cgd.machine.progress import by_batches
from gluon_cgd.models import onnx_cuda, onnx_file
from gluon_cgd.models.runtimes import LIBRARIES, RUNTIMES
from gluon_cgd.runs.fields import is_number

log = logging.getLogger(__name__)
FORMAT = "gluon_cgd 1"  # what `export` writes, in the file's metadata
FIRST = b"\x08"  # of an ONNX file: the tag of its version


class Exported:
    """A model that `export` wrote, ready for pictures: uint8 (N, input_size, input_size, 3), RGB, an array or a list.

    dim: D, the length of the embedding.  experiment: how it was trained, a dict with the fields of Experiment.
    about: all metadata of the file, a dict: name, which, recall, commit, ...  device: "cpu" or "cuda0", "cuda1", ...
    """

    def __init__(self, compute, about, file, device="cpu"):
        self._compute, self.about, self._file, self.device = compute, about, file, device
        self.experiment, self.input_size, self.dim = (about[key] for key in ("experiment", "input_size", "dim"))

    def embed(self, pictures, batch_size=32):
        """The embeddings of `pictures`: float32 (N, D), of unit length.

        Raises ValueError for pictures of another shape or type, and NotFinite for NaN.
        """
        return self._batches(pictures, batch_size, "embedding", (self.dim,))

    def features(self, pictures, batch_size=32):
        """The last feature maps of `pictures`: float32 (N, C, h, w). Raises ValueError without `export --features`."""
        if not self.about["features"]:
            raise ValueError("the model was exported without its feature maps: export it again with --features")
        return self._batches(pictures, batch_size, "features", tuple(self.about["features"]))

    def projections(self):
        """The FC layers' weights, float32: n x (k, C), of architecture B one (D, n C), [] if it has none.

        Raises as `features` does.
        """
        if self.about.get("fc_layers") == 0 and self.about["features"]:
            return []
        if not self.about.get("projections"):
            raise ValueError("the model was exported without what heatmaps need: export it again with --features")
        picture = np.zeros((1, self.input_size, self.input_size, 3), np.uint8)
        below = self._computed(picture, "projections", tuple(self.about["projections"]))
        finite_weights(below)
        return np.split(below, 1 if self.experiment["architecture"] == "B" else len(self.experiment["descriptors"]))

    def whitening(self):
        """What whitens its embeddings, an `extensions.whitening.Whitening`; None without, or without its features."""
        if not self.about.get("whitening"):
            return None
        picture = np.zeros((1, self.input_size, self.input_size, 3), np.uint8)
        rows = self._computed(picture, "whitening", tuple(self.about["whitening"]))
        mean, (axes, scaled) = rows[0], np.split(finite_weights(rows)[1:].astype(np.float64), 2)
        return Whitening(mean.astype(np.float64), axes, (axes * scaled).sum(axis=1))

    def _batches(self, pictures, batch_size, output, shape):
        side, pictures = self.input_size, np.asarray(pictures)
        if pictures.dtype != np.uint8 or pictures.shape[1:] != (side, side, 3):
            raise ValueError(
                f"pictures are {pictures.dtype} of shape {pictures.shape}: this model takes uint8 of shape "
                f"(N, {side}, {side}, 3), RGB from 0 to 255, resized without keeping the aspect"
            )
        values = np.empty((len(pictures), *shape), np.float32)
        for start in by_batches(len(pictures), batch_size):
            batch = np.ascontiguousarray(pictures[start : start + batch_size])
            values[start : start + batch_size] = self._computed(batch, output, (len(batch), *shape))
        return finite(values, "embedding" if output == "embedding" else "feature map")

    def _computed(self, batch, output, shape):
        """What the graph computes as `output`. Raises ValueError if that is not float32 of `shape`."""
        try:
            values = self._compute(batch, output)
        except Exception as error:  # each runtime raises kinds of its own
            reason = "".join(str(error).strip().splitlines()[:1])[:200]
            remedy = "export it again" if self.device == "cpu" else "free the GPU's memory, or take --ctx cpu"
            raise ValueError(f"{self._file} cannot be computed on {self.device} ({reason}): {remedy}") from error
        if values.shape != shape or values.dtype != np.float32:
            raise ValueError(
                f"{self._file} gives {values.dtype} of shape {values.shape} as {output!r}, where float32 of shape "
                f"{shape} is right: export it again"
            )
        return values


def load_exported(file, runtime="onnxruntime", ctx=None):
    """The Exported model in `file`, computed in float32 by `runtime`, "onnxruntime" or "openvino".

    ctx: "cpu" (default), or for onnxruntime "cuda0", "cuda1", ...; where that GPU cannot be used, or gives other
    embeddings than the CPU, a warning says why and the CPU computes.
    Raises FileNotFoundError for no file, ValueError for one that `export` did not write or that is cut off and for an
    unknown device, and ImportError if the runtime is not installed.
    """
    file = str(file)
    if runtime not in RUNTIMES:
        raise ValueError(f"runtime {runtime!r} is unknown: choose one of {', '.join(RUNTIMES)}")
    (device,) = device_names.parse("cpu" if ctx is None else ctx, LIBRARIES[runtime])
    try:
        with open_regular(file, onnx_file.LIMIT) as handle:
            data = handle.read(1)
            if data == FIRST:  # a runtime would try other formats, some with long messages
                data += handle.read()
    except (FileNotFoundError, IsADirectoryError) as error:
        fault = "is a folder" if isinstance(error, IsADirectoryError) else "does not exist"
        raise FileNotFoundError(
            f"{file} {fault}: an exported model is a file that `python -m gluon_cgd export` writes"
        ) from error
    broken = f"{file} is not a whole ONNX file that {runtime} can run: export it again"
    if not data.startswith(FIRST):
        raise ValueError(broken)
    try:
        onnx_file.check_inside(data, file)
    except ValueError as error:
        raise error if str(error).startswith(file) else ValueError(broken) from error
    try:
        compute, metadata, *ends = RUNTIMES[runtime](data)
    except ImportError as error:
        raise ImportError(f"{runtime} cannot be imported ({error}): python -m pip install {runtime}") from error
    except Exception as error:  # each runtime raises kinds of its own for a broken file
        raise ValueError(broken) from error
    about = parse_metadata(file, metadata)
    check_ends(file, about, *ends)
    if device.kind == "cuda":
        try:
            compute, difference = onnx_cuda.opened(data, device, compute, about["input_size"])
        except onnx_cuda.NotOnCuda as error:
            log.warning("%s is not used and the CPU computes %s, because %s", device.name, file, error)
        else:
            log.info("%s computes %s; its embeddings are within %.0e of the CPU's", device.name, file, difference)
            return Exported(compute, about, file, device.name)
    return Exported(compute, about, file)


def parse_metadata(file, metadata):
    """The `metadata` of `file`, a dict of JSON texts, as values. Raises ValueError for another program's file."""
    try:
        if metadata["format"] != FORMAT:
            raise ValueError(f"format {str(metadata['format'])[:80]!r}")
        about = {key: json.loads(value) for key, value in metadata.items() if key != "format"}
        about.setdefault("projections", None)
        if not isinstance(about["experiment"], dict):
            raise ValueError("no experiment")
        if not all(type(about[key]) is int for key in ("input_size", "dim")):  # a bool is none
            raise ValueError("no sizes")
        experiment = Experiment.from_dict(about["experiment"])
        for key in ("input_size", "dim"):
            if about[key] != getattr(experiment, key):
                raise ValueError(f"{key} {about[key]} and an experiment with {getattr(experiment, key)}")
        for key, length in (("features", 3), ("projections", 2), ("whitening", 2)):
            if about.get(key) is not None and not _is_shape(about[key], length):
                raise ValueError(f"no shape as {key}")
        if not _is_learned(about.get("learned"), experiment.descriptors):
            raise ValueError("no numbers as learned")
        if not isinstance(about["name"], str) or not isinstance(about.get("parameters_sha256", ""), (str, type(None))):
            raise ValueError("no text as name or parameters_sha256")
    except (ValueError, KeyError, TypeError, RecursionError) as error:  # TypeError: a value that is no text
        reason = "too deep brackets" if isinstance(error, RecursionError) else str(error)[:300]
        raise ValueError(
            f"{file} is not a model that this version of gluon_cgd exported ({reason} in its metadata): "
            "write one with `python -m gluon_cgd export`"
        ) from error
    return about


def _is_learned(values, descriptors):
    """Whether `values` can be what the `descriptors` learned: None, or for each of them None or a list of numbers."""
    if values is None:
        return True
    if not isinstance(values, list):
        return False
    numbers = [each for each in values if each is not None]
    return len(values) == len(descriptors) and all(
        isinstance(n, list) and n and all(map(is_number, n)) for n in numbers
    )


def _is_shape(value, length):
    return isinstance(value, list) and len(value) == length and all(type(size) is int and size > 0 for size in value)


def check_ends(file, about, inputs, outputs):
    """Raise ValueError unless the graph of `file` takes and gives what its metadata `about` say.

    inputs, outputs: {name: (type, [size or None, ...])} of the graph.
    """
    side, dim = about["input_size"], about["dim"]
    wanted = {"embedding": ("float32", [None, dim])}
    if about["features"]:
        wanted["features"] = ("float32", [None, *about["features"]])
    for name in ("projections", "whitening"):
        if about.get(name):
            wanted[name] = ("float32", about[name])
    wrong = _difference(inputs, {"pictures": ("uint8", [None, side, side, 3])}, "input")
    wrong = wrong or [f"has the input {name!r}" for name in sorted(inputs) if name != "pictures"]
    wrong = wrong or _difference(outputs, wanted, "output")
    if wrong:
        raise ValueError(f"{file} {wrong[0][:300]}, which no model of gluon_cgd does: export it again")


def _difference(found, wanted, end):
    """What is wrong with the inputs or outputs `found`, in words, one for each."""
    wrong = []
    for name, (kind, sizes) in wanted.items():
        if name not in found:
            wrong.append(f"lacks the {end} {name!r}")
            continue
        own_kind, own = found[name]
        fits = len(own) == len(sizes) and all(size in (None, right) for size, right in zip(own, sizes))
        if own_kind != kind or not fits:
            text = ", ".join("N" if size is None else str(size) for size in own)
            right = ", ".join("N" if size is None else str(size) for size in sizes)
            wrong.append(f"has the {end} {name!r} of {own_kind} ({text}) in place of {kind} ({right})")
    return wrong
