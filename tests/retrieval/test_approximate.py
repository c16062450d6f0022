"""FAISS and Milvus Lite themselves, against the exact search; what is not installed is skipped."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from gluon_cgd.retrieval import approximate, collection, compaction, exact, milvus

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
    compaction.compact(tmp_path)  # rows have other numbers now
    with pytest.raises(ValueError, match="has no FAISS index 'flat' of these rows"):
        approximate.Faiss(collection.read(tmp_path), "flat")


@needs_faiss
@pytest.mark.parametrize(
    "put", [os.mkfifo, lambda file: file.symlink_to("/nowhere"), lambda file: file.symlink_to("/dev/zero")]
)
def test_a_faiss_index_that_is_no_file_is_built_again(tmp_path, put):
    snapshot = add(tmp_path, 30)
    file = approximate.build_faiss(snapshot, "flat").file
    file.unlink()
    put(file)
    with pytest.raises(ValueError, match="cannot be read .*: delete it and build it again"):
        approximate.Faiss(snapshot, "flat")
    agrees(snapshot, approximate.build(snapshot, "faiss", "flat", None), 1)
    assert file.is_file()
    assert not file.is_symlink()


@needs_faiss
@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_a_damaged_or_exchanged_faiss_index_is_refused_before_faiss_reads_it_and_built_again(tmp_path, kind):
    snapshot = add(tmp_path / "a", 60)
    file = approximate.build_faiss(snapshot, kind).file
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    damaged = [whole[:-1], whole[: len(whole) // 2], b"", bytes(len(whole)), whole + b"x", whole[:-200] + bytes(200)]
    for place in rng.integers(len(whole), size=20):
        damaged.append(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    for data in damaged:
        file.write_bytes(data)
        with pytest.raises(ValueError, match="and cannot be read: delete it and build it again"):
            approximate.Faiss(snapshot, kind)
    engine = approximate.build(snapshot, "faiss", kind, None)
    agrees(snapshot, engine, 0.9)
    other = approximate.build_faiss(add(tmp_path / "b", 60, seed=1), kind).file
    shutil.copy(other, file)
    with pytest.raises(ValueError, match="is of another index and cannot be read"):
        approximate.Faiss(snapshot, kind)


@needs_faiss
@pytest.mark.parametrize("where", ["check", "read_index"])
def test_a_faiss_index_that_is_built_anew_while_it_is_opened_is_opened_anew(tmp_path, monkeypatch, where):
    approximate.build_faiss(add(tmp_path, 60), "flat")
    again = add(tmp_path, 20, seed=1)
    module = approximate.sealed if where == "check" else __import__("faiss")
    call, built = getattr(module, where), []

    def built_meanwhile(*arguments):
        if not built:
            built.append(1)
            approximate.build_faiss(again, "flat")
        return call(*arguments)

    monkeypatch.setattr(module, where, built_meanwhile)
    assert approximate.Faiss(again, "flat").rows == 80


@needs_faiss
def test_a_slower_builder_of_an_earlier_state_deletes_nothing_that_is_newer(tmp_path, monkeypatch):
    earlier, seal, steps = add(tmp_path, 60), approximate.sealed.seal, []

    def built_meanwhile(*arguments):
        if not steps:  # the newer one is done while the earlier one writes
            steps.append(1)
            approximate.build_faiss(add(tmp_path, 20, seed=1, dead=range(30)), "flat")
        return seal(*arguments)

    monkeypatch.setattr(approximate.sealed, "seal", built_meanwhile)
    assert approximate.build_faiss(earlier, "flat").rows == 60
    assert approximate.Faiss(collection.read(tmp_path), "flat").rows == 80
    compaction.compact(tmp_path)
    compacted = collection.read(tmp_path)
    approximate.build_faiss(compacted, "flat")
    steps.clear()
    approximate.build_faiss(earlier, "flat")  # and a newer one is again done meanwhile
    assert approximate.Faiss(collection.read(tmp_path), "flat").rows > compacted.count
    approximate.build_faiss(collection.read(tmp_path), "flat")
    assert len(list(tmp_path.glob("faiss-*"))) == 1


@needs_faiss
def test_two_builders_may_delete_the_same_file(tmp_path, monkeypatch):
    approximate.build_faiss(add(tmp_path, 60), "flat")
    again = add(tmp_path, 20, seed=1)
    glob, deleted = type(tmp_path).glob, tmp_path / "faiss-flat-0-1.index"  # by the other one, since this one looked
    monkeypatch.setattr(type(tmp_path), "glob", lambda folder, pattern: [*glob(folder, pattern), deleted])
    assert approximate.build_faiss(again, "flat").rows == 80


@needs_faiss
def test_damaged_embeddings_are_not_built_into_an_engine_or_returned_by_one(tmp_path):
    snapshot = add(tmp_path, 60)
    engine = approximate.build_faiss(snapshot, "flat")
    rows = np.fromfile(tmp_path / "vectors-0.bin", "<f4").reshape(-1, DIM)
    query = rows[7:8].copy()
    rows[7, 3] *= -1
    rows.tofile(tmp_path / "vectors-0.bin")
    with pytest.raises(ValueError, match="embedding of /0/7.jpg is not what was written"):
        exact.search(collection.read(tmp_path), query, 1, engine)
    with pytest.raises(ValueError, match="embedding of /0/7.jpg is not what was written"):
        approximate.build_faiss(collection.read(tmp_path), "hnsw")


def test_an_engine_of_milvus_is_current_until_more_rows_are_sent(tmp_path):
    engine = object.__new__(approximate.Milvus)
    snapshot = engine._snapshot = add(tmp_path, 3)
    engine.uri, engine.table, engine.rows = "uri", milvus.table_of(snapshot), 3
    engine._note(3)
    more = add(tmp_path, 2, seed=1)
    assert engine.is_current(snapshot)
    assert engine.is_current(more)  # its tail is searched exactly
    engine._note(5)
    assert engine.is_current(snapshot)
    assert not engine.is_current(more)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff", b'{"a": -1}', b'{"a": true}', b'{"a": "3"}', b'{"a": 1.5}', b"[" * 100_000]
)
def test_a_damaged_note_of_what_milvus_has_is_a_sentence(tmp_path, content):
    engine = object.__new__(approximate.Milvus)
    engine._snapshot = add(tmp_path, 3)
    assert engine._noted() == {}
    (tmp_path / "milvus.json").write_bytes(content)
    with pytest.raises(ValueError, match="milvus.json cannot be read .*: delete it, and the same command with `index`"):
        engine._noted()
    (tmp_path / "milvus.json").write_bytes(b'{"a": 3}')
    assert engine._noted() == {"a": 3}


def test_a_compressed_vector_is_of_pieces_of_equal_width():
    assert [approximate.pieces_of(dim) for dim in (1536, 64, 12, 4, 13)] == [192, 8, 1, 1, 1]
    assert [approximate.lists_of(rows) for rows in (39, 1000, 10**6, 10**7)] == [1, 25, 4000, 12649]
    assert [approximate.probed(lists) for lists in (1, 25, 1264, 4000)] == [1, 8, 79, 250]


@pytest.mark.slow
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


@pytest.mark.slow
@needs_milvus
@pytest.mark.filterwarnings(
    "ignore:(pkg_resources is deprecated|Deprecated call to):DeprecationWarning"
)  # by milvus-lite
def test_what_a_milvus_lost_is_sent_again_and_one_that_keeps_nothing_or_is_not_there_is_said(tmp_path, monkeypatch):
    folder, uri = tmp_path / "idx", str(tmp_path / "milvus.db")
    folder.mkdir()
    snapshot = add(folder, 50)
    engine = approximate.Milvus(snapshot, uri)
    engine.send()
    engine._client.delete(engine.table, ids=[1, 2, 3])
    with monkeypatch.context() as patch:
        patch.setattr(engine._client, "upsert", lambda *_: None)
        with pytest.raises(ValueError, match="holds 47 of 50 pictures in cgd_.*: drop that collection there"):
            engine.send()
    engine.send()
    agrees(snapshot, engine, 1)
    engine._client.drop_collection(engine.table)
    engine.send()  # all of it anew
    assert engine.rows == 50
    agrees(snapshot, engine, 0.95)
    code = (
        "import sys; from pymilvus import MilvusClient; MilvusClient(sys.argv[1]); print(flush=True); sys.stdin.read()"
    )
    engine.close()
    words = [sys.executable, "-c", code, str(tmp_path / "other.db")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(ValueError, match="check --uri, and that no other process has the file open"):
            approximate.Milvus(snapshot, tmp_path / "other.db")
    with pytest.raises(ValueError, match="Milvus at /nowhere/m.db says: .*: check --uri"):
        approximate.Milvus(snapshot, "/nowhere/m.db")
    with pytest.raises(ValueError, match="--kind hnsw needs a Milvus server, --uri http://...: in a file"):
        approximate.Milvus(snapshot, uri, "hnsw")
    with pytest.raises(ValueError, match="Milvus's index 'pq' is unknown: choose one of auto, flat, ivf, hnsw"):
        approximate.Milvus(snapshot, "http://127.0.0.1:1", "pq")


@pytest.mark.slow
@needs_milvus
@pytest.mark.filterwarnings(
    "ignore:(pkg_resources is deprecated|Deprecated call to):DeprecationWarning"
)  # by milvus-lite
def test_milvus_lite_drops_the_parameters_of_a_search(tmp_path):
    """One cell of 64, or all: the answers are those of the exact search. docs/search.md says so."""
    from pymilvus import DataType, MilvusClient

    client, vectors, queries = MilvusClient(str(tmp_path / "m.db")), clustered(2_000), clustered(20, seed=9)
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("row", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="IVF_FLAT", metric_type="COSINE", params=dict(nlist=64))
    client.create_collection("t", schema=schema, index_params=index)
    client.upsert("t", [dict(row=row, vector=vector) for row, vector in enumerate(vectors)])
    truth = np.argsort(-queries @ vectors.T, axis=1)[:, :10]
    for probes in (1, 64):
        how = dict(search_params=dict(params=dict(nprobe=probes)), limit=10, anns_field="vector")
        for right, hits in zip(truth, client.search("t", data=list(queries), **how)):
            assert {hit["id"] if "id" in hit else hit["row"] for hit in hits} == set(right)
    client.close()
