import json
import subprocess
import sys
from pathlib import Path

import pytest

from reproduce import efficiency

ROOT = Path(__file__).resolve().parents[2]


def test_an_ensemble_adds_up_what_its_models_cost():
    model = dict(parameters=2e6, step=0.5, training_memory=4e9, picture=0.01, embedding_memory=1e9)
    found = [{"configuration": "SM", "batch_size": 8, "cgd": {"model": "SM 8", **model}}]
    found[0]["members"] = [{"model": f"{letter} 4", **model} for letter in "SM"]
    head, cgd, ensemble, ratio = efficiency.rows(found)
    assert head[1:3] == ["parameters (M)", "training step (s)"]
    assert cgd == ["CGD SM 8", "2", "0.5", "4", "10", "1"]
    assert ensemble == ["ensemble of S 4 + M 4", "4", "1", "8", "20", "2"]
    assert ratio == ["ensemble / CGD", *["2.00"] * 5]


def models_taking(monkeypatch, seconds):
    """Instead of measuring: each model takes the next of its `seconds`; returns the order of the models."""
    order = []

    def one_model(experiment, batch_size, device, rounds):
        name = f"{experiment.descriptors} {experiment.dim}"
        step = seconds[experiment.descriptors][order.count(name) % 3]
        order.append(name)
        memory = dict(training_memory=1e9 * step, embedding_memory=1)
        return dict(model=name, parameters=1e6, step=step, picture=step / 100, **memory)

    monkeypatch.setattr(efficiency, "one_model", one_model)
    return order


def test_all_models_are_measured_in_turns_and_shown_with_their_spread(monkeypatch):
    order = models_taking(monkeypatch, {"SM": [1.0, 2.0, 1.1], "S": [0.5, 1.0, 0.6], "M": [0.5, 1.0, 0.5]})
    (found,) = efficiency.measure(True, "cpu", ("SM",))
    assert order == ["SM 192", "S 96", "M 96"] * 3
    assert (found["cgd"]["step"], found["cgd"]["sweeps"]["step"]) == (1.1, [1.0, 2.0, 1.1])
    assert found["cgd"]["training_memory"] == 2e9  # the highest
    _, cgd, ensemble, ratio = efficiency.rows([found])
    assert cgd[2] == "1.1 (1-2)"
    assert ensemble[2] == "1.1 (1-2)"
    assert ratio[2] == "1.00"  # of the same sweep: what slows one slows all


def test_a_spread_that_is_no_noise_and_other_programs_are_warned_of(monkeypatch):
    quiet = {"SM": [1.0, 1.1, 1.0], "S": [0.5, 0.5, 0.6], "M": [0.5, 0.6, 0.5]}
    models_taking(monkeypatch, quiet)
    monkeypatch.setattr(efficiency.load, "others", lambda before, after: 0.1)
    assert efficiency.warnings(efficiency.measure(True, "cpu", ("SM",))) == []
    models_taking(monkeypatch, dict(quiet, S=[0.5, 0.5, 1.2]))
    monkeypatch.setattr(efficiency.load, "others", lambda before, after: 1.3)
    busy, apart = efficiency.warnings(efficiency.measure(True, "cpu", ("SM",)))
    assert busy.startswith("WARNING: other programs used 1.3 of ")
    assert "training step of S 96 took up to 2.4 times as long in one sweep as in another" in apart
    monkeypatch.setattr(efficiency.load, "others", lambda before, after: None)
    assert len(efficiency.warnings(efficiency.measure(True, "cpu", ("SM",), sweeps=1))) == 0


def test_the_report_says_what_was_repeated_and_warns(monkeypatch, tmp_path):
    models_taking(monkeypatch, {letters: [1.0, 1.0, 2.0] for letters in ("SM", "SMG", "S", "M", "G")})
    text = efficiency.report(True, "cpu", tmp_path)
    assert "the median of 3 sweeps over all models" in text
    assert "WARNING: " in text
    assert "WARNING: " in (tmp_path / "reports/efficiency-mini.md").read_text()


@pytest.mark.slow
def test_it_is_measured_in_processes_of_their_own(tmp_path):
    found = efficiency.measure(True, "cpu", configurations=("SM",), sweeps=1)
    assert [member["model"] for member in found[0]["members"]] == ["S 96", "M 96"]
    for model in (found[0]["cgd"], *found[0]["members"]):
        assert model["step"] > model["picture"] > 0
        assert model["training_memory"] > 1e8
        assert model["parameters"] > 1e5


@pytest.mark.slow
def test_a_model_that_cannot_run_is_named_with_the_reason():
    with pytest.raises(ValueError, match="SM 192 could not train on gpu7 with batches of 36: device gpu7 is not there"):
        efficiency.measure(True, "gpu7")


@pytest.mark.slow
def test_a_users_own_files_named_like_ours_are_not_imported_by_the_processes(small_experiment, tmp_path):
    for name in ("reproduce.py", "visualize.py", "gluon_cgd.py"):
        (tmp_path / name).write_text("raise SystemExit('a file of the user')")
    (tmp_path / "program.py").write_text(
        "import json, sys; sys.path.insert(0, sys.argv[2])\n"
        "from reproduce import efficiency; from gluon_cgd.experiment import Experiment\n"
        "if __name__ == '__main__':\n"
        "    print(json.dumps(efficiency.one_model(Experiment.from_dict(json.loads(sys.argv[1])), 8, 'cpu')))\n"
    )
    command = [sys.executable, "program.py", json.dumps(small_experiment.to_dict()), str(ROOT)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {"model", *efficiency.WHAT}
