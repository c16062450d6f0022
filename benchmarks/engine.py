"""The PyTorch engine against the same network written by hand in PyTorch: python -m benchmarks.engine --ctx cuda0

The engine trains as `fit` does: it draws batches from uint8 pictures, crops and flips them. The other side has one
batch of finished pictures on the device. Both take turns, each in its own process; the result is the median of ratios.
Where there is no MXNet, --graph names what --write FILE has written where it is.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.turns import Process
from gluon_cgd.engines import environment
from gluon_cgd.experiment import Experiment
from gluon_cgd.machine import device_names, process

CLASSES = 98  # of CARS196 and of the made data set
SIDES = ("ours", "by hand")
PRECISIONS = ("float32", "tf32", "bf16")


def graph(experiment):
    """What the engine needs of MXNet, as JSON: the training graph and the shapes of its parameters."""
    from gluon_cgd import model
    from gluon_cgd.engines import training_graph

    built = training_graph.build(experiment, model.from_experiment(experiment, CLASSES))
    return json.dumps(dict(built.__dict__, experiment=experiment.to_dict(), classes=CLASSES))


def measured(python, variables, rounds):
    """{side: [turn, ...]}: rounds of both sides in turns, after one that only warms up."""
    script = Path(__file__).with_name("engine_sides.py")
    processes = {side: Process(python, script, side, variables) for side in SIDES}
    try:
        for process in processes.values():
            process.turn()
        turns = {side: [] for side in SIDES}
        for _ in range(rounds):
            for side, process in processes.items():
                turns[side].append({**process.turn(), "units": process.units})
    finally:
        for process in processes.values():
            process.end()
    return turns


def row(precision, turns):
    """A line of the table."""
    rates = {side: [turn["units"] / turn["seconds"] for turn in of_side] for side, of_side in turns.items()}
    memory = {side: max((turn["answer"][1:] or [turn["memory"]])[0] for turn in turns[side]) for side in SIDES}
    ratio = statistics.median(one / other for one, other in zip(rates["ours"], rates["by hand"]))
    speeds = [f"{statistics.median(rates[side]):,.1f}" for side in SIDES]
    sizes = [f"{memory[side] / 1e9:.2f}" for side in SIDES]
    cells = (precision, *speeds, f"{ratio:.3f}", *sizes, f"{memory['ours'] / memory['by hand']:.2f}")
    return f"| {' | '.join(cells)} |"


def add_flags(p):
    """The flags of this script."""
    p.add_argument("--ctx", default="cuda0", metavar="NAME", help="cpu, cuda0, cuda1, ... (default: cuda0)")
    p.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), metavar="NAME")
    p.add_argument("--input-size", type=int, default=224, metavar="N", help="side of the pictures (default: 224)")
    p.add_argument("--batch-classes", type=int, default=32, metavar="N", help="of 4 pictures each (default: 32)")
    p.add_argument("--steps", type=int, default=30, metavar="N", help="of a turn (default: 30)")
    p.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each side (default: 5)")
    p.add_argument("--graph", metavar="FILE", help="measure with this Python; FILE is what --write wrote")
    p.add_argument("--write", metavar="FILE", help="only write what --graph needs on a machine without MXNet")


def run(options):
    """Measure, and print the table."""
    if options.graph:
        return compare(options, options.graph, sys.executable, dict(os.environ))
    experiment = Experiment(
        pretrained=False, input_size=options.input_size, batch_classes=options.batch_classes, batch_images=4
    )
    if options.write:
        Path(options.write).write_text(graph(experiment))
        return None
    device_of(options.ctx, environment.interpreter())  # before the graph is built, which takes a while
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.json"
        file.write_text(graph(experiment))
        return compare(options, str(file), environment.interpreter(), environment.variables())


def compare(options, file, python, variables):
    """Print the table of `options`, line by line. python: an interpreter with PyTorch."""
    device = device_of(options.ctx, python)
    here = {"BENCHMARK_GRAPH": file, "BENCHMARK_DEVICE": device, "BENCHMARK_STEPS": str(options.steps)}
    places = [str(Path(__file__).resolve().parents[1]), variables.get("PYTHONPATH")]
    here["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    started = time.time()
    print(
        "| precision | ours, pictures/s | by hand | ratio | ours, GB | by hand | ratio |\n|---|---|---|---|---|---|---|"
    )
    for precision in options.precisions:
        turns = measured(python, {**variables, **here, "BENCHMARK_PRECISION": precision}, options.rounds)
        print(row(precision, turns), flush=True)
    size = f"batches of {4 * options.batch_classes} at {options.input_size} pixels"
    name = "import torch, sys; on = sys.argv[1]; "
    name += "print(torch.cuda.get_device_name(on) if on != 'cpu' else 'a CPU', torch.__version__)"
    said = subprocess.run([python, "-c", name, device], capture_output=True, text=True, check=True).stdout.strip()
    print(f"ResNet-50, SG, 1,536 dimensions, {size}, on {said}: {time.time() - started:.0f} seconds")


def device_of(ctx, python):
    """PyTorch's name of the device `ctx`: "cuda:0" of cuda0. Raises ValueError if `python`'s PyTorch has it not."""
    found = device_names.parse(ctx, "PyTorch")
    if len(found) > 1 or found[0].kind == "mps":
        raise ValueError(f"--ctx {ctx}: one device is measured, cpu or cuda0, cuda1, ...: name one of these")
    if found[0].kind == "cpu":
        return "cpu"
    there = len(environment.devices(python)["cuda"])
    if found[0].number >= there:
        raise ValueError(f"--ctx {ctx}: PyTorch can use {there} GPUs of NVIDIA here; take another one, or --ctx cpu")
    return f"cuda:{found[0].number}"


def main(arguments=None):
    """The exit status of the script."""
    parser = argparse.ArgumentParser("python -m benchmarks.engine", description=__doc__.splitlines()[0])
    add_flags(parser)
    options = parser.parse_args(arguments)
    with process.shown(parser.prog, "gluon_cgd"):
        return process.exit_status(lambda: run(options)) or 0


if __name__ == "__main__":
    sys.exit(main())
