"""A model that whitens its embeddings: trained with `whiten`, it carries the whitening wherever it goes."""

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from gluon_cgd import model
from gluon_cgd.__main__ import main
from gluon_cgd.datasets import Record, Split, glyphs
from gluon_cgd.evaluate import embed
from gluon_cgd.experiment import Experiment
from gluon_cgd.export import export
from gluon_cgd.extensions import whitening
from gluon_cgd.models import zoo
from gluon_cgd.models.opened import load_trained, open_model
from gluon_cgd.retrieval.whitening import whiten
from gluon_cgd.runs import results
from gluon_cgd.similarity import decompose
from gluon_cgd.train import fit

TINY = Experiment(backbone="cifar_resnet10", pretrained=False, input_size=16, dim=12, descriptors="SM")
SHORT = dict(learning_rate=2e-3, batch_classes=4, batch_images=2, passes=1, evaluations=1, decay_at=())


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """4 training and 4 test classes of letters, 4 pictures each."""
    folder, records = tmp_path_factory.mktemp("letters"), []
    for label in (*range(4), *range(100, 104)):
        for index in range(4):
            file = folder / f"{label}-{index}.png"
            Image.fromarray(glyphs.picture(label, index)).save(file)
            records.append(Record(str(file), label))
    return Split([r for r in records if r.label < 100], [r for r in records if r.label >= 100])


@pytest.fixture(scope="module")
def run(split, tmp_path_factory):
    """(folder, result) of a short run that whitens."""
    folder = tmp_path_factory.mktemp("run")
    changes = {**TINY.changes(), **SHORT, "whiten": True, "dataset": "glyphs"}
    return folder, fit(Experiment(**changes), split, folder, cache=folder)


def pictures(count=6):
    """Coloured squares, uint8 (count, 16, 16, 3)."""
    squares = np.random.default_rng(1).integers(0, 256, (count, 4, 4, 3), np.uint8)
    return squares.repeat(4, axis=1).repeat(4, axis=2)


def unlike(net):
    """Write a whitening of random embeddings into the layer of `net`; returns it."""
    learned = whitening.learn(np.random.default_rng(0).normal(size=(40, 12)) * np.arange(1, 13))
    values = whitening.with_values(
        {f"whitening.{name}": getattr(net.whitening, name).data().asnumpy() for name in ("mean", "axes", "gains")},
        learned,
    )
    for name in ("mean", "axes", "gains"):
        getattr(net.whitening, name).set_data(mx.nd.array(values[f"whitening.{name}"]))
    return learned


def network(**changes):
    mx.random.seed(0)
    return model.from_experiment(Experiment(**{**TINY.changes(), **changes}), 4)


def test_it_is_off_by_default_and_then_no_experiment_has_another_name():
    assert not Experiment().whiten
    assert "whiten" not in Experiment().changes()
    assert network().whitening is None


@pytest.mark.parametrize("hybrid", [True, False])
def test_the_layer_begins_without_an_effect_and_then_computes_the_whitening(hybrid):
    plain, net = network(), network(whiten=True)
    for each in (plain, net):
        each.hybridize(hybrid)
    x = mx.nd.random.uniform(-1, 1, (5, 3, 16, 16))
    before = plain(x)[0].asnumpy()
    np.testing.assert_allclose(net(x)[0].asnumpy(), before, atol=1e-6)
    learned = unlike(net)
    np.testing.assert_allclose(net(x)[0].asnumpy(), learned.applied(before), atol=1e-5)
    assert np.abs(learned.applied(before) - before).max() > 0.1
    for ours, theirs in zip(net(x)[2], plain(x)[2]):  # the branches are those before it
        np.testing.assert_allclose(ours.asnumpy(), theirs.asnumpy(), atol=1e-6)
    read = whitening.of_layer(net.whitening)
    np.testing.assert_allclose(read.applied(before), learned.applied(before), atol=1e-6)


def test_training_does_not_change_it_and_starts_from_the_same_values():
    plain, net = network()._collect_params_with_prefix(), network(whiten=True)._collect_params_with_prefix()
    assert [name for name in net if name not in plain] == ["whitening.mean", "whitening.axes", "whitening.gains"]
    assert all(net[name].grad_req == "null" for name in net if name not in plain)
    assert all(np.array_equal(net[name].data().asnumpy(), plain[name].data().asnumpy()) for name in plain)


@pytest.mark.slow
def test_a_result_has_the_recall_before_and_after_it(run):
    folder, result = run
    for stage in ("untrained", "last", "best"):
        assert set(result["branches"][stage]) == {"SPoC", "MAC", results.PLAIN}
        assert set(result["branches"][stage][results.PLAIN]) == set(result[stage])
    assert results.read_result(folder / "result.json") == result


@pytest.mark.slow
def test_what_is_stored_whitens_as_the_training_pictures_say(run, split):
    folder, result = run
    net, experiment = load_trained(folder)
    learned = whitening.of_layer(net.whitening)
    assert np.abs(learned.gains).max() > 0.1
    opened = open_model(checkpoint=str(folder))
    assert opened.about["name"] == "cgd-whitened_sm_cifar_resnet10_12"
    vectors = opened.embed(pictures())
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    net.hybridize(False)
    net.whitened = lambda embedding: embedding
    np.testing.assert_allclose(vectors, learned.applied(embed(net, pictures(), mx.cpu())), atol=1e-5)


@pytest.mark.slow
def test_a_run_that_is_killed_before_its_result_learns_the_same(run, split, tmp_path, monkeypatch):
    folder, result = run
    with monkeypatch.context() as patch:
        patch.setattr("gluon_cgd.train.with_values", None)
        with pytest.raises(TypeError):
            fit(Experiment.from_dict(result["experiment"]), split, tmp_path, cache=folder, checkpoint_every=1)
    again = fit(Experiment.from_dict(result["experiment"]), split, tmp_path, cache=folder, checkpoint_every=1)
    assert again["parameters_sha256"] == result["parameters_sha256"]
    assert again["last"] == result["last"]


@pytest.mark.slow
def test_heatmaps_add_up_to_the_whitened_cosine(run):
    opened = open_model(checkpoint=str(run[0]))
    assert opened.whitening is not None
    maps, vectors = opened.features(pictures(2)), opened.embed(pictures(2))
    found = decompose(*maps, **opened.decomposing())
    assert found.map1.sum() == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)


@pytest.mark.slow
def test_a_published_model_keeps_it(run, tmp_path):
    net, experiment = load_trained(run[0])
    file = zoo.save(net, experiment, tmp_path)
    again, stored = zoo.load_published(file)
    assert stored.whiten
    for name in ("mean", "axes", "gains"):
        assert np.array_equal(*(getattr(each.whitening, name).data().asnumpy() for each in (net, again)))


def test_a_run_whose_embeddings_are_one_point_goes_on_without():
    same = np.ones((5, 12)) / 12**0.5
    found = whitening.of_training(
        Experiment(**{**TINY.changes(), "whiten": True}), lambda _: same, np.zeros((5, 18, 18, 3))
    )
    np.testing.assert_allclose(found.applied(same), same, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("features", [False, True])
def test_the_exported_model_whitens_too(run, tmp_path, features):
    net, experiment = load_trained(run[0])
    unlike(net)
    file = str(tmp_path / "model.onnx")
    assert export(net, experiment, file, features) < 1e-4
    opened = open_model(exported=file)
    assert (opened.whitening is not None) == features
    if features:
        maps, vectors = opened.features(pictures(2)), opened.embed(pictures(2))
        found = decompose(*maps, **opened.decomposing())
        assert found.map1.sum() == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)


@pytest.mark.slow
def test_an_index_of_such_a_model_is_not_whitened_again(run, split, tmp_path):
    (tmp_path / "photos").mkdir()
    for number, picture in enumerate(pictures()):
        Image.fromarray(picture).save(tmp_path / "photos" / f"{number}.png")
    out = tmp_path / "photos.index"
    assert main(["index", "--checkpoint", str(run[0]), "--images", str(tmp_path / "photos"), "--out", str(out)]) == 0
    with pytest.raises(
        ValueError, match="was made with a model that whitens, trained with --whiten: leave --whiten out"
    ):
        whiten(out)
