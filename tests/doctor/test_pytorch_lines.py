"""The doctor's line on the environment of the PyTorch engine."""

from pathlib import Path

import pytest

from gluon_cgd.doctor import findings, pytorch
from gluon_cgd.engines import environment

GPU = {"index": "0", "name": "H100", "memory.free": "80000", "driver_version": "580", "compute_cap": "9.0"}


@pytest.fixture
def machine(monkeypatch):
    """Call it to say what PyTorch answers, and whether there is a GPU that only it can use; returns the line."""

    def line(cuda=(), cuda_version="13.0", torch="2.13.0", mps=False, newer=False, python=Path("/env/bin/python")):
        told = dict(versions={"python": "3.11.7", "torch": torch, "numpy": "2.2.6"}, mps=mps)
        told.update(cuda=list(cuda), cuda_version=cuda_version)
        for name in (environment.NAMED, "CUDA_VISIBLE_DEVICES"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(environment, "found", lambda: python)
        monkeypatch.setattr(environment, "devices", lambda python: told)
        monkeypatch.setattr(pytorch.gpus, "beyond_mxnet", lambda: [GPU] * newer)
        (only,) = pytorch.environment()
        return only

    return line


def test_versions_and_devices_are_told(machine):
    line = machine(cuda=("H100", "H100"), newer=True)
    assert line.state == "ok"
    assert line.says == (
        "python 3.11.7, torch 2.13.0, numpy 2.2.6, CUDA 13.0 in /env/bin/python; it trains on cpu, cuda0 H100, "
        "cuda1 H100"
    )
    assert machine(torch="2.13.0+cpu", cuda_version=None).says.endswith(
        "CUDA none in /env/bin/python; it trains on cpu"
    )
    assert machine(mps=True).says.endswith("it trains on cpu, mps")


def test_an_environment_that_is_not_made_yet_is_no_fault(machine):
    line = machine(python=None)
    assert line.state == "info"
    assert "is not made yet: --engine pytorch makes it at its first run; it takes 1 GB of disk, or 5 GB" in line.says


def test_a_gpu_that_pytorch_does_not_see_is_told_with_the_remedy(machine):
    line = machine(cuda_version=None, newer=True)
    assert line.state == "note"
    assert line.says.endswith("it has no CUDA, and H100 stays idle")
    assert line.remedy.startswith("delete ")
    assert line.remedy.endswith("and name a package index that has PyTorch with CUDA in PIP_INDEX_URL")
    line = machine(newer=True)
    assert line.says.endswith("it finds no GPU, and H100 stays idle")
    assert line.remedy.startswith("update the driver")


def test_another_version_than_the_tested_one_is_told(machine):
    line = machine(torch="2.9.1")
    assert line.state == "note"
    assert "tested with torch 2.13.0: unset GLUON_CGD_TORCH" in line.remedy


def test_what_cannot_be_used_is_told_and_leaves_the_machine_ready(machine, monkeypatch):
    machine()

    def broken(python):
        raise ValueError("PyTorch cannot be used in /env (no libgomp): delete it")

    monkeypatch.setattr(environment, "devices", broken)
    (line,) = pytorch.environment()
    assert (line.state, line.says, line.remedy) == ("note", "PyTorch cannot be used in /env (no libgomp)", "delete it")
    assert findings.ready([line])
