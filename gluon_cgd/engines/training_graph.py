"""The whole training graph of an Experiment as one MXNet symbol: network, descriptors, classifier and both losses."""

from dataclasses import dataclass
from typing import Dict, Tuple

import mxnet as mx
from mxnet.gluon import HybridBlock

from gluon_cgd import losses
from gluon_cgd.engines import graph
from gluon_cgd.experiment import Experiment
from gluon_cgd.learner import means_of

PICTURES, LABELS = "data", "label"  # the inputs of the graph


@dataclass(frozen=True)
class TrainingGraph:
    """What another engine needs to know of an experiment's network; all of it is plain text.

    Inputs of the graph: "data", normalised pictures (B, 3, H, W) in float32, and "label" (B,), counted from 0. Its
    other variables are the parameters, by the names that they have in a .params file.
    """

    text: str  # the graph as JSON: `graph.parse` reads it
    heads: Tuple[str, ...]  # names of its heads, in order: "ranking", "classification" (both means), "embedding", ...
    learned: Tuple[str, ...]  # the parameters that training changes
    shapes: Dict[str, Tuple[int, ...]]  # of all parameters in the graph


def build(experiment: Experiment, net: HybridBlock) -> TrainingGraph:
    """The graph of a step of `experiment` with `net`, a network of `model.from_experiment`.

    Heads: "ranking", the mean of the ranking loss (1,); "classification", of the other loss, if there is one;
    "embedding" (B, D), "logits" (B, M), "branch0", "branch1", ... (B, D / n). The loss is the sum of the means.
    """
    outputs = embedding, logits, branches = net(mx.sym.var(PICTURES))
    ranking = losses.RANKING[experiment.loss](experiment)
    classification = losses.CLASSIFICATION[experiment.classification_loss](experiment)
    means = means_of(mx.sym, experiment, ranking, classification, outputs, mx.sym.var(LABELS))
    heads = dict(zip(("ranking", "classification"), means), embedding=embedding, logits=logits)
    heads.update((f"branch{number}", branch) for number, branch in enumerate(branches))
    read = graph.read(mx.sym.Group(list(heads.values())))
    # Gluon counts its blocks: the name of a parameter says how many networks this process has made
    parameters = net._collect_params_with_prefix()
    named = {parameter.name: name for name, parameter in parameters.items()}
    variables = [node for node in read.nodes if node.op == "null" and node.name not in (PICTURES, LABELS)]
    for node in variables:
        node.name, node.attributes = named[node.name], {}
    learned = [node.name for node in variables if parameters[node.name].grad_req != "null"]
    unused = [] if experiment.classification else [name for name in learned if name.startswith("classifier.")]
    return TrainingGraph(
        graph.text_of(read),
        tuple(heads),
        tuple(name for name in learned if name not in unused),
        {node.name: tuple(parameters[node.name].shape) for node in variables},
    )
