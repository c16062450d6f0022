"""An exported model, run by ONNX Runtime or OpenVINO: pictures to embeddings without MXNet."""

import json
from pathlib import Path

import numpy as np

from gluon_cgd.machine import facts

FORMAT = "gluon_cgd 1"  # what `export` writes, in the file's metadata
FIRST = b"\x08"  # of an ONNX file: the tag of its version


class Exported:
    """A model that `export` wrote, ready for pictures: uint8 (N, input_size, input_size, 3), RGB, an array or a list.

    dim: D, the length of the embedding.  experiment: how it was trained, a dict with the fields of Experiment.
    about: all metadata of the file, a dict: name, which, recall, commit, ...
    """

    def __init__(self, compute, about):
        self._compute, self.about = compute, about
        self.experiment, self.input_size, self.dim = (about[key] for key in ("experiment", "input_size", "dim"))

    def embed(self, pictures, batch_size=32):
        """The embeddings of `pictures`: float32 (N, D), of unit length.

        Raises ValueError for pictures of another shape or type.
        """
        return self._batches(pictures, batch_size, "embedding", (self.dim,))

    def features(self, pictures, batch_size=32):
        """The last feature maps of `pictures`: float32 (N, C, h, w). Raises ValueError without `export --features`."""
        if not self.about["features"]:
            raise ValueError("the model was exported without its feature maps: export it again with --features")
        return self._batches(pictures, batch_size, "features", tuple(self.about["features"]))

    def projections(self):
        """The FC layers' weights, float32: n x (k, C), of architecture B one (D, n C). Raises as `features` does."""
        if not self.about.get("projections"):
            raise ValueError("the model was exported without what heatmaps need: export it again with --features")
        below = self._compute(np.zeros((1, self.input_size, self.input_size, 3), np.uint8), "projections")
        return np.split(below, 1 if self.experiment["architecture"] == "B" else len(self.experiment["descriptors"]))

    def _batches(self, pictures, batch_size, output, shape):
        side, pictures = self.input_size, np.asarray(pictures)
        if pictures.dtype != np.uint8 or pictures.shape[1:] != (side, side, 3):
            raise ValueError(
                f"pictures are {pictures.dtype} of shape {pictures.shape}: this model takes uint8 of shape "
                f"(N, {side}, {side}, 3), RGB from 0 to 255, resized without keeping the aspect"
            )
        values = np.empty((len(pictures), *shape), np.float32)
        for start in range(0, len(pictures), batch_size):
            batch = np.ascontiguousarray(pictures[start : start + batch_size])
            values[start : start + batch_size] = self._compute(batch, output)
        return values


def load_exported(file, runtime="onnxruntime"):
    """The Exported model in `file`, computed in float32 on the CPU by `runtime`, "onnxruntime" or "openvino".

    Raises FileNotFoundError for no file, ValueError for one that `export` did not write or that is cut off, and
    ImportError if the runtime is not installed.
    """
    file = str(file)
    if runtime not in RUNTIMES:
        raise ValueError(f"runtime {runtime!r} is unknown: choose one of {', '.join(RUNTIMES)}")
    if not Path(file).is_file():
        fault = "is a folder" if Path(file).is_dir() else "does not exist"
        raise FileNotFoundError(f"{file} {fault}: an exported model is a file that `python -m gluon_cgd export` writes")
    try:
        with open(file, "rb") as handle:
            if handle.read(1) != FIRST:  # a runtime would try other formats, some with long messages
                raise ValueError("another kind of file")
        compute, metadata = RUNTIMES[runtime](file)
    except ImportError as error:
        raise ImportError(f"{runtime} cannot be imported ({error}): python -m pip install {runtime}") from error
    except Exception as error:  # each runtime raises kinds of its own for a broken file
        raise ValueError(f"{file} is not a whole ONNX file that {runtime} can run: export it again") from error
    return Exported(compute, parse_metadata(file, metadata))


def parse_metadata(file, metadata):
    """The `metadata` of `file`, a dict of JSON texts, as values. Raises ValueError for another program's file."""
    try:
        if metadata["format"] != FORMAT:
            raise ValueError(f"format {metadata['format']!r}")
        about = {key: json.loads(value) for key, value in metadata.items() if key != "format"}
        if not (isinstance(about["experiment"], dict) and isinstance(about["features"], (list, type(None)))):
            raise ValueError("no experiment")
        if not (isinstance(about["input_size"], int) and isinstance(about["dim"], int)):
            raise ValueError("no sizes")
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{file} is not a model that this version of gluon_cgd exported ({error} in its metadata): "
            "write one with `python -m gluon_cgd export`"
        ) from error
    return about


def _onnxruntime(file):
    """(function of uint8 pictures and an output's name, metadata) of `file`, by ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = facts.cores()
    options.log_severity_level = 3  # errors; they are raised too
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    return lambda pictures, output: session.run([output], {"pictures": pictures})[0], metadata


def _openvino(file):
    """The same by OpenVINO, in float32: on some processors its default is bfloat16."""
    import openvino

    core = openvino.Core()
    graph = core.read_model(file)
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": facts.cores()}
    compiled = core.compile_model(graph, "CPU", config)
    known = graph.get_rt_info(["framework"]) if graph.has_rt_info(["framework"]) else {}
    known = getattr(known, "value", known)
    metadata = {key: getattr(value, "value", value) for key, value in known.items()}
    return lambda pictures, output: compiled({"pictures": pictures})[output], metadata


RUNTIMES = {"onnxruntime": _onnxruntime, "openvino": _openvino}
