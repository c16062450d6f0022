"""The two scripts that draw a whole test set: ranking.py and embedding.py."""

import numpy as np
import pytest
from PIL import Image

from gluon_cgd.experiment import Experiment
from gluon_cgd.train import fit
from visualize import embedding, ranking


@pytest.fixture
def runs(tmp_path, small_split, monkeypatch):
    """A folder with one trained model; its test set is the small one."""
    schedule = dict(passes=0.2, batch_classes=4, batch_images=2, evaluations=1)
    small = dict(dataset="glyphs", backbone="cifar_resnet10", pretrained=False, input_size=32, dim=8)
    fit(Experiment(descriptors="SM", **small, **schedule), small_split, tmp_path / "runs" / "one")
    monkeypatch.setattr("gluon_cgd.datasets.load", lambda *_: small_split)
    return tmp_path / "runs"


def test_results_are_ranked_as_a_loop_ranks_them():
    rng = np.random.default_rng(0)
    query, gallery = rng.normal(size=(9, 4)), rng.normal(size=(12, 4))
    rows = np.array([2, 7])
    for searched in (None, gallery):
        for row, nearest in zip(rows, ranking.ranked(query, searched, rows, 4)):
            others = [i for i in range(len(query)) if i != row] if searched is None else list(range(len(gallery)))
            items = query if searched is None else gallery
            expected = sorted(others, key=lambda i: np.linalg.norm(items[i] - query[row]))[:4]
            assert nearest.tolist() == expected
    whole = np.concatenate([query, gallery])
    for row, nearest in zip(rows, ranking.ranked(query, whole, rows, 4, queries_first=True)):
        others = [i for i in range(len(whole)) if i != row]
        assert nearest.tolist() == sorted(others, key=lambda i: np.linalg.norm(whole[i] - query[row]))[:4]


def test_a_query_is_never_its_own_result_however_many_are_drawn():
    vectors = np.random.default_rng(0).normal(size=(5, 4))
    for gallery, queries_first in ((None, False), (np.concatenate([vectors, vectors + 1]), True)):
        items = vectors if gallery is None else gallery
        nearest = ranking.ranked(vectors, gallery, [3], 100, queries_first)
        assert sorted(nearest[0]) == [i for i in range(len(items)) if i != 3]
    assert ranking.ranked(vectors, vectors + 1, [3], 100).shape == (1, 5)  # a gallery of other pictures


def test_a_ranking_says_how_many_results_it_drew(runs, small_split, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ranking, "draw", lambda *arguments: None)
    flags = ["--runs", str(runs), "--out", str(tmp_path / "drawn.png"), "--queries", "1", "-k", "1000"]
    assert ranking.main(flags) == 0
    assert f" % of the {len(small_split.query) - 1} results shown are" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("script", [ranking, embedding])
def test_the_test_set_of_the_best_model_is_drawn(script, runs, tmp_path, capsys):
    out = tmp_path / "drawn.png"
    assert script.main(["--runs", str(runs), "--out", str(out)]) == 0
    assert "cgd_sm_cifar_resnet10_8 on glyphs" in capsys.readouterr().out
    with Image.open(out) as picture:
        assert picture.width > 1000


@pytest.mark.parametrize(
    ("script", "change", "message"),
    [
        (ranking, ["-k", "0"], "-k 0 must be at least 1"),
        (ranking, ["--out", "x.gif"], "must end with .png"),
        (ranking, ["--runs", "nowhere"], "nowhere holds no trained model"),
        (embedding, ["--classes", "0"], "--classes 0 must be at least 1"),
        (embedding, ["--out", "x"], "must end with .png"),
        (embedding, ["--checkpoint", "nothing"], "nothing holds no finished run"),
        (embedding, ["--checkpoint", "m.params", "--which", "best"], "--which is for a run's folder"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_sentence(script, change, message, runs, capsys):
    assert script.main(["--runs", str(runs), *change]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1


def test_principal_components_keep_the_distances_of_points_in_a_plane():
    rng = np.random.default_rng(1)
    plane = rng.normal(size=(20, 2))
    places = embedding.flattened(plane @ np.linalg.qr(rng.normal(size=(6, 2)))[0].T + 3, "pca")
    lengths = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (plane, places)]
    np.testing.assert_allclose(*lengths, atol=1e-9)
    with pytest.raises(ValueError, match="2 pictures make no map"):
        embedding.flattened(plane[:2], "pca")


def test_tsne_separates_far_clusters_or_names_what_it_needs():
    points = np.repeat(np.eye(3) * 100, 15, axis=0) + np.random.default_rng(0).normal(size=(45, 3))
    try:
        import sklearn  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match="requirements-extra.txt, or take --method pca"):
            embedding.flattened(points, "tsne")
        return
    places = embedding.flattened(points, "tsne").reshape(3, 15, 2)
    assert np.linalg.norm(places.mean(axis=1)[0] - places.mean(axis=1)[1]) > places.std(axis=1).max()
