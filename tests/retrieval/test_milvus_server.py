"""A real Milvus server, of the package `milvus`: kinds of index, parts, deletion, kills, two clients, passwords."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gluon_cgd.__main__ import main
from gluon_cgd.retrieval import approximate, collection, compaction, exact, milvus
from tests.milvus_server import needs_server, programs, running  # noqa: F401
from tests.retrieval.test_approximate import DIM, add, agrees, clustered

pytestmark = [pytest.mark.slow, needs_server]


@pytest.fixture(scope="module")
def server(tmp_path_factory, programs):  # noqa: F811
    """A server that answers, for all tests of this module."""
    with running(tmp_path_factory.mktemp("server"), programs) as server:
        yield server


@pytest.fixture(scope="module")
def filled(server, tmp_path_factory):
    """(the state of a collection of 5,000 vectors, 200 of them dead, which the server has; its address)."""
    snapshot = add(tmp_path_factory.mktemp("filled") / "idx", 5_000, dead=range(200))
    approximate.build(snapshot, "milvus", None, server.uri).close()
    return snapshot, server.uri


def found(snapshot, engine, queries, k=10):
    """The share of the true k nearest of `queries` that are among the `engine`'s own k candidates."""
    truth = exact.search(snapshot, queries, k)
    shares = [np.isin(rows, own).mean() for (_, rows), own in zip(truth, engine.candidates(queries, k))]
    return np.mean(shares)


def held(engine):
    """How many rows the server holds."""
    return engine._held(0, 2**40)


@pytest.mark.parametrize(
    ("kind", "least"), [("hnsw", 0.99), ("ivf", 0.99), ("ivfpq", 0.3), ("flat", 1), ("auto", 0.95)]
)
def test_each_kind_of_index_is_built_from_the_rows_that_were_sent_once(filled, kind, least, monkeypatch):
    snapshot, uri = filled
    monkeypatch.setattr(milvus.Milvus, "_upsert", lambda *_: pytest.fail("rows were sent again"))
    engine = approximate.build(snapshot, "milvus", kind, uri)
    about = engine._client.describe_index(engine.table, "vector")
    assert about["index_type"] == milvus.KINDS[kind].name
    assert (about["indexed_rows"], about["pending_index_rows"]) == (4_800, 0)
    assert engine.name == ("milvus" if kind == "auto" else f"milvus {kind}")
    agrees(snapshot, engine, least)
    engine.close()
    again = approximate.open_engine(snapshot, "milvus", None, uri)
    assert (again.kind, again.rows) == (kind, 5_000)
    again.close()
    with pytest.raises(ValueError, match=f"has these rows with --kind {kind}: leave out --kind, or .* indexes them"):
        approximate.open_engine(snapshot, "milvus", "diskann", uri)


def test_a_server_takes_the_parameters_of_a_search(filled, monkeypatch):
    """Milvus Lite drops them: see test_milvus_lite_drops_the_parameters_of_a_search."""
    snapshot, uri = filled
    engine, shares = approximate.build(snapshot, "milvus", "ivf", uri), []
    for probes in (1, engine._lists):
        kind = milvus.KINDS["ivf"]._replace(searched=lambda *_, probes=probes: dict(nprobe=probes))
        monkeypatch.setitem(milvus.KINDS, "ivf", kind)
        shares.append(found(snapshot, engine, clustered(50, seed=9)))
    assert engine._lists > 100
    assert shares[0] < 0.8
    assert shares[1] > 0.999
    engine.close()


def test_diskann_searches_where_the_server_has_it_and_else_is_refused(filled, monkeypatch):
    snapshot, uri = filled
    monkeypatch.setattr(milvus, "PATIENCE", 4)
    engine, refusal = None, ""
    try:
        engine = approximate.build(snapshot, "milvus", "diskann", uri)
    except ValueError as error:
        refusal = str(error)
    if refusal:  # milvus 2.3.5 of PyPI was built without it, takes it, and tries for ever
        assert "has indexed no row by --kind diskann for 4 seconds, and 4,800 wait: its log says why" in refusal
        engine = approximate.build(snapshot, "milvus", "auto", uri)  # nothing has to be sent again
    agrees(snapshot, engine, 0.95)
    engine.close()


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "ivfpq"])
def test_a_part_is_searched_alone_and_one_that_is_scattered_exactly(filled, kind):
    snapshot, uri = filled
    engine, queries = approximate.build(snapshot, "milvus", kind, uri), clustered(20, seed=9)
    rows = np.arange(snapshot.count)
    folders = ((rows >= 150) & (rows < 450)) | ((rows >= 3_000) & (rows < 3_600))  # the first 50 are dead
    proposed = engine.candidates(queries, 40, folders)
    assert max(map(len, proposed)) == 40  # some find fewer, even none: then all vectors of the part are compared
    assert folders[np.concatenate(proposed).astype(np.int64)].all()
    answers = exact.search(snapshot, queries, 10, engine, folders)
    truth = exact.search(snapshot, queries, 10, None, folders)
    shares = [np.isin(right, own).mean() for (_, right), (_, own) in zip(truth, answers)]
    assert np.mean(shares) >= (0.4 if kind == "ivfpq" else 0.95)
    assert snapshot.live[np.concatenate([own for _, own in answers])].all()
    assert engine.candidates(queries, 40, rows % 3 == 0) is None
    scattered = exact.search(snapshot, queries, 10, engine, rows % 3 == 0)
    for (_, right), (_, own) in zip(exact.search(snapshot, queries, 10, None, rows % 3 == 0), scattered):
        np.testing.assert_array_equal(right, own)
    engine.close()


def test_removed_rows_are_deleted_new_ones_sent_and_lost_ones_sent_again(server, tmp_path):
    folder = tmp_path / "idx"
    engine = approximate.build(add(folder, 3_000, dead=range(100)), "milvus", "hnsw", server.uri)
    assert held(engine) == 2_900
    engine.close()
    snapshot, done = add(folder, 500, seed=1, dead=range(100, 1_000)), []
    engine = approximate.open_engine(snapshot, "milvus", None, server.uri)
    assert engine.rows == 3_000
    agrees(snapshot, engine, 0.95)  # the new ones are searched exactly, and the dead are passed over
    engine.close()
    engine = approximate.build(snapshot, "milvus", None, server.uri, done.append)
    assert (done, held(engine), engine.kind) == ([3_500], 2_500, "hnsw")
    assert min(min(own) for own in engine.candidates(clustered(20, seed=9), 40)) >= 1_000
    engine._client.delete(engine.table, ids=[1_200, 3_400])
    engine._client.upsert(engine.table, [dict(row=5, vector=snapshot.vectors[5])])  # dead
    engine.send(done.append)
    assert (done, held(engine)) == ([3_500], 2_500)
    agrees(snapshot, engine, 0.95)
    engine.close()
    compaction.compact(folder)
    with pytest.raises(ValueError, match=f"Milvus at {server.uri} has nothing of .*: python -m gluon_cgd index --out"):
        approximate.open_engine(collection.read(folder), "milvus", None, server.uri)


def test_a_second_client_searches_meanwhile_and_a_copy_of_the_index_adds_nothing(server, tmp_path):
    snapshot = add(tmp_path / "idx", 3_000)
    first = approximate.build(snapshot, "milvus", None, server.uri)
    code = (
        "import sys\nfrom gluon_cgd.retrieval import approximate, collection, exact\n"
        "snapshot = collection.read(sys.argv[1])\n"
        "engine = approximate.open_engine(snapshot, 'milvus', None, sys.argv[2])\n"
        "print(engine.rows, exact.recall(snapshot, engine)[0])"
    )
    reader = [sys.executable, "-c", code, str(tmp_path / "idx"), server.uri]
    with subprocess.Popen(reader, stdout=subprocess.PIPE, text=True) as second:
        add(tmp_path / "idx", 1_000, seed=1)
        newest = collection.read(tmp_path / "idx")
        first.close()
        first = approximate.build(newest, "milvus", None, server.uri)
        rows, share = second.communicate(timeout=120)[0].split()
    assert int(rows) in (3_000, 4_000)
    assert float(share) >= 0.95
    shutil.copytree(tmp_path / "idx", tmp_path / "copy")
    (tmp_path / "copy" / "milvus.json").unlink()
    copy = approximate.build(collection.read(tmp_path / "copy"), "milvus", None, server.uri)
    assert (copy.table, held(copy)) == (first.table, 4_000)
    earlier = milvus.Milvus(snapshot, server.uri)  # a state from before: what the server has beyond it stays
    earlier.send()
    agrees(snapshot, earlier, 0.95)
    assert held(first) == 4_000
    for engine in (first, copy, earlier):
        engine.close()


def index(folder, uri):
    """The process that sends the index in `folder`, as a person starts it."""
    words = ["-m", "gluon_cgd", "index", "--out", str(folder), "--engine", "milvus", "--uri", uri]
    return subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def sent(folder):
    """How many rows are noted as sent."""
    note = folder / "milvus.json"
    return sum(json.loads(note.read_text()).values()) if note.exists() else 0


def test_a_server_that_is_killed_while_it_is_filled_goes_on_where_it_was(tmp_path, programs, monkeypatch):  # noqa: F811
    (tmp_path / "server").mkdir()
    folder, rows = tmp_path / "idx", 60_000
    vectors = np.tile(clustered(rows), 16) / 4
    with collection.writing(folder, 16 * DIM, {}) as writer:
        writer.commit(vectors, [f"/{i}.jpg" for i in range(rows)], [os.stat(tmp_path)] * rows, range(50))
    with running(tmp_path / "server", programs) as server:
        for least in (1, 20_000):
            filling = index(folder, server.uri)
            while sent(folder) < least and filling.poll() is None:
                time.sleep(0.01)
            server.kill()
            said = filling.communicate(timeout=300)[1]
            assert filling.returncode == 2, said
            assert f"Milvus at {server.uri} says: " in said
            assert "Traceback" not in said
            assert least <= sent(folder) < rows
            server.start()
        before = sent(folder)
        filling = index(folder, server.uri)
        out, said = filling.communicate(timeout=300)
        assert filling.returncode == 0, said
        assert "milvus: recall@10 against exact" in out
        snapshot = collection.read(folder)
        engine = approximate.open_engine(snapshot, "milvus", None, server.uri)
        assert (engine.rows, held(engine)) == (rows, rows - 50)
        assert before < rows
        assert exact.recall(snapshot, engine)[0] >= 0.9
        server.kill()
        with pytest.raises(ValueError, match=f"Milvus at {server.uri} says: .*: check --uri, and that it runs"):
            engine.candidates(vectors[:1], 10)
        engine.close()


def test_a_server_with_passwords_takes_the_right_one_and_no_other(tmp_path, programs, monkeypatch, capsys):  # noqa: F811
    (tmp_path / "server").mkdir()
    snapshot = add(tmp_path / "idx", 50)
    with running(tmp_path / "server", programs, needs_token=True) as server:
        command = ["index", "--out", str(tmp_path / "idx"), "--engine", "milvus", "--uri", server.uri]
        for token, how in (
            (None, "is not set"),
            ("root:wrong", "holds a wrong one"),
            ("nobody:Milvus", "holds a wrong"),
        ):
            if token:
                monkeypatch.setenv(milvus.TOKEN, token)
            assert main(command) == 2
            said = capsys.readouterr().err
            assert f"Milvus at {server.uri} says: " in said
            assert f"it wants USER:PASSWORD, or a key, in the variable GLUON_CGD_MILVUS_TOKEN, which {how}" in said
            monkeypatch.setenv(milvus.TOKEN, "root:Milvus")
        assert main(command) == 0
        engine = approximate.open_engine(snapshot, "milvus", None, server.uri)
        agrees(snapshot, engine, 0.95)
        engine.close()
        assert "Milvus" not in (tmp_path / "idx" / "milvus.json").read_text()
        assert main([*command[:-1], server.uri.replace("//", "//root:Milvus@")]) == 2
        said = capsys.readouterr().err
        assert "put USER:PASSWORD into the variable GLUON_CGD_MILVUS_TOKEN" in said
        assert "root:" not in said


def test_no_server_outlives_the_tests_even_if_they_are_killed(tmp_path, programs):  # noqa: F811
    (tmp_path / "server").mkdir()
    code = (
        "import pathlib, sys, time\nfrom tests.milvus_server import Server\n"
        "server = Server(sys.argv[1], pathlib.Path(sys.argv[2]))\nserver.start()\nprint(server.pid, flush=True)\n"
        "time.sleep(600)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "server"), str(programs)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as tests:
        number = int(tests.stdout.readline())
        os.kill(number, 0)
        tests.send_signal(signal.SIGKILL)
    end = time.monotonic() + 30
    while os.path.exists(f"/proc/{number}") and time.monotonic() < end:
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{number}")
