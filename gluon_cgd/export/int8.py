"""An exported model whose convolutions compute in 8-bit integers: faster on a CPU, and slightly less exact."""

import contextlib
import io
import json
import tempfile
from pathlib import Path

import numpy as np

from gluon_cgd.datasets import images
from gluon_cgd.datasets.folders import pictures_in
from gluon_cgd.files.whole import replacing
from gluon_cgd.machine import facts
from gluon_cgd.machine.progress import task
from gluon_cgd.models import onnx_model

PICTURES = 128  # to calibrate with
BATCH = 8  # pictures at once, at most: the calibration needs batches of one size
LEAST = 0.9  # mean cosine to the float32 model's embeddings; a model below that is not kept


def calibration(folder):
    """The paths of up to PICTURES pictures in `folder`, spread evenly over all of them.

    Raises ValueError for a folder without pictures, and ImportError as `quantise` does, before anything is exported.
    """
    _needed()
    paths = pictures_in(folder, "--int8")
    return paths[:: -(-len(paths) // PICTURES)]


def read(paths, side):
    """The pictures in the files `paths`: uint8 (N, side, side, 3). Raises ValueError for one that cannot be read."""
    return np.stack([images.load_picture(path, side) for path in paths])


def quantise(file, out, pictures):
    """Write the exported model `file` with 8-bit convolutions to `out`; return the mean cosine of the two embeddings.

    pictures: uint8 (N, side, side, 3), like those that it will be used on. They decide the range of each activation,
    without the largest 0.001 % of its values. Weights have 7 bits and a scale for each channel, so that no sum of two
    products overflows on processors without VNNI. The first convolution, and all after the last, stay in float32.
    Raises ImportError if onnxruntime's quantisation, or what it needs, is not installed, and ValueError, leaving no
    file, if the mean cosine is below LEAST.
    """
    onnx, quantisation, preprocess = _needed()
    model = onnx_model.load_exported(file)
    properties = {entry.key: entry.value for entry in onnx.load(str(file), load_external_data=False).metadata_props}
    with tempfile.TemporaryDirectory() as folder:
        folded, small = str(Path(folder) / "folded.onnx"), str(Path(folder) / "int8.onnx")
        preprocess(str(file), folded, skip_symbolic_shape=True)  # batch norms become part of the convolutions
        first = _named(onnx, folded)
        doing = task("calibrating", len(pictures), "pictures")
        with doing as bar, contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
            quantisation.quantize_static(
                folded,
                small,
                _Batches(pictures, bar),
                op_types_to_quantize=["Conv"],
                nodes_to_exclude=[first],
                calibrate_method=quantisation.CalibrationMethod.Percentile,
                quant_format=quantisation.QuantFormat.QDQ,
                activation_type=quantisation.QuantType.QUInt8,
                weight_type=quantisation.QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
            )
        quantised = onnx.load(small)
    # A hash of its own: an index of the float32 model must not be searched with this one
    own = json.dumps(f"{json.loads(properties['parameters_sha256'])} in 8 bits")
    onnx.helper.set_model_props(quantised, {**properties, "parameters_sha256": own, "int8": "true"})
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary:
        Path(temporary).write_bytes(quantised.SerializeToString(deterministic=True))
        mean = cosine(model, onnx_model.load_exported(temporary), pictures)
        if not mean >= LEAST:  # also true for NaN
            raise ValueError(
                f"in 8 bits the mean cosine to the model is {mean:.3f}, where {LEAST} is the least: nothing is "
                "written, leave --int8 out"
            )
        return mean


def _named(onnx, file):
    """Give every node of the graph in `file` a name; returns the name of the first Conv, which stays in float32."""
    model = onnx.load(file)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node{number}"
    onnx.save(model, file)
    return next(node.name for node in model.graph.node if node.op_type == "Conv")


def cosine(model, other, pictures):
    """The mean cosine of two exported models' embeddings of the same pictures."""
    return float(np.einsum("nd,nd->n", model.embed(pictures), other.embed(pictures)).mean())


class _Batches:
    """Pictures in the form in which onnxruntime's calibration reads them."""

    def __init__(self, pictures, bar):
        size = next(size for size in range(BATCH, 0, -1) if len(pictures) % size == 0)
        self._batches = iter([pictures[start : start + size] for start in range(0, len(pictures), size)])
        self._bar = bar

    def get_next(self):
        """The next batch, or None at the end."""
        batch = next(self._batches, None)
        self._bar.update(0 if batch is None else len(batch))
        return None if batch is None else {"pictures": np.ascontiguousarray(batch)}


def _needed():
    try:
        import onnx
        import onnxruntime.quantization as quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise ImportError(
            f"8-bit models need onnx, onnxruntime and sympy ({error}): {facts.install('requirements-extra.txt')}"
        ) from error
    return onnx, quantization, quant_pre_process
