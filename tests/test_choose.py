import json

import pytest

from gluon_cgd import choose
from gluon_cgd.commands import train
from gluon_cgd.runs import regime


@pytest.fixture
def recorded(monkeypatch):
    """Instead of training: the recall of each configuration, and which were asked for."""
    calls = []

    def fit(experiment, split, folder, seed=0, **where):
        calls.append((experiment.descriptors, folder.name, seed))
        return {
            "untrained": {"R@1": fit.untrained.get(experiment.descriptors, 0.1)},
            "last": {"R@1": fit.recall[experiment.descriptors] + 0.01 * seed},
            **fit.curves.get((experiment.descriptors, seed), {}),
        }

    fit.recall = {"S": 0.5, "M": 0.3, "G": 0.6, "GS": 0.62, "SG": 0.7}
    fit.calls, fit.untrained, fit.curves = calls, {}, {}
    monkeypatch.setattr(choose, "fit", fit)
    return fit


def test_the_two_best_single_descriptors_are_combined_in_both_orders(recorded, small_experiment, tmp_path):
    found = choose.choose(small_experiment, None, tmp_path, seeds=2)
    assert [name for name, _, _ in recorded.calls] == ["S", "S", "M", "M", "G", "G", "GS", "GS", "SG", "SG"]
    assert recorded.calls[1] == ("S", "S-seed1", 1)
    assert found["best"] == "SG"
    assert json.loads((tmp_path / "choice.json").read_text()) == found
    text = "\n".join(train.reasoning(found))
    for part in ("S  SPoC 50.50 ± 0.71 (2 runs)", "The two best are G and S", "Take --descriptors SG."):
        assert part in text


def test_a_single_descriptor_wins_where_no_pair_is_above_it(recorded, small_experiment, tmp_path):
    recorded.recall.update(GS=0.55, SG=0.56)
    found = choose.choose(small_experiment, None, tmp_path)
    assert found["best"] == "G"
    text = "\n".join(train.reasoning(found))
    assert "Neither is better than G alone, unlike in section 3.4: take --descriptors G." in text
    assert "Section 3.4 advises few descriptors at 8 dimensions" in text


def test_what_training_made_worse_is_not_recommended(recorded, small_experiment, tmp_path):
    recorded.untrained.update(G=0.605, SM=0.9)  # of G the first run is below, the second is not
    recorded.recall.update(SM=0.8, MS=0.55)
    found = choose.choose(small_experiment, None, tmp_path, seeds=2)
    assert list(found["pairs"]) == ["SM", "MS"]  # G, the best by its mean, is not combined
    assert found["best"] == "MS"
    assert found["below"] == {"G": [[0.605, 0.6]], "SM": [[0.9, 0.8], [0.9, 0.81]]}
    text = "\n".join(train.reasoning(found))
    assert "G  GeM  60.50 ± 0.71 (2 runs)  (worse than untrained: 60.50 before training and 60.00 after)" in text
    assert "Not considered, as training made them worse than they were: G, SM." in text
    assert "Take --descriptors MS." in text


def test_nothing_is_recommended_where_all_runs_got_worse(recorded, small_experiment, tmp_path):
    recorded.untrained.update(dict.fromkeys(recorded.recall, 0.95))
    found = choose.choose(small_experiment, None, tmp_path)
    assert (found["best"], found["experiment"]) == (None, None)
    text = "\n".join(train.reasoning(found))
    assert "No configuration is recommended: training made each of them worse than its untrained network." in text
    assert "start from ImageNet weights" in text
    assert "ake --descriptors" not in text
    recorded.recall.update(M=0.96, MG=0.2, GM=0.2)
    left = choose.choose(small_experiment, None, tmp_path)
    assert left["best"] == "M"


def test_runs_whose_ranking_loss_stayed_at_its_margin_are_named(recorded, small_experiment, tmp_path):
    def run(*rankings):
        curve = {"iteration": [4, 8, 12], "ranking": list(rankings)}
        return {"experiment": small_experiment.to_dict(), "iterations": 12, "curve": curve}  # the first decay is at 3

    stays, late = run(0.104, 0.1, 0.1), run(0.104, 0.04, 0.03)
    recorded.curves.update({("M", 0): stays, ("SG", 0): stays, ("SG", 1): late})
    found = choose.choose(small_experiment, None, tmp_path, seeds=2)
    assert found["best"] == "SG"
    assert found["margin"] == {"M": {regime.NEVER: 1}, "SG": {regime.NEVER: 1, regime.LATE: 1}}
    text = "\n".join(train.reasoning(found))
    for part in (
        "\nM: 1 of 2 runs with a ranking loss that never left its margin.\n",
        "\nSG: 1 of 2 runs with a ranking loss that had not left its margin at the first decay.\n",
        "Such runs say little of the ranking loss, and so of this choice.\nUsual remedies: start from ImageNet weights",
        "Take --descriptors SG.",
    ):
        assert part in text
    recorded.curves.clear()
    assert "margin" not in "\n".join(train.reasoning(choose.choose(small_experiment, None, tmp_path, seeds=2)))


def test_a_dim_that_pairs_cannot_share_is_refused_before_anything_is_trained(recorded, small_experiment, tmp_path):
    from dataclasses import replace

    with pytest.raises(ValueError, match="dim 9 must be divisible by the 2 branches"):
        choose.choose(replace(small_experiment, descriptors="S", dim=9), None, tmp_path)
    assert not recorded.calls


@pytest.mark.slow
def test_it_trains_for_real_and_once(small_experiment, small_split, tmp_path):
    first = choose.choose(small_experiment, small_split, tmp_path)
    assert set(first["singles"]) == {"S", "M", "G"}
    assert len(first["pairs"]) == 2
    assert choose.choose(small_experiment, small_split, tmp_path) == first


def test_a_choice_that_cannot_be_written_is_refused_before_the_training(recorded, small_experiment, tmp_path):
    (tmp_path / "choice.json").mkdir()
    with pytest.raises(IsADirectoryError, match=r"choice\.json is a folder"):
        choose.choose(small_experiment, None, tmp_path)
    assert recorded.calls == []
