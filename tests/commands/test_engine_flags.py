"""Which engine `train` and `choose` take: PyTorch where MXNet has no code for the GPU, MXNet where that cannot be."""

from types import SimpleNamespace

import mxnet as mx
import pytest

from gluon_cgd.commands.train import trainer_of
from gluon_cgd.engines import environment, process
from gluon_cgd.machine import gpus

NEW = {"index": "0", "name": "NVIDIA H200", "memory.free": "140000", "driver_version": "580", "compute_cap": "9.0"}


@pytest.fixture(autouse=True)
def new_gpu(monkeypatch):
    """A machine whose only GPU is newer than MXNet."""
    monkeypatch.setattr(gpus, "listed", lambda: [NEW])
    process.usable.cache_clear()


def typed(**flags):
    return SimpleNamespace(**{**dict(engine=None, precision=None, deterministic=False, ctx=None), **flags})


def test_pytorch_trains_on_a_gpu_that_mxnet_has_no_code_for(monkeypatch, caplog):
    monkeypatch.setattr(environment, "interpreter", lambda: "python")
    monkeypatch.setattr(environment, "devices", lambda python: {"cuda": [NEW["name"]], "mps": False})
    caplog.set_level("INFO", "gluon_cgd")
    chosen = dict(ctx="cuda0", engine="pytorch", precision="tf32", deterministic=False)
    assert trainer_of(typed(precision="tf32")) == chosen
    assert "MXNet has no code for NVIDIA H200 (compute capability 9.0): PyTorch trains on it" in caplog.text
    with pytest.raises(ValueError, match="device cuda1 is not there: PyTorch can use 1 GPUs"):
        trainer_of(typed(ctx="cuda0,cuda1"))


@pytest.mark.parametrize(
    ("cuda", "hidden", "remedy"),
    [
        ("13.0", None, "finds no GPU: update the driver, to one that runs CUDA 13.0"),
        ("13.0", "", "finds no GPU: unset CUDA_VISIBLE_DEVICES, which is empty"),
        (None, None, "has no CUDA: delete .*, and name a package index"),
    ],
)
def test_a_gpu_that_pytorch_cannot_use_is_never_replaced_by_the_cpu_unasked(monkeypatch, caplog, cuda, hidden, remedy):
    monkeypatch.setattr(environment, "interpreter", lambda: "python")
    monkeypatch.setattr(environment, "devices", lambda python: {"cuda": [], "cuda_version": cuda, "mps": False})
    monkeypatch.delenv(environment.NAMED, raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    with pytest.raises(ValueError, match=f"NVIDIA H200 would stay idle, for PyTorch {remedy}"):
        trainer_of(typed(engine="pytorch"))
    assert trainer_of(typed(engine="pytorch", ctx="cpu"))["ctx"] == "cpu"
    assert trainer_of(typed()) == {"ctx": [mx.cpu()]}
    assert "to train on the CPU. Until then MXNet trains on the CPU" in caplog.text


def test_mxnet_trains_where_the_environment_of_pytorch_cannot_be_made(monkeypatch, caplog):
    def interpreter():
        raise ValueError("the disk is full")

    monkeypatch.setattr(environment, "interpreter", interpreter)
    assert trainer_of(typed()) == {"ctx": [mx.cpu()]}
    assert "the disk is full. Until then MXNet trains on the CPU" in caplog.text
    for flags in (dict(engine="pytorch"), dict(ctx="cuda0"), dict(precision="tf32")):  # who names it wants it
        with pytest.raises(ValueError, match="the disk is full"):
            trainer_of(typed(**flags))


def test_a_named_device_of_mxnet_keeps_mxnet():
    assert trainer_of(typed(ctx="cpu")) == {"ctx": [mx.cpu()]}
    assert trainer_of(typed(engine="mxnet", ctx="cpu")) == {"ctx": [mx.cpu()]}
