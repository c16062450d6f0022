"""A mini table trained by the PyTorch engine on the CPU, as a person starts it."""

import json
import os
import re
import subprocess

import pytest

from gluon_cgd.engines import environment
from gluon_cgd.machine import facts
from reproduce import recorded, store
from reproduce.tables import TABLES, mini
from tests.reproduce.test_engines_of_tables import FLOAT32

BOTH = mini(TABLES["table1"].rows[1].experiment)


@pytest.mark.slow
@pytest.mark.skipif(environment.found() is None, reason="there is no .venv-torch: .ci/run makes it")
def test_a_mini_table_is_trained_by_pytorch_on_the_cpu_and_reported_as_such(tmp_path):
    def start(*more):
        script = [str(facts.PROJECT / "reproduce" / "table1.sh"), "--mini", "--runs", str(tmp_path)]
        return subprocess.run(
            ["bash", *script, "--engine", "pytorch", "--rows", "Both", *more],
            env=dict(os.environ, OMP_NUM_THREADS="1"),
            capture_output=True,
            text=True,
            check=False,
        )

    done = start("--ctx", "cpu")
    assert done.returncode == 0, done.stderr
    assert "on cpu(0) (PyTorch, float32)" in done.stderr
    assert "runs by PyTorch in float32: Both (1)" in done.stdout
    shown = float(re.search(r"Both +published .*\n +mini +([0-9.]+)", done.stdout)[1])
    result = store.result(store.of_engine(tmp_path, FLOAT32), BOTH, 0)
    assert shown == pytest.approx(100 * result["last"]["R@1"], abs=0.051)
    engine = result["engine"]
    assert (engine["name"], engine["precision"], engine["deterministic"]) == ("pytorch", "float32", False)
    assert engine["versions"]["torch"].startswith(environment.pinned("torch"))
    (ours,) = [run for run in recorded.read(BOTH) if run["seed"] == 0]  # by MXNet, from the same parameters
    assert result["iterations"] == ours["iterations"]
    assert result["untrained"]["R@1"] == pytest.approx(ours["untrained"]["R@1"], abs=0.002)
    assert result["last"]["R@1"] == pytest.approx(ours["last"]["R@1"], abs=0.05)
    reports = tmp_path / "pytorch-float32" / "reports"
    rows = json.loads((reports / "table1-mini.json").read_text())
    assert rows[1]["engines"] == {"PyTorch in float32": 1}
    assert "- runs by PyTorch in float32: Both (1)" in (reports / "table1-mini.md").read_text()
    again = start("--report")
    assert re.search(r"Both +published .*\n +mini +([0-9.]+)", again.stdout)[1] == f"{shown:.1f}"
