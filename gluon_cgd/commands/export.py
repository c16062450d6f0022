"""`python -m gluon_cgd export`: a trained model as an ONNX file."""

import tempfile
from pathlib import Path

from gluon_cgd.commands.options import OWN_RUN, add_model, choose_model, name
from gluon_cgd.commands.output import say
from gluon_cgd.datasets.training_part import carried
from gluon_cgd.export import export, int8
from gluon_cgd.files.whole import check_target
from gluon_cgd.models.opened import check_flags, load_trained
from gluon_cgd.runs.results import read_result


def add_command(p):
    """The flags of `export`."""
    p.description = (
        "Writes a trained model as one ONNX file, which --model of the other commands takes and which needs no MXNet. "
        "Prints the largest difference of its embeddings to MXNet's; a file that differs by more than rounding is not "
        "kept."
    )
    add_model(p, exported=False, default=OWN_RUN)
    p.add_argument("--onnx", required=True, type=name, metavar="FILE", help="the file to write, for example model.onnx")
    help_text = "include what heatmaps need: the last feature maps and the FC layers' weights"
    p.add_argument("--features", action="store_true", help=help_text)
    help_text = "compute convolutions in 8-bit integers, calibrated on the pictures in DIR: faster, slightly less exact"
    p.add_argument("--int8", type=name, metavar="DIR", help=help_text)
    p.set_defaults(run=command)


def command(options):
    """Export a model and print how far its embeddings are from MXNet's."""
    if not options.onnx.endswith(".onnx"):
        raise ValueError(f"--onnx {options.onnx!r} must end in .onnx, the suffix of such files")
    check_target(options.onnx)
    paths = [] if options.int8 is None else int8.calibration(options.int8)
    choose_model(options)
    net, experiment, about = load(options)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float32.onnx" if paths else options.onnx
        difference = export(net, experiment, whole, options.features, **about)
        words = f"the largest difference to MXNet is {difference:.1e}"
        if paths:
            cosine = int8.quantise(whole, options.onnx, int8.read(paths, experiment.input_size))
            words += f", and in 8 bits the mean cosine to that {cosine:.5f}, on {len(paths)} pictures"
    say(f"{options.onnx}: {Path(options.onnx).stat().st_size / 1e6:.1f} MB; {words}")


def load(options):
    """(network, Experiment, what is known of the model) of the model that `options` name."""
    if options.pretrained:
        from gluon_cgd.models.pretrained import load_pretrained, name_of  # it needs MXNet

        check_flags(options.which, options.weights, options.input_size, options.pretrained)
        net, experiment, _ = load_pretrained(options.pretrained, options.weights, options.input_size)
        return net, experiment, dict(name=name_of(experiment), pretrained=options.pretrained)
    check_flags(options.which, options.weights, options.input_size)
    net, experiment = load_trained(options.checkpoint, options.which)
    return net, experiment, history(options.checkpoint, options.which or "last")


def history(checkpoint, which):
    """What the run, or the published file, says of its model: its recall, its training pictures, a run's commit."""
    if checkpoint.endswith(".params"):
        from gluon_cgd.models.zoo import read_description  # it needs MXNet

        beside = read_description(checkpoint)
        return {**{key: beside.get(key) for key in ("which", "recall", "seed")}, **carried(beside)}
    result = read_result(Path(checkpoint) / "result.json")
    about = dict(which=which, recall=result[which], seed=result["seed"], trained_at_commit=result.get("commit"))
    return {**about, **carried(result)}
