"""MXNet's side of tests/engines/parity.py: reads lines "NAME FILE" from stdin and answers each when FILE is written.

Its process starts with MXNET_EXEC_INPLACE_GRAD_SUM_CAP=100, which MXNet reads once in a process. Otherwise more than
eight gradients of one array are added in place, where its convolution in float64 goes wrong (descriptors A and R
together, by finite differences); in float32, by oneDNN, it is right.
"""

import json
import sys

import mxnet as mx
import numpy as np

from gluon_cgd import model
from gluon_cgd.engines import draws, graph, training_graph
from tests.engines.parity import CLASSES, EXPERIMENTS, IMAGES, RATE, steps_of

LOSS_HEADS = ("ranking", "classification")


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
    """The graph of an experiment, bound with numbers of `kind`, and its Adam."""

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


def main():
    for line in sys.stdin:
        name, _, file = line.rstrip("\n").rpartition("\t")
        write(file, EXPERIMENTS[name], steps_of(name))
        print(name, flush=True)


if __name__ == "__main__":
    main()
