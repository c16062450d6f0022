"""Whether and when the ranking loss left its margin: the definitions, and what a run writes of them."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from gluon_cgd import train
from gluon_cgd.experiment import Experiment
from gluon_cgd.runs import regime, schema
from gluon_cgd.runs.log import losses
from gluon_cgd.runs.results import read_result
from gluon_cgd.train import fit

EXPERIMENT = Experiment(decay_at=(0.6, 0.8))  # the margin is 0.1; of 500 iterations the first decay is at 300


def points(*rankings, every=50):
    return [(every * (place + 1), {"ranking": value, "classification": 3.0}) for place, value in enumerate(rankings)]


def regime_of(*rankings, experiment=EXPERIMENT, iterations=500):
    return regime.of_curve(regime.columns(points(*rankings)), experiment, iterations)


@pytest.mark.parametrize(
    ("changes", "bound"),
    [
        ({}, 0.05),
        ({"margin": 0.3}, 0.15),
        ({"loss": "hap2s_e"}, 0.05),
        ({"loss": "hap2s_p"}, 0.05),
        ({"loss": "margin"}, 0.65),  # 1.3 where all pictures are at one point
        ({"architecture": "A", "descriptors": "SMG"}, 0.15),  # a ranking loss a branch
        ({"loss": "soft_margin"}, math.log(1 + math.exp(-0.05))),  # half of ln 2 would need a gap of 0.88
        ({"loss": "soft_margin", "architecture": "A", "descriptors": "SM"}, 2 * math.log(1 + math.exp(-0.05))),
    ],
)
def test_a_loss_has_left_where_its_mean_is_below_half_of_its_value_at_one_point(changes, bound):
    assert regime.left_below(Experiment(**changes)) == pytest.approx(bound)


@pytest.mark.parametrize("loss", ["batch_hard", "soft_margin", "hap2s_e", "hap2s_p"])
def test_the_bound_is_the_loss_of_a_gap_of_half_a_margin(loss):
    import mxnet as mx

    from gluon_cgd.losses import RANKING

    experiment = Experiment(loss=loss)
    rows, labels = mx.nd.array([[0.0]] * 2 + [[0.05]] * 2), mx.nd.array([0, 0, 1, 1])  # positives at 0, negatives .05
    value = float(RANKING[loss](experiment)(rows, labels).mean().asscalar())
    assert value == pytest.approx(regime.left_below(experiment), abs=1e-5)


@pytest.mark.parametrize(
    ("rankings", "left_at", "by_the_decay"),
    [
        ((0.104, 0.101, 0.101, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1), None, False),
        ((0.104, 0.101, 0.09, 0.06, 0.05, 0.0499, 0.03, 0.03, 0.02, 0.02), 300, True),  # the line of the decay counts
        ((0.104, 0.101, 0.09, 0.06, 0.05, 0.0501, 0.03, 0.03, 0.02, 0.02), 350, False),
        ((0.104, 0.049, 0.101, 0.101, 0.1, 0.1, 0.1, 0.1, 0.1, 0.08), 100, True),
    ],
)
def test_it_left_at_the_first_line_below(rankings, left_at, by_the_decay):
    found = regime_of(*rankings)
    assert (found["left_at"], found["left_at_first_decay"], found["first_decay"]) == (left_at, by_the_decay, 300)
    assert (found["lowest"], found["last"]) == (min(rankings), rankings[-1])


def test_the_first_decay_is_that_of_the_learning_rate(small_experiment):
    for at, iterations in (((0.6, 0.8), 500), ((0.267,), 12), ((0.0001, 0.5), 100), ((0.999,), 10), ((), 10)):
        run = train.Run.__new__(train.Run)
        run.experiment, run.iterations, rates = replace(small_experiment, decay_at=at), iterations, []
        for run.iteration in range(iterations):
            rates.append(run.learning_rate())
        fall = next((step for step in range(1, iterations) if rates[step] < rates[step - 1]), None)
        assert regime.first_decay(run.experiment, iterations) == fall, at
    assert regime.first_decay(replace(EXPERIMENT, decay_factor=1.0), 500) is None  # it does not fall


def test_without_a_decay_or_a_margin_there_is_less_to_say():
    constant = replace(EXPERIMENT, decay_at=())
    assert regime_of(0.1, 0.04, experiment=constant)["left_at_first_decay"] is None
    assert regime_of(0.1, 0.04, experiment=replace(EXPERIMENT, margin=0.0)) == {}
    assert regime.of({}) == {}
    assert regime.findings({"experiment": EXPERIMENT.to_dict()}) == {}


def test_a_long_curve_is_thinned_and_says_the_same():
    rng = np.random.default_rng(0)
    for _ in range(20):
        count = int(rng.integers(201, 5000))
        rankings = np.round(0.101 - 0.06 * (np.arange(count) > rng.integers(count)) + 0.01 * rng.random(count), 5)
        whole = points(*rankings.tolist(), every=10)
        thin = regime.curve(whole, EXPERIMENT, 10 * count)
        assert len(thin["iteration"]) <= regime.POINTS + 3
        assert (thin["iteration"][0], thin["iteration"][-1]) == (10, 10 * count)
        full = regime.of_curve(regime.columns(whole), EXPERIMENT, 10 * count)
        assert regime.of_curve(thin, EXPERIMENT, 10 * count) == full
        assert schema.curve(thin, "'curve'") is None


@pytest.mark.parametrize(
    "curve",
    [
        5,
        {},
        {"iteration": [1]},
        {"iteration": [], "ranking": []},
        {"iteration": [1, 2], "ranking": [0.1]},
        {"iteration": [1], "ranking": [0.1], "classification": []},
        {"iteration": [1], "ranking": ["0.1"]},
        {"iteration": [1], "ranking": [float("nan")]},
        {"iteration": [2, 1], "ranking": [0.1, 0.1]},
        {"iteration": [1, 1], "ranking": [0.1, 0.1]},
        {"iteration": [0], "ranking": [0.1]},
    ],
)
def test_what_is_no_curve_is_refused(curve):
    assert "'curve'" in schema.curve(curve, "'curve'")


def test_a_run_keeps_its_curve_and_its_regime(small_experiment, small_split, tmp_path, monkeypatch):
    monkeypatch.setattr(train.Run, "log_every", 2)
    result = fit(small_experiment, small_split, tmp_path)
    assert result["curve"]["iteration"] == [2, 3, 4, 6, 8, 10, 12]  # 3 is the first decay, 4, 8, 12 are evaluations
    assert result["regime"] == regime.of(result)
    assert result["regime"]["first_decay"] == 3
    logged = losses(tmp_path / "train.log")
    for name in ("ranking", "classification"):
        assert result["curve"][name] == pytest.approx([logged[at][name] for at in logged], abs=6e-4)
    assert read_result(tmp_path / "result.json") == json.loads((tmp_path / "result.json").read_text())
    log = (tmp_path / "train.log").read_text()
    assert "[Iteration 3] first decay of the learning rate: the ranking loss has" in log
    assert "[Iteration 12] end of training: the ranking loss" in log
    old = {name: value for name, value in result.items() if name not in ("curve", "regime")}
    (tmp_path / "result.json").write_text(json.dumps(old))
    assert regime.of(read_result(tmp_path / "result.json")) == {}  # of an earlier version
    assert regime.of(regime.completed(old, logged)).keys() == result["regime"].keys()  # its log is still there


def test_a_run_without_the_classification_loss_has_a_curve_of_one(small_experiment, small_split, tmp_path):
    alone = replace(small_experiment, classification=False, evaluations=1)
    assert set(fit(alone, small_split, tmp_path)["curve"]) == {"iteration", "ranking"}


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_curve(small_experiment, small_split, tmp_path, monkeypatch):
    monkeypatch.setattr(train.Run, "log_every", 2)
    whole, step = fit(small_experiment, small_split, tmp_path / "whole"), train.Run.step

    def interrupted(run, *arguments):
        if run.iteration == 9:
            raise KeyboardInterrupt
        return step(run, *arguments)

    monkeypatch.setattr(train.Run, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(small_experiment, small_split, tmp_path / "run", checkpoint_every=3)
    monkeypatch.setattr(train.Run, "step", step)
    again = fit(small_experiment, small_split, tmp_path / "run", checkpoint_every=3)
    assert (again["curve"], again["regime"]) == (whole["curve"], whole["regime"])


def test_a_checkpoint_of_an_earlier_version_gives_the_curve_of_its_log():
    watch = regime.Watch(EXPERIMENT, 500, [[50, {"ranking": 0.104}], [100, {"ranking": 0.1}], [450, {"ranking": 9.0}]])
    watch.note(150, {"ranking": 0.041234})  # 450 was of an older run in the same folder
    assert watch.entries()["curve"] == {"iteration": [50, 100, 150], "ranking": [0.104, 0.1, 0.04123]}


def test_the_sentences_name_the_numbers():
    def told(*rankings, experiment=EXPERIMENT):
        curve = regime.columns(points(*rankings))
        return regime.findings({"experiment": experiment.to_dict(), "iterations": 500, "curve": curve})

    lowest = "its lowest mean, 0.1004 at iteration 100, is not below 0.05, half of 0.1"
    assert told(0.104, 0.1004, 0.101) == {regime.NEVER: f"the ranking loss never left its margin: {lowest}"}
    late = (
        "the ranking loss left its margin only after the first decay of the learning rate (at iteration 300), at "
        "iteration 350 (the first mean below 0.05, half of 0.1); its last mean is 0.0200"
    )
    assert told(0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.04, 0.02) == {regime.LATE: late}
    assert told(0.1, 0.04, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1) == {}
    constant = replace(EXPERIMENT, decay_at=())
    assert list(told(0.1, experiment=constant)) == [regime.NEVER]
    assert told(0.1, 0.04, experiment=constant) == {}
    (soft,) = told(0.7, experiment=replace(EXPERIMENT, loss="soft_margin")).values()
    assert "never left its value for a single point: its lowest mean, 0.7000 at iteration 50" in soft
    assert soft.endswith("0.6685, its value where negatives are 0.05 farther than positives")
