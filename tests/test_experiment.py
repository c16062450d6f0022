import json
from pathlib import Path

import pytest

from gluon_cgd.experiment import CONFIGURATIONS, Experiment


def test_the_defaults_are_the_papers():
    e = Experiment()
    assert (e.input_size, e.resize, e.dim, e.batch_size, e.learning_rate) == (224, 252, 1536, 128, 1e-4)
    assert (e.margin, e.temperature, e.gem_p) == (0.1, 0.5, 3)
    assert e.changes() == {}


def test_the_schedule_is_1500_iterations_on_cub200_with_steps_at_400_and_800():
    e = Experiment(dataset="cub200")
    assert e.iterations(5864) == 1500
    assert [round(at * 1500) for at in e.decay_at] == [400, 800]
    assert e.iterations(8054) == 2060


def test_a_run_is_named_by_what_it_changes():
    assert Experiment(dim=512).key() != Experiment().key() == Experiment(margin=0.1).key()
    assert Experiment(smoothing=0).key() == Experiment(smoothing=0.0).key()
    assert Experiment(decay_at=[0.5]).key() == Experiment(decay_at=(0.5,)).key()
    assert Experiment(dim=512).changes() == {"dim": 512}


def test_an_experiment_survives_json():
    e = Experiment(descriptors="SMG", decay_at=(0.6, 0.8), keep_stride=True)
    assert Experiment.from_dict(json.loads(json.dumps(e.to_dict()))) == e
    with pytest.raises(ValueError, match="colour"):
        Experiment.from_dict({"colour": "red"})
    for other in ([1], None, "SG", 7):
        with pytest.raises(ValueError, match="an experiment must be a table of fields, and not "):
            Experiment.from_dict(other)


def test_recorded_runs_keep_their_names():
    files = sorted((Path(__file__).parents[1] / "reproduce/results").glob("*.json"))
    assert files
    for file in files:
        stored = json.loads(file.read_text(encoding="utf-8"))["experiment"]
        assert Experiment.from_dict(stored).key() == file.stem


def test_the_batch_norms_of_a_pretrained_efficientnet_lite_are_frozen_by_default_and_no_other_key_changes():
    assert Experiment().to_dict()["frozen_batch_norm"] is False
    assert Experiment(frozen_batch_norm=False).changes() == Experiment(frozen_batch_norm=None).changes() == {}
    assert Experiment(frozen_batch_norm=True).changes() == {"frozen_batch_norm": True}
    lite = dict(backbone="efficientnet_lite0")
    assert Experiment(**lite).frozen_batch_norm is True
    assert Experiment(**lite).changes() == lite
    trained = Experiment(**lite, frozen_batch_norm=False)
    assert trained.changes() == {**lite, "frozen_batch_norm": False}
    assert Experiment.from_dict(trained.to_dict()) == trained
    assert Experiment.from_dict(Experiment(**lite).to_dict()) == Experiment(**lite)
    assert Experiment(**lite, pretrained=False).frozen_batch_norm is False  # random statistics are not worth keeping


def test_a_removed_field_is_read_where_it_was_off_and_refused_where_it_was_on():
    stored = {**Experiment(dim=512).to_dict(), "margin_underflow": False}
    assert Experiment.from_dict(stored) == Experiment(dim=512)
    with pytest.raises(ValueError, match="margin_underflow True is of an earlier version of gluon_cgd: train again"):
        Experiment.from_dict({**stored, "margin_underflow": True})


def test_there_are_twelve_configurations():
    assert len(set(CONFIGURATIONS)) == 12
    for descriptors in CONFIGURATIONS:
        Experiment(descriptors=descriptors)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("descriptors", "SS"),
        ("descriptors", "X"),
        ("dim", 0),
        ("dim", 1535),
        ("input_size", 100),
        ("smoothing", 1),
        ("temperature", 0),
        ("margin", -0.1),
        ("batch_classes", 1),
        ("batch_images", 1),
        ("passes", 0),
        ("decay_at", (0.8, 0.6)),
        ("decay_at", (1.5,)),
        ("learning_rate", 0),
        ("architecture", "C"),
        ("combine", "product"),
        ("loss", "contrastive"),
        ("evaluations", 0),
        ("gem_p", 0),
        ("passes", float("inf")),
        ("learning_rate", float("nan")),
        ("dim", "1536"),
        ("dim", 1536.0),
        ("margin", None),
        ("pretrained", 1),
        ("batch_classes", True),
        ("keep_stride", "yes"),
        ("decay_at", 0.5),
        ("descriptors", ["S", "M"]),
        ("passes", 1e308),
        ("batch_classes", 10**9),
        ("batch_images", 10**9),
        ("dim", 10**9),
        ("input_size", 10**6),
        ("evaluations", 10**9),
        ("split_seed", -1),
        ("split_seed", 2**31),
        ("margin", 1e300),
        ("margin", 10**400),  # more than a float holds
        ("dim", 10**10000),  # more digits than Python writes
        ("hap2s_sigma", 1e39),
        ("hap2s_sigma", 0.05),
        ("hap2s_alpha", 20),
        ("margin_boundary", 1e39),
        ("gem_minimum", 1e-300),  # 0 in float32
        ("learning_rate", 1e39),
        ("weight_decay", 1e39),
        ("decay_factor", 1e200),
        ("decay_at", [0.5] * 101),
        ("decay_at", [True]),
        ("decay_at", [float("nan")]),
        ("dataset", "a\0b"),
        ("dataset", "a" * 5000),
        ("backbone", "r" * 10**6),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, (str, float)) else type(value).__name__,
)
def test_a_value_that_no_run_can_have_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field) as refusal:
        Experiment(**{field: value})
    assert ": " in str(refusal.value)  # the rule, then the remedy
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "A", "combine": "sum"}, "combine 'sum' cannot go with architecture A, which concatenates"),
        ({"batch_classes": 4096, "batch_images": 8}, "batch_classes 4096 times batch_images 8 are more than 16384"),
        ({"gem_p": 8}, "gem_minimum 1e-06 to the power of gem_p 8.0 .* raise it to 0.0001, or gem_p to at most 6.1"),
        ({"gem_minimum": 1e-16}, "gem_minimum 1e-16 to the power of gem_p 3.0 .* raise it to 1e-12, or .* at most 2.3"),
        ({"gem_minimum": 0.1, "gem_p": 26}, "gem_p 26.0 raises activations of 30 out .*: take at most 22.3, or M"),
        ({"gem_minimum": 1e6, "gem_p": 6}, "gem_p 6.0 raises activations of 1e[+]06 out .*: take at most 5.5"),
        ({"descriptors": "SMG", "dim": 64}, "dim 64 must be divisible by the 3 branches of SMG: 63 and 66 are"),
    ],
)
def test_values_that_do_not_go_together_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Experiment(**change)
    Experiment(descriptors="SA", gem_p=26)  # A divides by the largest activation first
    for gem_p, gem_minimum in ((6.1, 1e-6), (8, 1e-4), (2.3, 1e-16), (3, 1e-12), (22.3, 0.1), (5.5, 1e6)):
        Experiment(gem_p=gem_p, gem_minimum=gem_minimum)
    Experiment(combine="sum", dim=65)
    Experiment(architecture="B", dim=65)
