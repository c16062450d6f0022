import dataclasses

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from gluon_cgd import model
from gluon_cgd.engines import graph, training_graph
from gluon_cgd.learner import Learner

KINDS = {
    "the paper's": {},
    "ranking alone": {"classification": False},
    "a sum": {"combine": "sum"},
    "architecture A": {"architecture": "A"},
    "architecture B": {"architecture": "B"},
    "margin loss": {"loss": "margin"},
}


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def experiment(request, small_experiment):
    return dataclasses.replace(small_experiment, **request.param)


def network(experiment):
    mx.random.seed(3)
    return model.from_experiment(experiment, 4)


def test_the_graph_computes_what_a_learner_computes(experiment):
    net = network(experiment)
    built = training_graph.build(experiment, net)
    pictures, labels = mx.nd.random.normal(shape=(8, 3, 16, 16)), mx.nd.array(np.arange(8) // 2)
    parameters = net._collect_params_with_prefix()
    values = {name: parameters[name].data().copy() for name in built.shapes}
    symbol = mx.sym.load_json(built.text)
    gradients = {name: mx.nd.zeros_like(values[name]) for name in built.learned}
    arguments = {name: values[name] for name in symbol.list_arguments() if name in values}
    states = {name: values[name] for name in symbol.list_auxiliary_states()}
    bound = symbol.bind(
        mx.cpu(), {"data": pictures, "label": labels, **arguments}, gradients, "write", aux_states=states
    )
    mx.random.seed(5)
    outputs = bound.forward(is_train=True)
    heads = dict(zip(built.heads, outputs))
    bound.backward([mx.nd.ones(1) if name in ("ranking", "classification") else 0 * heads[name] for name in heads])
    learner = Learner(experiment, net, mx.cpu())
    mx.random.seed(5)
    with autograd.record():
        embedding, logits, branches = net(pictures)
        means, loss = learner.losses((embedding, logits, branches), labels)
    loss.backward()
    expected = dict(zip(("ranking", "classification"), means), embedding=embedding, logits=logits)
    expected.update((f"branch{number}", branch) for number, branch in enumerate(branches))
    assert list(heads) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(heads[name].asnumpy(), value.asnumpy(), rtol=1e-4, atol=1e-5, err_msg=name)
    assert {parameters[name] for name in built.learned} == set(learner.learned)
    for name in built.learned:
        one, other = gradients[name].asnumpy(), parameters[name].grad().asnumpy()
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3 * np.abs(other).max() + 1e-7, err_msg=name)


def test_the_names_are_those_of_a_params_file_and_do_not_count_networks(small_experiment):
    first, second = (training_graph.build(small_experiment, network(small_experiment)) for _ in range(2))
    assert (first.heads, first.learned, first.shapes) == (second.heads, second.learned, second.shapes)
    variables = {node.name for node in graph.parse(first.text).nodes if node.op == "null"}
    parameters = network(small_experiment)._collect_params_with_prefix()
    assert variables - {"data", "label"} == set(first.shapes) == set(parameters)
    assert first.shapes["reductions.0.weight"] == (4, 128)


def test_frozen_batch_norms_and_an_unused_classifier_are_not_learned(small_experiment):
    learned = {}
    for changes in ({}, {"frozen_batch_norm": True}, {"classification": False}):
        experiment = dataclasses.replace(small_experiment, **changes)
        learned[str(changes)] = set(training_graph.build(experiment, network(experiment)).learned)
    everything, frozen, ranking = learned.values()
    assert {name.rsplit(".", 1)[1] for name in everything - frozen} == {"gamma", "beta"}
    assert all(name.startswith("backbone.") for name in everything - frozen)
    assert everything - ranking == {name for name in everything if name.startswith("classifier.")}
