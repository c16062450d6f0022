"""FAISS and Milvus Lite themselves, against the exact search; what is not installed is skipped."""

import os
import shutil
from importlib.util import find_spec

import numpy as np
import pytest

from gluon_cgd.retrieval import approximate, collection, exact

needs_faiss = pytest.mark.skipif(find_spec("faiss") is None, reason="faiss-cpu is not installed")
needs_milvus = pytest.mark.skipif(
    find_spec("pymilvus") is None or find_spec("milvus_lite") is None,
    reason="pymilvus and milvus-lite are not installed",
)
DIM = 16


def clustered(n, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(20, DIM))[rng.integers(20, size=n)] + 0.3 * rng.normal(size=(n, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def add(folder, n, seed=0, dead=()):
    with collection.writing(folder, DIM, {}) as writer:
        names = [f"/{seed}/{i}.jpg" for i in range(n)]
        writer.commit(clustered(n, seed), names, [os.stat(folder)] * n, dead)
    return collection.read(folder)


def agrees(snapshot, engine, least):
    """Finds at least that share, gives exact cosines, and nothing dead."""
    asked = clustered(20, seed=9)
    assert exact.recall(snapshot, engine)[0] >= least
    for query, (cosines, rows) in zip(asked, exact.search(snapshot, asked, 10, engine)):
        assert snapshot.live[rows].all()
        np.testing.assert_allclose(cosines, snapshot.vectors[rows] @ query, atol=1e-6)


@needs_faiss
@pytest.mark.parametrize(("kind", "least"), [("flat", 1), ("hnsw", 0.95), ("ivf", 0.9), ("pq", 0.3), ("ivfpq", 0.35)])
def test_an_index_of_faiss_finds_what_the_exact_search_finds(tmp_path, kind, least):
    snapshot = add(tmp_path, 10_000 if "pq" in kind else 1_500, dead=range(100))
    done = []
    engine = approximate.build_faiss(snapshot, kind, done.append)
    assert done[-1] == engine.rows == snapshot.count
    agrees(snapshot, engine, least)
    again = add(tmp_path, 300, seed=1, dead=range(100, 200))  # changed since: the rest is searched exactly
    reopened = approximate.Faiss(again, kind)
    assert reopened.rows == snapshot.count
    agrees(again, reopened, least)
    newest = approximate.build_faiss(again, kind)
    assert newest.rows == again.count
    assert len(list(tmp_path.glob("faiss-*"))) == 1


@needs_faiss
def test_what_faiss_cannot_do_is_said_in_a_sentence(tmp_path):
    snapshot = add(tmp_path, 30)
    with pytest.raises(ValueError, match="has no FAISS index 'ivf' .*--engine faiss --kind ivf builds it"):
        approximate.Faiss(snapshot, "ivf")
    with pytest.raises(ValueError, match="has 30 rows, and FAISS needs 39 for ivf: take --engine exact"):
        approximate.build_faiss(snapshot, "ivf")
    with pytest.raises(ValueError, match="needs 9,984 for pq"):
        approximate.build_faiss(snapshot, "pq")
    with pytest.raises(ValueError, match="'lsh' is unknown: choose one of flat, ivf, hnsw, pq, ivfpq"):
        approximate.build_faiss(snapshot, "lsh")
    file = approximate.build_faiss(snapshot, "flat").file
    shutil.copy(file, tmp_path / "faiss-flat-0-29.index")
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ValueError, match="cannot be read: delete it and build it again"):
        approximate.Faiss(snapshot, "flat")
    file.unlink()
    with pytest.raises(ValueError, match="holds other vectors: delete it"):
        approximate.Faiss(snapshot, "flat")
    add(tmp_path, 1, seed=3, dead=[0])
    collection.compact(tmp_path)  # rows have other numbers now
    with pytest.raises(ValueError, match="has no FAISS index 'flat' of these rows"):
        approximate.Faiss(collection.read(tmp_path), "flat")


def test_a_compressed_vector_is_of_pieces_of_equal_width():
    assert [approximate.pieces_of(dim) for dim in (1536, 64, 12, 4, 13)] == [192, 8, 1, 1, 1]
    assert [approximate.lists_of(rows) for rows in (39, 1000, 10**6, 10**7)] == [1, 25, 4000, 12649]
    assert [approximate.probed(lists) for lists in (1, 25, 1264, 4000)] == [1, 8, 79, 250]


@needs_milvus
@pytest.mark.filterwarnings(
    "ignore:(pkg_resources is deprecated|Deprecated call to):DeprecationWarning"
)  # by milvus-lite
def test_milvus_lite_finds_what_the_exact_search_finds(tmp_path):
    folder, uri = tmp_path / "idx", str(tmp_path / "milvus.db")
    folder.mkdir()
    snapshot = add(folder, 700, dead=range(30))
    engine = approximate.Milvus(snapshot, uri)
    assert engine.rows == 0  # nothing was sent yet
    engine.send()
    agrees(snapshot, engine, 0.95)
    again = add(folder, 100, seed=1, dead=range(30, 60))
    engine.close()
    engine, done = approximate.Milvus(again, uri), []
    assert engine.rows == 700
    agrees(again, engine, 0.95)
    engine.send(done.append)
    assert done == [800]  # the new ones alone
    agrees(again, engine, 0.95)
    engine.close()


@needs_milvus
@pytest.mark.filterwarnings(
    "ignore:(pkg_resources is deprecated|Deprecated call to):DeprecationWarning"
)  # by milvus-lite
def test_a_milvus_that_lost_something_or_is_not_there_is_said(tmp_path):
    folder, uri = tmp_path / "idx", str(tmp_path / "milvus.db")
    folder.mkdir()
    snapshot = add(folder, 50)
    engine = approximate.Milvus(snapshot, uri)
    engine.send()
    engine._client.delete(engine.table, ids=[1, 2, 3])
    with pytest.raises(ValueError, match="holds 47 of 50 pictures in cgd_.*: drop that collection there"):
        engine.send()
    engine._client.drop_collection(engine.table)
    engine.send()  # all of it anew
    assert engine.rows == 50
    agrees(snapshot, engine, 0.95)
    engine.close()
    with pytest.raises(ValueError, match="Milvus at /nowhere/m.db says: .*: check --uri"):
        approximate.Milvus(snapshot, "/nowhere/m.db")
