"""Networks with descriptors and losses beyond the paper's: trained, kept, resumed, exported, explained."""

from dataclasses import replace

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd import similarity
from gluon_cgd.evaluate import embed, features_of
from gluon_cgd.experiment import CLASSIFICATION_LOSSES, Experiment
from gluon_cgd.export import export
from gluon_cgd.learner import Learner
from gluon_cgd.model import from_experiment
from gluon_cgd.models import onnx_model
from gluon_cgd.models.opened import load_trained, open_model
from gluon_cgd.train import fit

SMALL = dict(backbone="cifar_resnet10", pretrained=False, input_size=32)
LEARNED = {"P": ("raw", (1, 1, 1, 1)), "Q": ("raw", (1, 128, 1, 1)), "A": ("attention", (1, 128, 1, 1))}
CHANGES = [
    *({"descriptors": letters} for letters in ("PS", "SQ", "A", "RG", "WC", "PQARWC")),
    {"descriptors": "QC", "combine": "sum"},
    {"descriptors": "WARP", "architecture": "B"},
]


def pictures(count, side=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def network(**changes):
    """(net, experiment): random parameters, what descriptors learn included."""
    experiment = Experiment(**{**SMALL, "dim": 24, **changes})
    mx.random.seed(1)
    net, rng = from_experiment(experiment, 3), np.random.default_rng(2)
    for name, parameter in net._collect_params_with_prefix().items():
        if name.endswith(("raw", "attention")):
            parameter.set_data(mx.nd.array(rng.normal(0, 0.05, parameter.shape)))
    return net, experiment


@pytest.mark.parametrize(
    "changes",
    [pytest.param(change, marks=() if change in CHANGES[-2:] else pytest.mark.slow) for change in CHANGES],
    ids=str,
)
def test_they_export_and_their_heatmaps_sum_to_the_cosine(changes, tmp_path):
    net, experiment = network(**changes)
    assert export(net, experiment, tmp_path / "model.onnx", features=True) <= 1e-4
    shown, model = pictures(2), onnx_model.load_exported(tmp_path / "model.onnx")
    embeddings = embed(net, shown, mx.cpu(), 2)
    np.testing.assert_allclose(model.embed(shown), embeddings, atol=1e-5)
    how = similarity.arguments(similarity.weights_of(net), experiment, similarity.learned_of(net))
    opened = open_model(exported=str(tmp_path / "model.onnx"))
    for features, arguments in (
        (features_of(net, shown, mx.cpu()), how),
        (opened.features(list(shown)), opened.decomposing()),
    ):
        found = similarity.decompose(*features, **arguments)
        assert found.cosine == pytest.approx(float(embeddings[0] @ embeddings[1]), abs=1e-5)
        assert [found.map1.sum(), found.map2.sum()] == pytest.approx([found.cosine] * 2, abs=1e-6)
        assert found.difference().map1.sum() == pytest.approx(1 - found.cosine, abs=1e-6)


@pytest.mark.parametrize("letter", "PQAC")
def test_the_split_of_a_homogeneous_descriptor_is_the_feature_times_the_derivative(letter):
    """With its weights kept as they are; R-MAC's and CroW's weights depend on the features."""
    net, experiment = network(descriptors=letter)
    features = np.random.default_rng(0).uniform(0.1, 2, (1, 128, 8, 8)).astype(np.float32)
    x = mx.nd.array(features)
    x.attach_grad()
    with mx.autograd.record():
        pooled = net.poolings[0](x)
    pooled.backward()
    learned = similarity.learned_of(net)
    share = similarity.contributions(features[0], letter, 3, 1e-6, 3, learned and learned[0])
    np.testing.assert_allclose(share.sum(axis=(1, 2)), pooled.asnumpy()[0], rtol=1e-4)
    if letter != "A":
        np.testing.assert_allclose(share, (x * x.grad).asnumpy()[0], atol=1e-4)


def test_a_split_without_what_was_learned_is_refused():
    with pytest.raises(ValueError, match="is split by what it learned: give that"):
        similarity.decompose(np.ones((3, 2, 2)), np.ones((3, 2, 2)), None, "P")


@pytest.mark.parametrize("values", [5, [[1.0], None, None], [["x"]], [[]], {"P": 3}, [[float("nan")]]], ids=str)
def test_an_exported_file_that_says_nonsense_of_what_was_learned_is_refused(values, tmp_path):
    net, experiment = network(descriptors="P")
    with pytest.raises(ValueError, match="no numbers as learned"):  # export opens what it wrote
        export(net, experiment, tmp_path / "model.onnx", learned=values)


@pytest.mark.slow
@pytest.mark.parametrize("letter", LEARNED)
def test_what_a_descriptor_learns_is_trained_saved_and_restored(letter, small_experiment, small_split, tmp_path):
    name, shape = LEARNED[letter]
    experiment = replace(small_experiment, descriptors="S" + letter)
    fit(experiment, small_split, tmp_path / "run")
    net, _ = load_trained(tmp_path / "run")
    parameter = net._collect_params_with_prefix()[f"poolings.1.{name}"]
    mx.random.seed(0)
    first = from_experiment(experiment, 6)._collect_params_with_prefix()[f"poolings.1.{name}"]
    assert parameter.shape == shape
    assert np.abs(parameter.data().asnumpy() - first.data().asnumpy()).min() > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"descriptors": "PA", "classification_loss": "cosface", "attention": "cbam"}, {"loss": "proxy_anchor"}],
    ids=str,
)
def test_an_interrupted_run_goes_on_to_the_same_parameters(changes, small_experiment, small_split, tmp_path):
    experiment = replace(small_experiment, **changes)
    whole = fit(experiment, small_split, tmp_path / "whole")
    step, count = Learner.step, []

    def dying(self, *arguments):
        count.append(1)
        if len(count) == 8:
            raise KeyboardInterrupt
        return step(self, *arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Learner, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            fit(experiment, small_split, tmp_path / "cut", checkpoint_every=5)
    again = fit(experiment, small_split, tmp_path / "cut", checkpoint_every=5)
    assert again["last"] == whole["last"]
    assert (tmp_path / "cut" / "last.params").read_bytes() == (tmp_path / "whole" / "last.params").read_bytes()


@pytest.mark.parametrize("name", CLASSIFICATION_LOSSES)
@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_classification_loss_says_what_the_classifier_ends_with(name, batch_norm):
    net, _ = network(classification_loss=name, classifier_batch_norm=batch_norm)
    _, logits, _ = net(mx.nd.random.uniform(shape=(4, 3, 32, 32)))
    weight = net.classifier[-1].weight
    assert weight.shape == (3, 128)
    assert logits.shape == (4, 3)
    is_cosine = name in ("normalised_softmax", "cosface", "arcface")
    before = logits.asnumpy()
    weight.set_data(7 * weight.data())
    _, logits, _ = net(mx.nd.random.uniform(shape=(4, 3, 32, 32)))
    assert (np.abs(before).max() <= 1.0001) == is_cosine or not is_cosine
    assert (np.abs(logits.asnumpy()).max() <= 1.0001) == is_cosine


def test_proxies_follow_the_logits_and_are_learned():
    net, experiment = network(loss="proxy_anchor", dim=24)
    x = mx.nd.random.uniform(shape=(4, 3, 32, 32))
    embedding, both, _ = net(x)
    assert both.shape == (4, 6)
    rows = net.proxies.weight.data().asnumpy()
    expected = embedding.asnumpy() @ (rows / np.linalg.norm(rows, axis=1, keepdims=True)).T
    np.testing.assert_allclose(both.asnumpy()[:, 3:], expected, atol=1e-5)
    small = replace(experiment, batch_classes=2, batch_images=2)
    learner = Learner(small, net, mx.cpu())
    assert net.proxies.weight in learner.learned
    batch = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    before = net.proxies.weight.data().asnumpy()
    means = learner.step(batch, mx.nd.array([0, 0, 2, 2]), 1)
    assert np.isfinite(means.asnumpy()).all()
    assert means.shape == (2,)
    assert np.abs(net.proxies.weight.data().asnumpy() - before).min() > 0


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["multi_similarity", "proxy_anchor"])
def test_a_batch_in_parts_has_the_same_losses(loss):
    values, small = [], dict(batch_classes=2, batch_images=2, classification_loss="arcface", frozen_batch_norm=True)
    batch = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    for parts in (1, 2):
        net, experiment = network(loss=loss, descriptors="PR", classifier_batch_norm=False, **small)
        learner = Learner(experiment, net, mx.cpu(), parts)
        values.append([learner.step(batch, mx.nd.array([0, 0, 2, 2]), 1).asnumpy() for _ in range(2)])
    np.testing.assert_allclose(*values, rtol=2e-4)


def test_the_keys_of_existing_experiments_are_unchanged():
    assert Experiment().key() == "cars196-resnet50-SG-1536-44136fa355"
    assert Experiment().changes() == {}
    added = Experiment(descriptors="PR", rmac_scales=2, classification_loss="focal", focal_gamma=1)
    assert set(added.changes()) == {"descriptors", "rmac_scales", "classification_loss", "focal_gamma"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"descriptors": "PP"}, "descriptors 'PP' is unknown: take different letters of S, M, G, P, Q, A, R, W, C"),
        ({"descriptors": "P", "gem_p": 12}, "gem_p 12.0 cannot begin the trained exponent of P"),
        ({"rmac_scales": 4}, "rmac_scales 4 must be 1, 2 or 3"),
        ({"classification_loss": "sphere"}, "classification_loss 'sphere' is unknown: choose one of softmax, norm"),
        ({"loss": "proxy_anchor", "architecture": "A"}, "loss 'proxy_anchor' cannot go with architecture A"),
        ({"descriptors": "PQARWC", "dim": 64}, "dim 64 must be divisible by the 6 branches of PQARWC: 60 and 66 are"),
        ({"cosine_scale": 0}, "cosine_scale 0.0 must be from 0.001 to 1000"),
        ({"arcface_margin": 4}, "arcface_margin 4.0 must be from 0 to 3"),
        ({"proxy_rate": 0}, "proxy_rate 0.0 must be from 0.001 to 1000"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Experiment(**changes)
