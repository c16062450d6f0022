"""The plan on a GPU that only PyTorch uses: time and memory from steps that were measured there, or an estimate."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from gluon_cgd.engines import environment
from gluon_cgd.experiment import Experiment
from reproduce.command import main
from reproduce.tables import EVERYTHING, TABLES
from reproduce.training import costs, plan, pytorch_costs

SMI = """#!/bin/bash
case "$*" in *query-gpu=name*) echo "NVIDIA H200" ;; *) echo "0, NVIDIA H200, 140000, 580.65, 9.0" ;; esac
"""


@pytest.fixture
def hopper(tmp_path, monkeypatch):
    """A machine whose nvidia-smi lists an H200; call it to say whether PyTorch's environment is there."""
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(costs, "MEASURED", tmp_path / "none.json")
    measured = []

    def machine(has_torch):
        def measure(experiment, device, precision, folder):
            measured.append((costs.network(experiment), experiment.batch_size, device, precision))
            assert folder.name == "reports"
            written = {"query": 0, "pair": 1e-8, "best": 0.4, "checkpoint": 0.6}
            return {"train": 1 / 2367, "embed": 1 / 2358, **written, "device": "NVIDIA H200", "memory": 10**10}

        monkeypatch.setattr(environment, "found", lambda: Path("python") if has_torch else None)
        monkeypatch.setattr(environment, "devices", lambda python: {"cuda": ["NVIDIA H200"], "mps": False})
        monkeypatch.setattr(pytorch_costs, "measure", measure)
        return measured

    return machine


def test_a_gpu_that_only_pytorch_uses_is_measured_and_gives_the_time(hopper, tmp_path, capsys):
    measured = hopper(True)
    for _ in range(2):  # the second time nothing is measured
        assert main(["table1", "table2", "--plan", "--runs", str(tmp_path / "runs")]) == 0
        out = capsys.readouterr().out
        minutes = int(re.search(r"time on NVIDIA H200 by PyTorch in float32: ([0-9]+) min", out)[1])
        iterations, evaluations = Experiment().iterations(8054), Experiment().evaluations + 1
        steps, each = iterations * 128 / 2367, 8131 / 2358 + 8131**2 * 2e-8
        files = evaluations * 0.4 + (evaluations - 1) * 0.6 + steps * 0.6 / 12  # 12 s: 20 times as long
        seconds = 25 * (steps + evaluations * each + files)
        assert minutes == pytest.approx(seconds / 60, abs=0.51)
        assert "estimate" not in out
        memory = re.search(r"up to ([0-9.]+) GB of its memory are used, if it holds the training pictures", out)
        assert float(memory[1]) == pytest.approx(10 + 8054 * 252**2 * 3 / 1e9, abs=0.06)
    assert measured == [("resnet50 at 224", 128, "cuda0", "float32")]
    steps = json.loads((tmp_path / "runs/pytorch-float32/reports/steps.json").read_text())
    assert list(steps) == ["NVIDIA H200 by PyTorch in float32"]


def test_without_an_environment_the_hours_of_a_known_gpu_are_told_as_an_estimate(hopper, tmp_path, capsys):
    measured = hopper(False)
    assert main(["table1", "--plan", "--runs", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr().out
    told = re.search(r"time on one H200 by PyTorch in float32: ([0-9]+) min, an estimate \(it learned 794 pict", out)
    assert 30 < int(told[1]) < 120
    assert (
        main(["table1", "--plan", "--precision", "tf32", "--engine", "pytorch", "--runs", str(tmp_path / "runs")]) == 0
    )
    faster = re.search(
        r"by PyTorch in tf32: ([0-9]+) min, an estimate \(it learned 2,381 pict", capsys.readouterr().out
    )
    assert int(faster[1]) < int(told[1])
    assert not measured


def test_a_measurement_that_fails_leaves_an_estimate_and_says_why(hopper, tmp_path, capsys, monkeypatch, caplog):
    hopper(True)

    def failed(*_):
        raise ValueError("resnet50 could not be measured on cuda0 by PyTorch (out of memory): free its memory")

    monkeypatch.setattr(pytorch_costs, "measure", failed)
    assert main(["table1", "--plan", "--runs", str(tmp_path / "runs")]) == 0
    assert "min, an estimate" in capsys.readouterr().out
    assert "not measured: resnet50 could not be measured on cuda0 by PyTorch (out of memory)" in caplog.text


def test_a_cpu_and_the_mini_form_have_the_plan_of_before(hopper, tmp_path, capsys):
    measured = hopper(True)
    for flags in (["--ctx", "cpu", "--measure"], ["--mini"]):
        options = ["table1", "--plan", "--runs", str(tmp_path / "runs")]
        assert not (flags[0] == "--mini" and main([*options, *flags]))
        assert "PyTorch" not in capsys.readouterr().out
    assert not measured


def test_the_estimate_is_that_of_the_rates_and_scales_with_multiply_adds():
    default = replace(Experiment(), pretrained=False)
    assert pytorch_costs.estimate(default, "tf32")["train"] == pytest.approx(1 / 2381)
    lighter = pytorch_costs.estimate(replace(default, keep_stride=True), "tf32")["train"]
    assert 0.5 / 2381 < lighter < 0.9 / 2381
    assert pytorch_costs.estimate(replace(default, input_size=112), "tf32")["train"] == pytest.approx(
        0.25 / 2381, rel=0.1
    )


@pytest.mark.slow
def test_the_hours_of_the_paper_are_those_that_were_once_reckoned(tmp_path):
    every = plan.wanted(EVERYTHING, None, False, tmp_path)
    rates = {costs.network(run.experiment): pytorch_costs.estimate(run.experiment, "tf32") for run in every}
    assert 40 < costs.total(every, rates) / 3600 < 110
    small = plan.wanted([TABLES[f"table{number}"] for number in (1, 2, 3, 4, 6)], None, False, tmp_path)
    assert 2 < costs.total(small, rates) / 3600 < 6


@pytest.mark.slow
@pytest.mark.skipif(environment.found() is None, reason="there is no .venv-torch: .ci/run makes it")
def test_the_stopwatch_measures_a_small_network_on_the_cpu(small_experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("reports").mkdir()
    measured = pytorch_costs.measure(small_experiment, "cpu", "float32", Path("reports"))
    assert not list(Path("reports").iterdir())
    assert 0 < measured["embed"] < measured["train"] < 1
    assert (measured["device"], measured["memory"]) == ("cpu", 0)
    assert max(measured["query"], measured["pair"]) > 0
    assert min(measured["best"], measured["checkpoint"]) > 0
