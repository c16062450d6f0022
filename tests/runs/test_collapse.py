"""The spread of an embedding, and what is said of a run that collapsed or got worse."""

import logging
import math
from dataclasses import replace

import numpy as np
import pytest

from gluon_cgd import backbones
from gluon_cgd.experiment import WITHOUT_IMAGENET, Experiment
from gluon_cgd.recall import Embeddings
from gluon_cgd.runs import collapse, findings, schema

NARROW, WIDE = {"same": 0.9912, "other": 0.9876}, {"same": 0.8, "other": 0.1}


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def every_pair(query, labels, gallery=None, gallery_labels=None):
    """The medians over all pairs, by a loop."""
    found = {"same": [], "other": []}
    for i in range(len(query)):
        for j in range(len(query if gallery is None else gallery)):
            if gallery is None and i == j:
                continue
            item = (query if gallery is None else gallery)[j]
            label = (labels if gallery is None else gallery_labels)[j]
            found["same" if labels[i] == label else "other"].append(query[i] @ item)
    return {kind: np.median(cosines) for kind, cosines in found.items()}


def test_the_medians_are_those_of_all_pairs():
    rng = np.random.default_rng(3)
    labels = rng.integers(5, size=60)
    vectors = unit(rng.normal(size=(60, 8)) + 2 * np.eye(8)[labels]).astype(np.float32)
    others, gallery = rng.integers(3, 9, size=40), unit(rng.normal(size=(40, 8))).astype(np.float32)
    for arguments in ((vectors, labels), (vectors, labels, gallery, others)):
        cosines = collapse.spread(Embeddings(*arguments))
        assert cosines == pytest.approx(every_pair(*arguments), abs=0.04)
    assert collapse.spread(Embeddings(3 * vectors, labels)) == pytest.approx(
        collapse.spread(Embeddings(vectors, labels))
    )


def test_the_same_pairs_are_drawn_each_time_and_nobody_elses_stream_is_touched():
    vectors, labels = np.random.default_rng(0).normal(size=(50, 4)), np.arange(50) // 5
    np.random.seed(7)
    state = np.random.get_state()[1].copy()
    assert collapse.spread(Embeddings(vectors, labels)) == collapse.spread(Embeddings(vectors, labels))
    assert (np.random.get_state()[1] == state).all()


def test_a_kind_without_pairs_has_no_median():
    vectors = unit(np.random.default_rng(0).normal(size=(6, 4)))
    assert collapse.spread(Embeddings(vectors, range(6)))["same"] is None
    assert collapse.spread(Embeddings(vectors, [1] * 6))["other"] is None
    assert collapse.spread(Embeddings(vectors, [0] * 6, vectors, [1] * 6))["same"] is None
    assert collapse.spread(Embeddings(vectors, range(6), vectors, range(6), True))["same"] is None  # none with itself
    assert collapse.spread(Embeddings(np.zeros((6, 4)), [0, 0, 0, 1, 1, 1])) == {"same": 0, "other": 0}


@pytest.mark.parametrize(
    ("changes", "point"),
    [
        ({}, 0.1),
        ({"margin": 0.3}, 0.3),
        ({"loss": "soft_margin"}, math.log(2)),
        ({"loss": "hap2s_e"}, 0.1),
        ({"loss": "hap2s_p"}, 0.1),
        ({"loss": "margin"}, 1.3),
        ({"architecture": "A", "descriptors": "SMG"}, 0.3),
    ],
)
def test_the_loss_at_one_point_is_what_the_losses_say(changes, point):
    import mxnet as mx

    from gluon_cgd.learner import ranked
    from gluon_cgd.losses import RANKING

    experiment = Experiment(**changes)
    assert collapse.at_one_point(experiment) == pytest.approx(point)
    rows, labels = mx.nd.ones((6, 4)) / 2, mx.nd.array([0, 0, 0, 1, 1, 1])
    branches = [rows] * len(experiment.descriptors)
    loss = RANKING[experiment.loss](experiment)
    value = sum(float(loss(vectors, labels).mean().asscalar()) for vectors in ranked(experiment, rows, branches))
    assert value == pytest.approx(point, abs=2e-3)


@pytest.mark.parametrize(
    ("cosines", "ranking", "collapsed"),
    [
        (NARROW, 0.104, True),
        (NARROW, 0.1, True),
        (NARROW, None, True),  # without a log
        (NARROW, 0.028, False),  # it tells classes apart, and will spread
        (WIDE, 0.3, False),
        ({"same": 0.999, "other": 0.92}, 0.11, False),  # narrow, but classes are farther apart than the margin
        ({"same": 0.91, "other": 0.9}, 0.11, True),
        ({"same": 0.9, "other": 0.899}, 0.11, False),
        ({"same": None, "other": 0.99}, 0.11, False),
        ({"same": 1.0000001, "other": 1.0000001}, 0.1, True),
    ],
)
def test_collapse_is_three_signs_together(cosines, ranking, collapsed):
    assert collapse.has_collapsed(Experiment(), cosines, ranking) is collapsed


def result_of(before, after, cosines=None, ranking=None, **changes):
    experiment = Experiment(pretrained=False, **changes)
    entry = {"iteration": 9, "recall": {"R@1": after}}
    entry.update({"spread": cosines} if cosines else {}, **({"losses": {"ranking": ranking}} if ranking else {}))
    recalls = {"untrained": {"R@1": before}, "last": {"R@1": after}, "best": {"R@1": after}}
    history = [{"iteration": 0, "recall": {"R@1": before}}, entry]
    return {"experiment": experiment.to_dict(), **recalls, "best_iteration": 9, "history": history}


def test_the_findings_name_the_numbers_and_the_remedies_fit_the_run():
    below, narrow, remedies = findings.warnings(result_of(0.283, 0.2, NARROW, 0.1021))
    assert below == "R@1 after training, 20.00 %, is below that of the untrained network, 28.30 %"
    for part in ("has collapsed", "0.9876", "0.9912", "0.1021, is not below 0.1 (the margin)"):
        assert part in narrow
    assert "without --no-pretrained" in remedies
    assert "--no-classification" not in remedies
    assert "frozen" not in collapse.remedies(Experiment(pretrained=False))  # batch norms of random parameters
    small = collapse.remedies(Experiment(backbone="cifar_resnet10", pretrained=False))
    assert small.startswith("start from ImageNet weights (another --backbone, resnet50 say, without --no-pretrained)")
    alone = collapse.remedies(Experiment(classification=False, frozen_batch_norm=True))
    assert "without --no-classification" in alone
    assert "--no-pretrained" not in alone
    assert "frozen" not in alone
    assert findings.warnings(result_of(0.2, 0.2, WIDE, 0.05)) == []
    (rose, _) = findings.warnings(result_of(0.03, 0.498, NARROW, 0.1021))
    assert rose.endswith("; R@1 is not below that of the untrained network")
    assert "its value for a single point" in findings.warnings(result_of(0.5, 0.6, NARROW, 0.7, loss="soft_margin"))[0]


@pytest.mark.parametrize("loss", ["multi_similarity", "proxy_anchor"])
def test_a_loss_without_a_value_at_one_point_is_compared_with_nothing(loss):
    experiment = Experiment(loss=loss)
    assert collapse.told({"spread": WIDE, "losses": {"ranking": 0.7}}, experiment).endswith("; ranking loss 0.7000")
    collapsed, _ = findings.warnings(result_of(0.5, 0.6, NARROW, 0.7, loss=loss))
    assert "has collapsed" in collapsed
    assert "ranking loss" not in collapsed
    assert collapse.findings(result_of(0.5, 0.6, None, 0.7, loss=loss)) == {}  # of an earlier version


def test_an_older_run_tells_what_its_result_and_its_log_tell():
    old = result_of(0.3, 0.2)
    below = "R@1 after training, 20.00 %, is below that of the untrained network, 30.00 %"
    assert collapse.findings(old) == {"worse than untrained": below}
    logged = collapse.completed(old, {9: {"ranking": 0.104}})
    assert "0.1040, is not below 0.1 (the margin): the embedding may have collapsed" in findings.warnings(logged)[1]
    measured = collapse.completed(old, {9: {"ranking": 0.104}}, "last", NARROW)
    assert "has collapsed" in findings.warnings(measured)[1]
    assert collapse.findings({"untrained": {"R@1": 0.1}, "last": {"R@1": 0.2}}) == {}
    assert "spread" not in old["history"][1]


def test_the_best_evaluation_has_findings_of_its_own():
    result = result_of(0.3, 0.2, NARROW, 0.104)
    result["history"].insert(1, {"iteration": 4, "recall": {"R@1": 0.4}, "spread": WIDE, "losses": {"ranking": 0.2}})
    result.update(best={"R@1": 0.4}, best_iteration=4)
    assert collapse.findings(result, "best") == {}
    assert len(collapse.findings(result, "last")) == 2


def test_what_is_recorded_is_checked():
    good = result_of(0.3, 0.2, NARROW, 0.104)
    assert schema.history(good["history"], "history") is None
    for spread in ({"same": 2.0}, {"same": "1"}, [1], {"other": float("nan")}):
        good["history"][1]["spread"] = spread
        assert "spread" in schema.history(good["history"], "history")


def test_a_run_that_got_worse_says_so_in_log_and_again_when_it_is_asked_for(
    small_experiment, small_split, tmp_path, caplog, monkeypatch
):
    from gluon_cgd import train

    caplog.set_level(logging.INFO, "gluon_cgd")
    monkeypatch.setattr(
        train.results, "measured", lambda *_: ({"recall": {"R@1": recalls.pop(0)}, "spread": NARROW}, {})
    )
    experiment, recalls = replace(small_experiment, evaluations=1), [0.283, 0.2]
    result = train.fit(experiment, small_split, tmp_path)
    assert result["history"][1]["spread"] == NARROW
    ranking = result["history"][1]["losses"]["ranking"]
    log = (tmp_path / "train.log").read_text()
    assert "[Iteration 0] spread: median cosine 0.9912 of the same class, 0.9876 of other classes\n" in log
    assert f"other classes; ranking loss {ranking:.4f} beside 0.1 (the margin)\n" in log
    for part in (
        "20.00 %, is below that of the untrained network, 28.30 %",
        "has collapsed",
        "usual remedies",
        " WARNING: ",
    ):
        assert part in log
    caplog.clear()
    train.fit(experiment, small_split, tmp_path)
    assert "28.30 %" in caplog.text


def test_no_remedy_is_a_flag_that_would_be_refused():
    assert "--frozen-batch-norm" in collapse.remedies(Experiment())
    assert "--frozen-batch-norm" not in collapse.remedies(Experiment(backbone="squeezenet1.1"))
    without = tuple(name for name, recipe in backbones.BACKBONES.items() if not recipe.model)
    assert without == WITHOUT_IMAGENET
