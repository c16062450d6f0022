"""Which engine trains: asked for, or by the GPU that is there."""

import logging

import pytest

from gluon_cgd.engines import choice
from gluon_cgd.engines.choice import MXNET, Engine
from gluon_cgd.machine import gpus


@pytest.fixture
def smi(monkeypatch):
    """Call it with the compute capabilities of the GPUs that nvidia-smi lists."""

    def machine(*capabilities):
        rows = [{"index": str(i), "name": "H100", "compute_cap": c} for i, c in enumerate(capabilities)]
        monkeypatch.setattr(gpus, "listed", lambda: rows or None)

    machine()
    return machine


@pytest.mark.parametrize(
    ("capabilities", "name"),
    [
        ((), "mxnet"),
        (("8.6",), "mxnet"),
        (("9.0",), "pytorch"),
        (("12.0", "12.0"), "pytorch"),
        (("9.0", "8.0"), "mxnet"),
        (("3.7",), "mxnet"),
        (("",), "mxnet"),
    ],
)
def test_pytorch_is_the_default_where_mxnet_has_no_code_for_any_gpu(smi, caplog, capabilities, name):
    caplog.set_level(logging.INFO)
    smi(*capabilities)
    assert choice.chosen() == Engine(name)
    said = [line for line in caplog.messages if "MXNet has no code for H100 (compute capability" in line]
    assert len(said) == (name == "pytorch")
    assert choice.chosen(by_gpu=False) == MXNET  # of the mini form, a minute on the CPU
    assert choice.chosen("mxnet") == MXNET
    assert choice.chosen(ctx="cpu") == MXNET


def test_a_device_that_only_one_engine_takes_decides(smi):
    assert choice.chosen(ctx="cuda0,cuda1") == choice.chosen(ctx="mps") == Engine("pytorch")
    assert choice.chosen(ctx="gpu0") == MXNET
    assert choice.chosen("pytorch", "bf16", True, "cpu") == Engine("pytorch", "bf16", True)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (dict(name="jax"), "--engine jax is unknown: choose from mxnet, pytorch"),
        (dict(name="pytorch", precision="int8"), "--precision int8 is unknown: choose from float32, tf32, bf16"),
        (dict(precision="tf32"), "--precision tf32 is PyTorch's, and MXNet trains in float32: add --engine pytorch"),
        (dict(deterministic=True), "--deterministic is PyTorch's .*: add --engine pytorch"),
        (dict(name="pytorch", ctx="gpu0"), "--ctx gpu0 is no device of PyTorch"),
        (dict(name="mxnet", ctx="cuda0"), "--ctx cuda0 is no device of MXNet"),
        (dict(ctx="cuda0,cuda0"), "have one twice"),
        (dict(ctx="cuda"), "device 'cuda' is unknown"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_sentence(smi, asked, told):
    with pytest.raises(ValueError, match=told) as error:
        choice.chosen(**asked)
    assert len(str(error.value).splitlines()) == 1


def test_an_engine_is_named_with_what_decides_its_numbers():
    assert str(MXNET) == "MXNet"
    assert str(Engine("pytorch")) == "PyTorch in float32"
    assert str(Engine("pytorch", "tf32", True)) == "PyTorch in tf32"
