"""Embeddings in two bytes or in one a number: what they are when they are read, damage, kills, and what they cost."""

import os
from importlib.util import find_spec

import numpy as np
import pytest

from gluon_cgd.ondisk import building
from gluon_cgd.retrieval import collection, compaction, exact, mending, stores
from gluon_cgd.retrieval.manifest import Damaged, digest, wrong
from gluon_cgd.retrieval.reduction import reduce
from gluon_cgd.retrieval.storing import store
from gluon_cgd.retrieval.whitening import whiten

STAT = os.stat(__file__)
SMALL = ["float16", "int8"]
ERROR = {"float16": 2.0**-11, "int8": 0.5 / 127}  # of a number; of int8, of the largest one


def vectors(count, dim=20, seed=0):
    found = np.random.default_rng(seed).normal(size=(count, dim))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def made(folder, count=40, dim=20, kind=None):
    with collection.writing(folder, dim, {"name": "a model"}) as writer:
        names = [f"/p/{i}.png" for i in range(count)]
        writer.commit(vectors(count, dim), names, [STAT] * count)
        writer.commit(np.empty((0, dim)), [], [], [2] * (count > 2))
    if kind:
        store(folder, kind)
    return folder


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("dim", [1, 3, 8, 21])
def test_what_is_read_is_what_was_written_up_to_its_rounding(kind, dim):
    manifest, rows = dict(dim=dim, store=kind), vectors(30, dim)
    data = stores.encoded(rows, manifest)
    assert data.shape == (30, stores.width_of(manifest))
    assert data.shape[1] % 8 == 0
    assert data.shape[1] < stores.STORES[kind] * dim + 8
    read = stores.opened(data, manifest)
    assert (len(read), read.shape, read[4:9].shape, read[np.array([3, 1])].shape) == (30, (30, dim), (5, dim), (2, dim))
    largest = np.abs(rows).max(axis=1, keepdims=True)
    # Each number, and by the length to which it is scaled again
    assert (np.abs(read[:] - rows) <= 2.2 * ERROR[kind] * largest * dim**0.5).all()
    np.testing.assert_allclose(np.linalg.norm(read[:], axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(read[np.int64(7)], read[:][7])
    np.testing.assert_array_equal(np.asarray(read), read[:])
    if kind == "int8":  # what is read and written again is the same, to the bit
        np.testing.assert_array_equal(stores.encoded(read[:], manifest), data)


def test_a_loop_gives_the_same_bytes():
    row = np.float32([0.5, -0.5, 0.1, 0.7])
    data = stores.encoded(row[None], dict(dim=4, store="int8"))[0].view(np.int8)
    assert data.tolist() == [round(float(x) * 127 / 0.7) for x in row.astype(float)] + [0] * 4
    assert stores.encoded(row[None], dict(dim=4, store="float16"))[0].view("<f2").tolist() == row.astype("<f2").tolist()
    assert stores.encoded(row[None], dict(dim=4))[0].view("<f4").tolist() == row.tolist()


@pytest.mark.parametrize("kind", SMALL)
def test_an_index_is_stored_searched_added_to_and_compacted_in_fewer_bytes(tmp_path, kind):
    said = store(made(tmp_path, 60), kind)
    assert said["before"] == 80
    assert said["after"] == {"float16": 40, "int8": 24}[kind]
    assert said["recall"] > 0.9
    snapshot, right = collection.read(tmp_path), np.delete(vectors(60), 2, axis=0)
    assert os.path.getsize(tmp_path / "vectors-1.bin") == 59 * said["after"]
    np.testing.assert_allclose(snapshot.vectors[:], right, atol=0.01)
    assert store(tmp_path, kind) is None
    with collection.writing(tmp_path, 20, {}) as writer:
        writer.commit(vectors(5, seed=1), [f"/q/{i}.png" for i in range(5)], [STAT] * 5, [0, 7])
    snapshot = collection.read(tmp_path)
    np.testing.assert_allclose(snapshot.vectors[59:], vectors(5, seed=1), atol=0.01)
    queries = vectors(4, seed=2)
    decoded = np.array(snapshot.vectors)
    for (cosines, rows), (want, wanted) in zip(
        exact.search(snapshot, queries, 7), zip(*exact.exact(decoded, queries, 7, snapshot.live))
    ):
        np.testing.assert_array_equal(rows, wanted)
        np.testing.assert_array_equal(cosines, want)
    kept = snapshot.stored[snapshot.live].copy()
    assert compaction.compact(tmp_path) == 2
    np.testing.assert_array_equal(collection.read(tmp_path).stored, kept)


def test_what_was_lost_does_not_come_back(tmp_path):
    made(tmp_path, kind="int8")
    with pytest.raises(
        ValueError, match="is stored as int8, and what that lost does not come back: index into another"
    ):
        store(tmp_path, "float16")


@pytest.mark.parametrize("kind", SMALL)
def test_a_changed_byte_is_noticed_and_mended(tmp_path, kind):
    made(tmp_path, kind=kind)
    file, before = tmp_path / "vectors-1.bin", collection.read(tmp_path).vectors[:]
    data = bytearray(file.read_bytes())
    data[5 * len(data) // 39 + 1] ^= 1
    file.write_bytes(data)
    with pytest.raises(Damaged, match="the embedding of /p/6.png is not what was written"):
        exact.search(collection.read(tmp_path), vectors(1), 3)
    assert mending.mend(tmp_path) == 1
    mended = collection.read(tmp_path)
    np.testing.assert_array_equal(mended.vectors[:], np.delete(before, 5, axis=0))
    file = tmp_path / f"vectors-{mended.manifest['generation']}.bin"
    file.write_bytes(file.read_bytes()[:-3])
    assert mending.mend(tmp_path) == 1
    assert len(collection.read(tmp_path)) == 37


def test_an_interrupted_one_leaves_the_index_as_it_was(tmp_path, monkeypatch):
    made(tmp_path)

    def fail(*_):
        raise OSError("the power is gone")

    monkeypatch.setattr(collection, "replace_manifest", fail)
    with pytest.raises(OSError, match="power"):
        store(tmp_path, "int8")
    monkeypatch.undo()
    np.testing.assert_array_equal(collection.read(tmp_path).vectors, vectors(40))
    assert store(tmp_path, "int8")["after"] == 24


@pytest.mark.slow
def test_an_empty_index_and_one_that_is_whitened_or_reduced_later_are_stored_too(tmp_path):
    assert store(made(tmp_path / "empty", 0), "float16")["queries"] == 0
    with collection.writing(tmp_path / "empty", 20, {}) as writer:
        writer.commit(vectors(3), ["/a", "/b", "/c"], [STAT] * 3)
    np.testing.assert_allclose(collection.read(tmp_path / "empty").vectors[:], vectors(3), atol=1e-3)
    whiten(made(tmp_path / "white", kind="int8"))
    assert collection.read(tmp_path / "white").manifest["store"] == "int8"
    reduce(made(tmp_path / "few", kind="float16"), 5)
    snapshot = collection.read(tmp_path / "few")
    assert (snapshot.manifest["store"], snapshot.vectors.shape, snapshot.stored.shape[1]) == ("float16", (39, 5), 16)


@pytest.mark.parametrize("value", ["bfloat16", 2, None, ["int8"]])
def test_an_unknown_store_is_refused(tmp_path, value):
    manifest = dict(collection.read(made(tmp_path, 3)).manifest, store=value)
    manifest["digest"] = digest(manifest)
    assert "is unknown" in wrong(manifest)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("faiss") is None, reason="faiss-cpu is not installed")
@pytest.mark.parametrize("kind", SMALL)
def test_lists_on_the_disk_are_built_of_it(tmp_path, kind):
    made(tmp_path, 300, kind=kind)
    engine = building.build(collection.read(tmp_path), "disksq", 0.9, 4e9)
    assert engine.state.tuned.recall > 0.8
    assert exact.search(collection.read(tmp_path), vectors(300)[9:10], 1, engine)[0][1].tolist() == [8]
