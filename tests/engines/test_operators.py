"""Operator by operator: PyTorch's values and gradients are MXNet's, also among equal values."""

import json
import subprocess
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd.engines import environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(environment.found() is None, reason="no environment with PyTorch (see docs/engines.md)"),
]
S = mx.sym
# Whole numbers have many equal ones among them; 0 and 6 are borders
TIES = np.random.default_rng(0).integers(-2, 8, (2, 4, 6, 6)).astype(np.float32)
REAL = np.random.default_rng(1).standard_normal((2, 4, 6, 6)).astype(np.float32)
MATRIX, OTHER = REAL[0, 0], REAL[1, 1]


def window(**how):
    return lambda x: S.Pooling(x, kernel=(3, 3), stride=(2, 2), **how)


CASES = {  # name -> (a function of variables, their values)
    "relu": (S.relu, [TIES]),
    "Activation relu": (lambda x: S.Activation(x, act_type="relu"), [TIES]),
    "Activation sigmoid": (lambda x: S.Activation(x, act_type="sigmoid"), [REAL]),
    "Activation tanh": (lambda x: S.Activation(x, act_type="tanh"), [REAL]),
    "Activation softrelu": (lambda x: S.Activation(x, act_type="softrelu"), [3 * TIES]),
    "clip": (lambda x: S.clip(x, 0, 6), [TIES]),
    "_maximum_scalar": (lambda x: S.maximum(x, 2), [TIES]),
    "_minimum_scalar": (lambda x: S.minimum(x, 2), [TIES]),
    "broadcast_maximum": (S.broadcast_maximum, [TIES, TIES[:, :1]]),
    "broadcast_minimum": (S.broadcast_minimum, [TIES, TIES[:, :1]]),
    "max": (lambda x: S.max(x, axis=1), [TIES]),
    "max of all": (lambda x: S.max(x), [TIES]),
    "min, kept": (lambda x: S.min(x, axis=(1, 2), keepdims=True), [TIES]),
    "sum, others": (lambda x: S.sum(x, axis=1, exclude=True), [REAL]),
    "mean of all": (lambda x: S.mean(x), [REAL]),
    "mean": (lambda x: S.mean(x, axis=(2, 3)), [REAL]),
    "argmax": (lambda x: S.argmax(x, axis=1), [TIES]),
    "argmin, kept": (lambda x: S.argmin(x, axis=1, keepdims=True), [TIES]),
    "pick": (lambda x, at: S.pick(x, S.BlockGrad(at)), [MATRIX, np.float32([0, 5, 3, 9, -2, 1])]),
    "Pooling max": (window(pool_type="max"), [TIES]),
    "Pooling max, full": (window(pool_type="max", pooling_convention="full"), [TIES]),
    "Pooling max, padded": (window(pool_type="max", pad=(1, 1)), [TIES]),
    "Pooling avg, padded": (window(pool_type="avg", pad=(1, 1)), [REAL]),
    "Pooling avg, inside": (window(pool_type="avg", pad=(1, 1), count_include_pad=False), [REAL]),
    "Pooling avg, full": (window(pool_type="avg", pooling_convention="full", pad=(1, 1)), [REAL]),
    "global max": (lambda x: S.Pooling(x, global_pool=True, pool_type="max", kernel=(1, 1)), [TIES]),
    "global avg": (lambda x: S.Pooling(x, global_pool=True, pool_type="avg", kernel=(1, 1)), [REAL]),
    "adaptive": (lambda x: S.contrib.AdaptiveAvgPooling2D(x, output_size=2), [REAL]),
    "adaptive, one": (lambda x: S.contrib.AdaptiveAvgPooling2D(x, output_size=1), [REAL]),
    "Pad": (
        lambda x: S.Pad(x, mode="constant", pad_width=(0, 0, 0, 0, 1, 2, 3, 0), constant_value=0.5),
        [REAL],
    ),
    "Convolution": (
        lambda x, w, b: S.Convolution(x, w, b, kernel=(3, 3), num_filter=4, num_group=2, dilate=(2, 2), pad=(2, 2)),
        [REAL, REAL[:, :2, :3, :3].repeat(2, axis=0), REAL[0, :, 0, 0]],
    ),
    "FullyConnected": (lambda x, w: S.FullyConnected(x, w, no_bias=True, num_hidden=6), [MATRIX, OTHER]),
    "FullyConnected, last": (
        lambda x, w, b: S.FullyConnected(x, w, b, flatten=False, num_hidden=6),
        [REAL, OTHER, MATRIX[0]],
    ),
    "Reshape": (lambda x: S.reshape(x, (0, -4, 2, -1, -2)), [REAL]),
    "Reshape, joined": (lambda x: S.reshape(x, (0, -3, -2)), [REAL]),
    "SwapAxis": (lambda x: S.SwapAxis(x, dim1=1, dim2=2), [REAL]),
    "SliceChannel": (lambda x: S.Group(list(S.SliceChannel(x, num_outputs=2))), [REAL]),
    "slice": (lambda x: S.slice(x, begin=(None, 1, 0), end=(None, None, -1), step=(None, 2, 1)), [REAL]),
    "slice_axis": (lambda x: S.slice_axis(x, axis=-1, begin=1, end=-1), [REAL]),
    "transpose": (lambda x: S.transpose(x, axes=(0, 2, 3, 1)), [REAL]),
    "dot": (lambda x, y: S.dot(x, y, transpose_a=True), [MATRIX, OTHER]),
    "batch_dot": (lambda x, y: S.batch_dot(x, y, transpose_b=True), [REAL[0], REAL[1]]),
    "log_softmax": (lambda x: S.log_softmax(x, axis=1, temperature=0.5), [REAL]),
    "cumsum": (lambda x: S.cumsum(x, axis=1), [MATRIX]),
    "makediag": (lambda x: S.linalg.makediag(x), [MATRIX]),
    "powers": (lambda x: (x**2 + 1) ** -1.5, [REAL]),
    "power at 0": (lambda x: x**2 + x**3, [TIES]),
    "scalars": (lambda x: (3 - x) / 2 + 1 / (x * x + 1) - 2 * (x - 1), [REAL]),
    "comparisons": (
        lambda x, y: S.add_n(
            x > y, x >= y, x < y, x <= y, x == y, x != y, x > 2, x >= 2, x < 2, x <= 2, x == 2, x != 2
        ),
        [TIES[0], TIES[1]],
    ),
    "functions": (lambda x: S.add_n(S.abs(x), S.square(x), S.exp(-x), S.log(x * x + 1), S.sqrt(x * x + 1)), [TIES]),
    "expand_dims": (lambda x: S.Concat(S.expand_dims(x, 1), S.expand_dims(S.zeros_like(x), 1), dim=1), [MATRIX]),
    "in place": (lambda x, y: S.relu((x + y) + (x + 1)) + x, [TIES[0], TIES[1]]),
    "norm": (lambda x: S.norm(x, axis=1), [REAL]),
    "Dropout": (lambda x: S.Dropout(x, p=0.5), [REAL]),
    "Pad, mirrored": (lambda x: S.Pad(x, mode="reflect", pad_width=(0, 0, 0, 0, 1, 1, 1, 1)), [REAL]),
    "Pooling, sum": (window(pool_type="sum"), [REAL]),
    "Activation softsign": (lambda x: S.Activation(x, act_type="softsign"), [REAL]),
    "Pooling, lp": (window(pool_type="lp", p_value=3), [REAL]),
    "argmax of channels": (lambda x: S.softmax(x, axis=1), [REAL]),
}
REFUSED = {
    "norm": "operator norm (layer ",
    "Dropout": "operator Dropout (layer ",
    "Pad, mirrored": "mode 'reflect' of operator Pad",
    "Pooling, sum": "pool_type 'sum' of operator Pooling",
    "Activation softsign": "act_type 'softsign' of operator Activation",
    "Pooling, lp": "p_value 3 of operator Pooling",
    "argmax of channels": "operator softmax",
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """{name: [whether the shapes are equal, the largest difference, or the refusal]}."""
    arrays = {"names": np.array(json.dumps(list(CASES)))}
    rng = np.random.default_rng(2)
    for number, (name, (function, values)) in enumerate(CASES.items()):
        variables = [f"x{place}" for place in range(len(values))]
        symbol = function(*map(mx.sym.var, variables))
        given = {variable: mx.nd.array(value) for variable, value in zip(variables, values)}
        gradients = {variable: mx.nd.zeros_like(value) for variable, value in given.items()}
        arrays[f"{number}:text"] = np.array(symbol.tojson())
        bound = symbol.bind(mx.cpu(), given, gradients)
        outputs = bound.forward(is_train=True)
        if name not in REFUSED:
            weights = [mx.nd.array(rng.standard_normal(output.shape)) for output in outputs]
            bound.backward(weights)
            arrays.update({f"{number}:weight{place}": weight.asnumpy() for place, weight in enumerate(weights)})
            arrays.update({f"{number}:gradient {key}": gradient.asnumpy() for key, gradient in gradients.items()})
        arrays.update({f"{number}:head{place}": output.asnumpy() for place, output in enumerate(outputs)})
        arrays.update({f"{number}:value {key}": value.asnumpy() for key, value in given.items()})
    file = tmp_path_factory.mktemp("operators") / "operators.npz"
    np.savez(file, **arrays)
    command = [str(environment.found()), str(Path(__file__).with_name("operators_in_torch.py")), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment.variables(), check=False)
    assert not done.returncode, done.stderr
    return {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", [name for name in CASES if name not in REFUSED])
def test_values_and_gradients_are_those_of_mxnet(name, answers):
    shapes, apart = answers[name]
    assert shapes, answers[name]
    assert apart < 2e-5


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused_by_name(name, answers):
    assert REFUSED[name] in answers[name][1]
    assert "train with --engine mxnet" in answers[name][1]
