"""PCA-whitening of an index: what is learned, how it is stored, and what a search finds with it."""

import json
import os
import shutil

import numpy as np
import pytest

from gluon_cgd.extensions.whitening import RIDGE, Whitening, learn
from gluon_cgd.retrieval import collection
from gluon_cgd.retrieval.whitening import read, whiten

STAT = os.stat(__file__)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def embeddings(count, dim, seed=0):
    """Unit vectors around a mean; three directions vary much more than the others."""
    rng = np.random.default_rng(seed)
    spread = np.r_[3, 2, 1, np.full(dim - 3, 0.05)] * rng.normal(size=(count, dim))
    return unit(spread + 2)


@pytest.mark.parametrize("count", [40, 7])
def test_whitened_variances_are_equal_up_to_the_ridge(count):
    """Fewer pictures than the 12 numbers of an embedding are no exception."""
    vectors = embeddings(count, 12)
    learned = learn(vectors)
    before = vectors - vectors.mean(axis=0)
    variances, axes = np.linalg.eigh(before.T @ before / count)
    ridge = RIDGE * variances.sum()
    expected = before @ axes @ np.diag((ridge / (np.maximum(variances, 0) + ridge)) ** 0.5) @ axes.T
    np.testing.assert_allclose(learned.turned(vectors - learned.mean), expected, atol=1e-6)
    whitened = np.linalg.eigvalsh(np.cov(expected.T, bias=True))
    assert variances[-1] / variances[-3] > 3 > whitened[-1] / whitened[-3]


def test_no_direction_is_blown_up_whatever_the_pictures():
    """Two of them, many copies, directions that differ by rounding only: the gains stay between -1 and 0."""
    base = embeddings(3, 50)
    copies = np.concatenate([np.repeat(base[:1], 300, axis=0), base[1:]])
    noisy = unit(copies + 1e-9 * np.random.default_rng(1).normal(size=copies.shape))
    for vectors in (base[:2], base, copies, noisy, embeddings(400, 50)):
        learned = learn(vectors.astype(np.float32))
        assert ((learned.gains > -1) & (learned.gains <= 0)).all()
        np.testing.assert_allclose(learned.axes @ learned.axes.T, np.eye(len(learned.gains)), atol=1e-5)
        assert np.isfinite(learned.applied(vectors)).all()
        np.testing.assert_allclose(np.linalg.norm(learned.applied(vectors), axis=1), 1, atol=1e-6)


def test_what_is_learned_from_a_few_pictures_leaves_other_directions_as_they_are():
    learned = learn(embeddings(5, 30))
    other = np.linalg.svd(learned.axes)[2][-1]  # orthogonal to all that was seen
    np.testing.assert_allclose(learned.turned(other), other, atol=1e-6)


@pytest.mark.parametrize("vectors", [np.ones((1, 4)) / 2, np.ones((9, 4)) / 2])
def test_nothing_can_be_learned_from_one_embedding(vectors):
    with pytest.raises(ValueError, match="the pictures have one embedding, .*: leave --whiten out"):
        learn(vectors)


def made(folder, vectors):
    with collection.writing(folder, vectors.shape[1], {"name": "a model"}) as writer:
        names = [f"/p/{i}.png" for i in range(len(vectors))]
        writer.commit(vectors.astype(np.float32), names, [STAT] * len(vectors))
        writer.commit(np.empty((0, vectors.shape[1])), [], [], [2])
    return folder


def test_an_index_is_whitened_once_and_can_be_read_anywhere(tmp_path):
    vectors = embeddings(30, 12)
    folder = made(tmp_path / "idx", vectors)
    said = whiten(folder)
    live = np.delete(vectors, 2, axis=0)  # a removed picture teaches nothing
    assert said["pictures"] == 29
    moved = shutil.move(folder, tmp_path / "elsewhere")
    snapshot = collection.read(moved)
    assert snapshot.manifest["model"] == {"name": "a model", "whitening": said}
    learned = read(moved, said, 12)
    np.testing.assert_allclose(snapshot.vectors, learn(live.astype(np.float32)).applied(live), atol=1e-6)
    np.testing.assert_allclose(snapshot.vectors, learned.applied(live), atol=1e-6)
    assert [snapshot.path(row) for row in (0, 2)] == ["/p/0.png", "/p/3.png"]
    assert whiten(moved) is None
    np.testing.assert_array_equal(collection.read(moved).vectors, snapshot.vectors)


def test_an_index_whose_whitening_is_interrupted_is_as_before(tmp_path, monkeypatch):
    folder = made(tmp_path / "idx", embeddings(30, 12))
    before = collection.read(folder).vectors.copy()

    def fail(*_):
        raise OSError("the power is gone")

    monkeypatch.setattr(collection, "replace_manifest", fail)
    with pytest.raises(OSError, match="power"):
        whiten(folder)
    monkeypatch.undo()
    np.testing.assert_array_equal(collection.read(folder).vectors, before)
    assert whiten(folder)["pictures"] == 29


@pytest.mark.parametrize("damage", ["missing", "short", "changed", "a count of words"])
def test_a_damaged_whitening_is_refused(tmp_path, damage):
    said = whiten(made(tmp_path, embeddings(30, 12)))
    file = tmp_path / said["file"]
    data = bytearray(file.read_bytes())
    data[9] ^= 1
    if damage == "missing":
        file.unlink()
    elif damage == "a count of words":
        said = json.loads(json.dumps(dict(said, axes="many")))
    else:
        file.write_bytes(data[:-4] if damage == "short" else data)
    with pytest.raises(ValueError, match="is whitened, and its whitening cannot be read .*: copy the index again"):
        read(tmp_path, said, 12)


def test_the_embedding_that_is_the_mean_gives_zeros_and_no_nan():
    flat = Whitening(np.full(4, 0.5), np.eye(4)[:1], np.array([-0.5]))
    assert flat.applied(np.full((1, 4), 0.5)).tolist() == [[0, 0, 0, 0]]
