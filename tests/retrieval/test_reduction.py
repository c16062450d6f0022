"""Embeddings with fewer numbers: what stays, what it costs, how it is stored, and what refuses it."""

import os

import numpy as np
import pytest

from gluon_cgd.retrieval import collection, exact
from gluon_cgd.retrieval.reduction import Reduction, principal_axes, read, reduce
from gluon_cgd.retrieval.whitening import whiten

STAT = os.stat(__file__)


def embeddings(count, rank=5, dim=20, noise=0.01, seed=0):
    """float32 unit vectors that lie near to `rank` directions."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(rank, dim))
    vectors = rng.normal(size=(count, rank)) @ directions + noise * rng.normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def made(folder, vectors, dead=(), **model):
    with collection.writing(folder, vectors.shape[1], {"name": "a model", **model}) as writer:
        writer.commit(vectors, [f"/p/{i}.png" for i in range(len(vectors))], [STAT] * len(vectors))
        writer.commit(np.empty((0, vectors.shape[1])), [], [], dead)
    return folder


def test_reduced_cosines_are_those_of_the_embeddings_without_the_other_directions(tmp_path):
    vectors = embeddings(60)
    said = reduce(made(tmp_path, vectors, dead=[2]), 5)
    snapshot, learned = collection.read(tmp_path), read(tmp_path, said, 20)
    assert (snapshot.dim, snapshot.count) == (5, 59)
    assert snapshot.manifest["model"] == {"name": "a model", "reduction": said}
    live = np.delete(vectors, 2, axis=0)
    np.testing.assert_allclose(snapshot.vectors, learned.applied(live), atol=1e-6)
    full = learned.turned(live.astype(np.float64))  # in all 20 numbers, as heatmaps take them
    full /= np.linalg.norm(full, axis=1, keepdims=True)
    np.testing.assert_allclose(snapshot.vectors @ snapshot.vectors.T, full @ full.T, atol=1e-5)
    np.testing.assert_allclose(snapshot.vectors @ snapshot.vectors.T, live @ live.T, atol=0.02)  # nearly all stays
    assert snapshot.path(2) == "/p/3.png"
    assert said["kept"] > 0.99
    assert said["pictures"] == 59


def test_the_cost_is_the_share_of_neighbours_that_are_lost(tmp_path):
    vectors = embeddings(300, rank=12, noise=0.2)
    said = reduce(made(tmp_path / "few", vectors), 3)
    axes = read(tmp_path / "few", said, 20)
    drawn = np.random.default_rng(0).permutation(300)[:100]
    truth, reduced, shares = vectors @ vectors.T, axes.applied(vectors) @ axes.applied(vectors).T, []
    for row in drawn:
        first, second = (set(np.argsort(-np.delete(each[row], row))[:10]) for each in (truth, reduced))
        shares.append(len(first & second) / 10)
    assert said["recall"] == pytest.approx(np.mean(shares), abs=1e-9)
    assert reduce(made(tmp_path / "many", vectors), 15)["recall"] > said["recall"] + 0.2


def test_it_is_done_once_and_an_interrupted_one_leaves_the_index_as_it_was(tmp_path, monkeypatch):
    folder = made(tmp_path, embeddings(40))
    before = collection.read(folder).vectors.copy()

    def fail(*_):
        raise OSError("the power is gone")

    monkeypatch.setattr(collection, "replace_manifest", fail)
    with pytest.raises(OSError, match="power"):
        reduce(folder, 6)
    monkeypatch.undo()
    np.testing.assert_array_equal(collection.read(folder).vectors, before)
    assert reduce(folder, 6)["dim"] == 6
    after = collection.read(folder).vectors.copy()
    assert reduce(folder, 6) is None
    np.testing.assert_array_equal(collection.read(folder).vectors, after)
    with pytest.raises(ValueError, match="was reduced to 6 numbers already: index into another folder"):
        reduce(folder, 4)
    with pytest.raises(ValueError, match="was reduced, and one of the two is possible"):
        whiten(folder)


@pytest.mark.parametrize(
    ("dim", "problem"), [(0, "at least 1"), (-3, "at least 1"), (20, "below 20"), (99, "below 20")]
)
def test_numbers_that_cannot_be_are_refused(tmp_path, dim, problem):
    with pytest.raises(ValueError, match=f"--reduce {dim} must be .*{problem}"):
        reduce(made(tmp_path, embeddings(30)), dim)


def test_few_pictures_and_whitened_ones_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds 7 pictures, and --reduce 8 is learned from at least as many"):
        reduce(made(tmp_path / "few", embeddings(7)), 8)
    whiten(made(tmp_path / "white", embeddings(30)))
    with pytest.raises(ValueError, match="is whitened, and one of the two is possible"):
        reduce(tmp_path / "white", 8)


def test_an_index_of_a_model_that_whitens_itself_is_not_reduced(tmp_path):
    made(tmp_path, embeddings(30), experiment={"whiten": True})
    with pytest.raises(ValueError, match="was made with a model that whitens, trained with --whiten: leave --reduce"):
        reduce(tmp_path, 8)
    assert collection.read(tmp_path).dim == 20


@pytest.mark.parametrize("damage", ["missing", "short", "changed", "a size of words", "too many"])
def test_a_damaged_reduction_is_refused(tmp_path, damage):
    said = reduce(made(tmp_path, embeddings(30)), 4)
    file = tmp_path / said["file"]
    data = bytearray(file.read_bytes())
    data[9] ^= 1
    if damage == "missing":
        file.unlink()
    elif damage in ("a size of words", "too many"):
        said = dict(said, dim="many" if damage == "a size of words" else 20)
    else:
        file.write_bytes(data[:-4] if damage == "short" else data)
    with pytest.raises(ValueError, match="is reduced, and how cannot be read .*: copy the index again"):
        read(tmp_path, said, 20)


def test_axes_of_equal_embeddings_are_orthogonal_too():
    axes = principal_axes(np.tile(embeddings(1), (30, 1)), 7)
    np.testing.assert_allclose(axes @ axes.T, np.eye(7), atol=1e-5)
    once = Reduction(axes.astype(np.float64)).applied(embeddings(1))
    assert len(exact.exact(once, once, 1)[0]) == 1
