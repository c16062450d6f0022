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


@pytest.mark.slow
def test_it_is_measured_in_processes_of_their_own(tmp_path):
    found = efficiency.measure(True, "cpu", configurations=("SM",))
    assert [member["model"] for member in found[0]["members"]] == ["S 96", "M 96"]
    for model in (found[0]["cgd"], *found[0]["members"]):
        assert model["step"] > model["picture"] > 0
        assert model["training_memory"] > 1e8
        assert model["parameters"] > 1e5


def test_a_model_that_cannot_run_is_named_with_the_reason():
    with pytest.raises(ValueError, match="SM 192 could not train on gpu7 with batches of 64: device gpu7 is not there"):
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
