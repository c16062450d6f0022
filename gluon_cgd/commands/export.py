"""`python -m gluon_cgd export`: a trained model as an ONNX file."""

import json
import tempfile
from pathlib import Path

from gluon_cgd.commands.options import add_model
from gluon_cgd.export import export, int8
from gluon_cgd.models.opened import load_trained


def add_command(p):
    """The flags of `export`."""
    add_model(p, exported=False)
    p.add_argument("--onnx", required=True, metavar="FILE", help="the file to write, model.onnx say")
    p.add_argument("--features", action="store_true", help="have it give what heatmaps take: the last feature maps")
    help_text = "compute convolutions in 8-bit integers, faster and not quite the same, for pictures like those in DIR"
    p.add_argument("--int8", metavar="DIR", help=help_text)
    p.set_defaults(run=command)


def command(options):
    """Export what the command line names, and print how far it is from MXNet."""
    if not options.onnx.endswith(".onnx"):
        raise ValueError(f"--onnx {options.onnx!r} must end in .onnx, by which programs know such files")
    paths = [] if options.int8 is None else int8.calibration(options.int8)
    net, experiment = load_trained(options.checkpoint, options.which)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float32.onnx" if paths else options.onnx
        about = history(options.checkpoint, options.which or "last")
        difference = export(net, experiment, whole, options.features, **about)
        told = f"the largest difference to MXNet is {difference:.1e}"
        if paths:
            cosine = int8.quantise(whole, options.onnx, int8.read(paths, experiment.input_size))
            told += f", and in 8 bits the mean cosine to that {cosine:.5f}, on {len(paths)} pictures"
    print(f"{options.onnx}: {Path(options.onnx).stat().st_size / 1e6:.1f} MB; {told}")


def history(checkpoint, which):
    """What is known of a trained model beside its parameters: {"which", "recall", "seed", "trained_at_commit"}."""
    from gluon_cgd.runs.results import read_result

    if str(checkpoint).endswith(".params"):
        beside = json.loads(Path(checkpoint).with_suffix(".json").read_text(encoding="utf-8"))
        return {key: beside.get(key) for key in ("which", "recall", "seed")}
    result = read_result(Path(checkpoint) / "result.json")
    known = {"which": which, "recall": result[which], "seed": result["seed"]}
    return dict(known, trained_at_commit=result.get("commit"))
