"""benchmarks/engine.py: what its table says, and that both sides run."""

import re

import pytest

from benchmarks import engine
from gluon_cgd.engines import environment


def turns(seconds, memory):
    return [{"units": 120, "seconds": one, "memory": 5e9, "answer": [6.4, *memory]} for one in seconds]


def test_a_row_has_medians_of_rates_and_of_ratios_and_the_peak_memory():
    on_gpu = {"ours": turns([1, 2, 3], [3e9]), "by hand": turns([2, 2, 2], [2e9])}
    assert engine.row("tf32", on_gpu) == "| tf32 | 60.0 | 60.0 | 1.000 | 3.00 | 2.00 | 1.50 |"
    on_cpu = {side: turns([1], []) for side in engine.SIDES}  # there the memory is that of the process
    assert engine.row("float32", on_cpu) == "| float32 | 120.0 | 120.0 | 1.000 | 5.00 | 5.00 | 1.00 |"


@pytest.mark.parametrize(
    ("ctx", "message"),
    [
        ("cuda1", "--ctx cuda1: PyTorch can use 1 GPUs of NVIDIA here; take another one, or --ctx cpu"),
        ("gpu0", "--ctx gpu0 is no device of PyTorch"),
        ("cuda0,cuda1", "one device is measured"),
    ],
)
def test_a_device_that_is_not_there_is_told_before_anything_is_made(ctx, message, monkeypatch, capsys):
    monkeypatch.setattr(environment, "interpreter", lambda: "python")
    monkeypatch.setattr(environment, "devices", lambda python: {"cuda": ["a GPU"]})
    monkeypatch.setattr(engine, "graph", lambda experiment: pytest.fail("the graph was built"))
    assert engine.main(["--ctx", ctx]) == 2
    assert message in capsys.readouterr().err
    assert [engine.device_of(ctx, "python") for ctx in ("cpu", "cuda0")] == ["cpu", "cuda:0"]


@pytest.mark.slow
@pytest.mark.skipif(environment.found() is None, reason="no environment with PyTorch (see docs/engines.md)")
def test_both_sides_run_on_a_cpu(capsys):
    small = "--ctx cpu --input-size 64 --batch-classes 2 --steps 1 --rounds 1 --precisions float32"
    assert engine.main(small.split()) == 0
    assert re.search(
        r"^\| float32 \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \|$", capsys.readouterr().out, re.M
    )
