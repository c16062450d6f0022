import pytest

from reproduce import efficiency


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
