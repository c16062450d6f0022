"""The same steps by MXNet and by the PyTorch engine, in float32 and in float64, and how far they are apart.

python -m tests.engines.parity prints the table of docs/engines.md, in some ten minutes; names after it choose rows.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import tempfile
from pathlib import Path
from unittest.mock import patch

import mxnet as mx
import numpy as np

from gluon_cgd import model
from gluon_cgd.backbones import BACKBONES
from gluon_cgd.engines import draws, environment, graph, training_graph
from gluon_cgd.experiment import CLASSIFICATION_LOSSES, CONFIGURATIONS, LOSSES, Experiment

CLASSES, IMAGES = 4, 2  # of a batch
RATE, DECAY = 1e-4, 1e-4
SMALL = Experiment(backbone="cifar_resnet10", pretrained=False, input_size=16, dim=24, weight_decay=DECAY)
CASES = {
    **{loss: {"loss": loss} for loss in LOSSES},
    "without classification": {"classification": False},
    "architecture A": {"architecture": "A", "descriptors": "SMG"},
    "architecture A, margin": {"architecture": "A", "loss": "margin"},
    "architecture B": {"architecture": "B", "descriptors": "SMG"},
    "sum": {"combine": "sum"},
    "frozen batch norm": {"frozen_batch_norm": True},
    "GeM, p = 2.5": {"gem_p": 2.5, "descriptors": "G"},
    **{configuration: {"descriptors": configuration} for configuration in CONFIGURATIONS},
    **{letters: {"descriptors": letters} for letters in (*"PQARWC", "AR")},
    **{loss: {"classification_loss": loss} for loss in CLASSIFICATION_LOSSES[1:]},
}
EXPERIMENTS = {name: dataclasses.replace(SMALL, **changes) for name, changes in CASES.items()}
LARGE = ("resnet101", "resnext101", "wide_resnet50", "efficientnet_b5")  # at 64 pixels they take minutes in float64
for name in BACKBONES:
    side = 32 if name.startswith(("small_", "cifar_")) or name in LARGE else 64
    EXPERIMENTS[name] = dataclasses.replace(SMALL, backbone=name, input_size=side, frozen_batch_norm=False)


def steps_of(name):
    """How many steps are taken: 20 of Adam, and one by the large networks, for which float64 is slow."""
    return 1 if EXPERIMENTS[name].input_size > 32 or name in LARGE else 20


def of_kind(text, kind):
    """The symbol of a training graph for numbers of `kind`, and the names of its random inputs.

    What it draws becomes an input: in float64 MXNet would draw other numbers.
    """
    read = graph.parse(text)
    drawn = [node for node in read.nodes if node.op == "_random_uniform_like"]
    for number, node in enumerate(drawn):
        node.op, node.name, node.inputs, node.attributes = "null", f"drawn{number}", [], {}
    for node in read.nodes:
        if node.op == "Cast":
            node.attributes["dtype"] = kind
    return graph.write(read), [node.name for node in drawn]


class Peer:
    """MXNet's side: the graph of an experiment, bound with numbers of `kind`, and its Adam."""

    def __init__(self, built, values, kind, decay):
        self.built, self.kind = built, kind
        symbol, self.drawn = of_kind(built.text, kind)
        self.arrays = {name: self.array(value) for name, value in values.items()}
        size = CLASSES * IMAGES
        for name in self.drawn:
            self.arrays[name] = self.array(np.zeros((size, size)))
        self.gradients = {name: self.array(np.zeros(values[name].shape)) for name in built.learned}
        arguments = {name: self.arrays[name] for name in symbol.list_arguments()}
        self.states = {name: self.arrays[name] for name in symbol.list_auxiliary_states()}
        # More than eight gradients of one array are added in place, where MXNet's convolution in float64 goes wrong
        # (descriptors A and R together, by finite differences); in float32, by oneDNN, it is right
        with patch.dict(os.environ, MXNET_EXEC_INPLACE_GRAD_SUM_CAP="100"):
            self.bound = symbol.bind(mx.cpu(), arguments, self.gradients, "write", aux_states=self.states)
        self.adam = mx.optimizer.Adam(learning_rate=RATE, wd=decay)
        self.moments = {name: self.adam.create_state(name, self.arrays[name]) for name in built.learned}

    def array(self, value):
        return mx.nd.array(value, dtype=self.kind)

    def step(self, pictures, labels, seed):
        """{head: value} and {name: gradient} of a batch; then an update."""
        uniform = draws.Uniform(seed)
        for name, value in (("data", pictures), ("label", labels)):
            self.arrays[name][:] = self.array(value)
        for name in self.drawn:
            self.arrays[name][:] = self.array(uniform.draw(self.arrays[name].shape))
        outputs = dict(zip(self.built.heads, self.bound.forward(is_train=True)))
        self.bound.backward([mx.nd.ones_like(v) * (h in LOSS_HEADS) for h, v in outputs.items()])
        mx.nd.waitall()
        found = copied(outputs), copied(self.gradients)
        for name in self.built.learned:
            self.adam.update(name, self.arrays[name], self.gradients[name], self.moments[name])
        return found


LOSS_HEADS = ("ranking", "classification")


def copied(arrays):
    return {name: value.asnumpy() for name, value in arrays.items()}


def write(file, experiment, steps):
    """Write what MXNet makes of `steps` steps of `experiment`, and all that another engine needs to do the same."""
    mx.random.seed(0)
    net = model.from_experiment(experiment, CLASSES)
    built = training_graph.build(experiment, net)
    parameters = net._collect_params_with_prefix()
    values = {name: parameters[name].data().asnumpy() for name in built.shapes}
    rng, size = np.random.default_rng(0), experiment.input_size
    pictures = pictures_of(rng, steps, size)
    labels = np.arange(CLASSES * IMAGES, dtype=np.float32) // IMAGES
    about = dict(text=built.text, heads=built.heads, learned=built.learned, rate=RATE, decay=experiment.weight_decay)
    arrays = {"about": np.array(json.dumps(about)), "pictures": pictures, "labels": labels, **named("value", values)}
    inputs = {"data": pictures[0], "label": labels}
    for kind in ("float32", "float64"):
        peer = Peer(built, {**values, **inputs}, kind, experiment.weight_decay)
        means = []
        for number in range(steps):
            heads, gradients = peer.step(pictures[number], labels, seed=number)
            means.append([float(heads[head][0]) for head in LOSS_HEADS if head in heads])
            if number == 0:
                arrays.update({**named(f"{kind} head", heads), **named(f"{kind} gradient", gradients)})
                arrays.update(named(f"{kind} statistic", copied(peer.states)))
        arrays.update({f"{kind} means": np.array(means), **named(f"{kind} end", copied(peer.arrays))})
    np.savez(file, **arrays)


def pictures_of(rng, steps, size):
    """(steps, B, 3, size, size): coloured squares. A network sees little difference between pictures of noise alone."""
    shape = (steps, CLASSES * IMAGES)
    contrast, colour = rng.uniform(0.4, 4, (*shape, 1, 1, 1)), 2 * rng.standard_normal((*shape, 3, 1, 1))
    tiles = contrast * rng.standard_normal((*shape, 3, 4, 4)) + colour
    pictures = np.kron(tiles, np.ones((size // 4, size // 4)))
    return (pictures + 0.2 * rng.standard_normal(pictures.shape)).astype(np.float32)


def named(what, arrays):
    return {f"{what}:{name}": value for name, value in arrays.items()}


class Torch:
    """The PyTorch engine's side: a process that reads such files and answers how far it is from MXNet."""

    def __init__(self, python, folder):
        self.file = Path(folder) / "steps.npz"
        self.command = [str(python), str(Path(__file__).with_name("parity_in_torch.py"))]
        self.start()

    def start(self):
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = subprocess.Popen(self.command, env=environment.variables(), **pipes)

    def compare(self, name):
        """{what: how far apart}, see parity_in_torch.py."""
        write(self.file, EXPERIMENTS[name], steps_of(name))
        self.process.stdin.write(f"{self.file}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        self.file.unlink()
        if not answer or name in LARGE:  # what a large network took is given back with the process
            self.close()
            self.start()
        assert answer, "the process in PyTorch has ended: see what it said on stderr"
        return json.loads(answer)

    def close(self):
        self.process.communicate()


COLUMNS = {  # heading: what is apart, and MXNet's own rounding of the same
    "float64: loss": ("loss64",),
    "embedding": ("embedding64",),
    "gradient": ("gradient64",),
    "statistics": ("statistics64",),
    "way of all steps": ("way64",),
    "float32: loss (MXNet's rounding)": ("loss", "loss_of_mxnet"),
    "embedding (MXNet's rounding)": ("embedding", "embedding_of_mxnet"),
    "1 - cosine of gradients": ("cosine",),
    "gradient's error (MXNet's)": ("gradient", "gradient_of_mxnet"),
    "statistics ": ("statistics",),
    "loss of the last step": ("steps",),
}


def cell(value, what):
    return f"({value:.0e})" if what.endswith("_of_mxnet") else f"{value:.0e}"


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m tests.engines.parity")
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows of the table (default: all)")
    names = parser.parse_args(arguments).names
    print(f"| | {' | '.join(COLUMNS)} |\n|{'---|' * (1 + len(COLUMNS))}")
    with tempfile.TemporaryDirectory() as folder:
        there = Torch(environment.interpreter(), folder)
        for name in EXPERIMENTS:
            if names and name not in names:
                continue
            found = there.compare(name)
            cells = [" ".join(cell(found[what], what) for what in columns) for columns in COLUMNS.values()]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
        there.close()


if __name__ == "__main__":
    main()
