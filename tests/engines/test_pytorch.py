import dataclasses
import json
import subprocess
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd import model
from gluon_cgd.engines import environment, training_graph

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(environment.found() is None, reason="no environment with PyTorch (see docs/engines.md)"),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What network_in_torch.py found with a small network and the margin loss, and MXNet's embeddings in inference."""
    from gluon_cgd.experiment import Experiment

    experiment = Experiment(backbone="cifar_resnet10", pretrained=False, input_size=16, dim=8, loss="margin")
    mx.random.seed(0)
    net = model.from_experiment(dataclasses.replace(experiment, descriptors="SMG", dim=12), 4)
    built = training_graph.build(experiment, net)
    parameters = net._collect_params_with_prefix()
    pictures = np.random.default_rng(0).standard_normal((8, 3, 16, 16)).astype(np.float32)
    pictures += 2 * np.random.default_rng(1).standard_normal((8, 3, 1, 1)).astype(np.float32)
    file = tmp_path_factory.mktemp("network") / "network.npz"
    about = dict(text=built.text, heads=built.heads, learned=built.learned)
    values = {f"value:{name}": parameters[name].data().asnumpy() for name in built.shapes}
    np.savez(file, about=np.array(json.dumps(about)), pictures=pictures, labels=np.arange(8) // 2, **values)
    command = [str(environment.found()), str(Path(__file__).with_name("network_in_torch.py")), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment.variables(), check=False)
    assert not done.returncode, done.stderr
    return {**json.loads(done.stdout), "expected": net(mx.nd.array(pictures))[0].asnumpy()}


def test_it_has_the_parameters_of_a_params_file_and_learns_those_that_training_changes(found):
    assert found["names"]
    assert found["learned"]


def test_the_losses_of_outputs_that_are_there_are_those_of_the_whole(found):
    assert max(found["halves"]) == 0
    assert found["halves' gradient"] < 1e-6


def test_bfloat16_is_for_convolutions_and_the_losses_stay_in_float32(found):
    assert 0.98 < found["bf16"] < 1
    assert found["bf16 kinds"] == ["torch.float32"] * 3


def test_inference_is_that_of_mxnet_needs_no_label_and_changes_nothing(found):
    np.testing.assert_allclose(found["inference"], found["expected"], atol=1e-5)
    assert found["unchanged"]
    assert found["same again"]


def test_what_is_missing_is_named(found):
    assert found["no label"] == "the heads that are asked for need the input label: give it"
    assert "draws random numbers (the margin loss): give uniform" in found["no numbers"]
    assert found["no value"].startswith("parameter backbone.")
    assert found["not there"].startswith("parameter x.weight is only in the graph or only beside it")
