"""The engine whose lists stay on the disk: FAISS's own answers, kills, damage, rows that come, go or are renumbered."""

import errno
import importlib
import json
import os
import random
import shutil
import signal
import threading
import tracemalloc
from importlib.util import find_spec

import numpy as np
import pytest

from gluon_cgd.ondisk import building, encoding, merging, training, tuning
from gluon_cgd.ondisk import state as states
from gluon_cgd.ondisk.choice import Shape
from gluon_cgd.ondisk.engine import OnDisk
from gluon_cgd.retrieval import approximate, collection, compaction, exact
from tests.retrieval.test_approximate import DIM, add, agrees, clustered

pytestmark = pytest.mark.skipif(find_spec("faiss") is None, reason="faiss-cpu is not installed")
SQ = "disksq"


def build(snapshot, kind=SQ, target=0.9, **more):
    return building.build(snapshot, kind, target, 4e9, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A collection of 700 rows with its engine, which nobody changes."""
    folder = tmp_path_factory.mktemp("whole")
    build(add(folder, 700))
    return folder


@pytest.fixture
def own(whole, tmp_path):
    """A copy of it."""
    return shutil.copytree(whole, tmp_path / "idx")


@pytest.mark.parametrize("kind", [SQ, pytest.param("diskpq", marks=pytest.mark.slow)])
def test_it_finds_what_the_exact_search_finds_and_nothing_dead(tmp_path, kind):
    snapshot, done = add(tmp_path, 10_100 if kind == "diskpq" else 600, dead=range(100)), []
    engine = build(snapshot, kind, progress=done.append)
    assert done[-1] == engine.rows == snapshot.count
    agrees(snapshot, engine, 0.85)
    tuned = engine.state.tuned
    assert tuned.recall >= 0.85
    assert f"recall@10 against exact {tuned.recall:.3f}" in engine.sentence()
    assert engine.candidates(clustered(2), 3).shape == (2, max(3, tuned.candidates))
    assert engine.candidates(clustered(2), 400).shape[1] >= 400


def test_the_lists_on_the_disk_answer_as_those_of_faiss_in_memory(tmp_path):
    import faiss

    snapshot, shape = add(tmp_path, 400), Shape(SQ, 9, 12, 12)
    folder = states.folder_of(snapshot, SQ)
    folder.mkdir()
    state, index = building.begun(snapshot, folder, shape, lambda text: None)
    state = merging.merge(snapshot, folder, encoding.encode(snapshot, folder, state, index))
    engine, queries = OnDisk(snapshot, SQ), clustered(30, 5)
    index.add(np.ascontiguousarray(snapshot.vectors))
    for probed in (1, 3, 9):
        how = faiss.SearchParametersPreTransform(index_params=faiss.SearchParametersIVF(nprobe=probed))
        distances, rows = index.search(queries, 20, params=how)
        mine = engine.search(queries, 20, probed)
        assert all(set(a) == set(b) for a, b, d in zip(mine, rows, distances) if len(set(d)) == len(d))
    assert state.merged.size == os.path.getsize(engine.file)


class Rows:
    """A collection of which only the dead rows are known."""

    def __init__(self, live):
        self.live, self.count = live, len(live)

    def __len__(self):
        return int(self.live.sum())


def test_lists_are_written_in_16_bytes_of_memory_a_row(tmp_path, monkeypatch):
    """Whatever the length of the codes; and each list has its live rows in their order."""
    rows, lists, width = 100_000, 300, 2 + 200
    rng = np.random.default_rng(0)
    codes, live = rng.integers(0, 256, (rows, width), np.uint8), rng.random(rows) < 0.9
    cells = rng.integers(lists, size=rows)
    codes[:, 0], codes[:, 1] = cells % 256, cells // 256
    monkeypatch.setattr(merging, "mapped", lambda *_: (None, codes))
    monkeypatch.setattr(merging, "STEP", 1000)
    tracemalloc.start()
    try:
        state = merging.merge(Rows(live), tmp_path, states.State("a", 0, 9, SQ, "t", rows, width, lists, 9, 0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16.5 * rows + 4 * 202 * rows // lists
    data = (tmp_path / state.merged.file).read_bytes()
    place = 8 * lists
    for cell, size in enumerate(np.frombuffer(data, "<i8", lists)):
        room = -(-size // 8) * 8
        own = np.flatnonzero((cells == cell) & live)
        assert np.frombuffer(data, np.uint8, 200 * size, place).tobytes() == codes[own, 2:].tobytes()
        assert (np.frombuffer(data, "<i8", size, place + 200 * room) == own).all()
        place += 208 * room
    assert place == len(data)


@pytest.mark.parametrize("count", [1, 20, 700])
def test_one_query_whose_cells_all_cores_share_has_the_answer_of_one_among_many(whole, monkeypatch, count):
    monkeypatch.setattr("gluon_cgd.ondisk.engine.SHARED", 2)
    engine, queries = OnDisk(collection.read(whole), SQ), clustered(5, seed=8)
    together = engine.search(queries, count, 50)
    assert engine._cells.parallel_mode == 0
    alone = np.concatenate([engine.search(query[None], count, 50) for query in queries])
    assert engine._cells.parallel_mode == 1
    assert (np.sort(alone) == np.sort(together)).all()
    engine.search(queries[:1], count, 1)
    assert engine._cells.parallel_mode == 0


def test_rows_that_come_and_go_are_encoded_alone_and_nothing_is_learned_again(own, monkeypatch):
    monkeypatch.setattr(training, "trained", None)
    encoded, codes = [], encoding._codes
    monkeypatch.setattr(encoding, "_codes", lambda s, rows, *how: encoded.append(rows) or codes(s, rows, *how))
    before = OnDisk(collection.read(own), SQ)
    more = add(own, 60, seed=1, dead=range(50, 90))
    agrees(more, before, 0.8)  # what is new is searched exactly
    assert before.is_current(more)
    engine = build(more)
    assert encoded == [slice(700, 760)]
    assert engine.state.token == before.state.token
    assert engine.rows == 760
    assert not before.is_current(more)
    listed = engine._lists.compute_ntotal()
    assert listed == 720  # the dead are in no list
    agrees(more, engine, 0.8)
    assert before.candidates(clustered(1), 5).shape  # an opened one still searches
    assert build(more).file == engine.file  # nothing to do
    assert len(encoded) == 1
    assert sorted(entry.name for entry in engine.file.parent.glob("lists-*")) == [engine.file.name]


@pytest.mark.parametrize("again", [False, True])
def test_renumbered_rows_keep_their_codes_when_that_is_killed(own, monkeypatch, again):
    add(own, 40, seed=2, dead=range(0, 300, 3))
    compaction.compact(own)
    monkeypatch.setattr(training, "trained", None)
    monkeypatch.setattr(encoding, "BLOCK", 4 * DIM * 100)
    encoded, encode, write = [], encoding._by_each_core, states.write_state
    monkeypatch.setattr(encoding, "_by_each_core", lambda call, rows: encoded.append(len(rows)) or encode(call, rows))

    def killing(*arguments):
        write(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(states, "write_state", killing)
        for _ in range(2):  # a block each time
            with pytest.raises(Killed):
                build(collection.read(own))
    if again:
        with collection.writing(own, DIM, {}) as writer:
            writer.commit(np.empty((0, DIM)), [], [], [0, 250])
        compaction.compact(own)
    engine = build(collection.read(own))
    assert sum(encoded) == 40
    assert engine.state.before is None
    agrees(collection.read(own), engine, 0.8)
    assert len(list(engine.file.parent.iterdir())) == 6


def test_a_state_of_an_earlier_version_is_read(own):
    file = own / f"faiss-{SQ}" / states.NAME
    values = json.loads(file.read_text())
    del values["before"]
    file.write_text(json.dumps(values))
    assert OnDisk(collection.read(own), SQ).state.before is None


def test_renumbered_rows_keep_their_codes(own, monkeypatch):
    add(own, 40, seed=2, dead=range(0, 300, 3))
    compaction.compact(own)
    snapshot = collection.read(own)
    with pytest.raises(ValueError, match="has no FAISS index 'disksq' of these rows: .*--kind disksq builds it"):
        OnDisk(snapshot, SQ)
    monkeypatch.setattr(training, "trained", None)
    index = building.read_trained

    def counted(*arguments):
        read = index(*arguments)
        encode = read.sa_encode
        read.sa_encode = lambda vectors: encoded.append(len(vectors)) or encode(vectors)
        return read

    encoded = []
    monkeypatch.setattr(building, "read_trained", counted)
    engine = build(snapshot)
    assert sum(encoded) == 40
    assert engine.rows == snapshot.count == 640
    agrees(snapshot, engine, 0.8)


def test_a_row_that_comes_back_after_a_compaction_is_in_the_lists_again(own):
    """The rows have the numbers and the checksums that they had, and as many are dead, but not the same ones."""

    def change(vectors, names, dead):
        with collection.writing(own, DIM, {}) as writer:
            writer.commit(vectors, names, [os.stat(own)] * len(names), dead)
        return collection.read(own)

    last = collection.read(own).embeddings(np.array([699]))
    build(change(last[:0], [], [699]))
    compaction.compact(own)
    snapshot = change(last, ["/again.jpg"], [5])
    engine = build(snapshot)
    assert engine.rows == 700
    assert set(engine.search(last, 700, engine.state.lists)[0]) - {-1} == set(np.flatnonzero(snapshot.live))
    assert exact.search(snapshot, last, 1, engine)[0][1] == [699]


def test_a_disk_that_is_full_is_named_and_then_it_goes_on(own, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    snapshot = add(own, 60, seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(encoding.os, "fsync", full)
        with pytest.raises(OSError, match=f"faiss-{SQ}'$"):
            build(snapshot)
    assert build(snapshot).rows == 760


@pytest.mark.slow
def test_other_vectors_are_learned_anew(own):
    before = OnDisk(collection.read(own), SQ).state
    snapshot = collection.read(own)
    compaction.rewrite(snapshot, convert=lambda vectors: np.ascontiguousarray(vectors[:, ::-1]))
    engine = build(collection.read(own))
    assert engine.state.token != before.token
    agrees(collection.read(own), engine, 0.8)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 1, 2, 4, 5, 6))])
def test_an_interruption_anywhere_leaves_what_goes_on_to_the_same_lists(tmp_path, moment, monkeypatch):
    monkeypatch.setattr(encoding, "BLOCK", 4 * DIM * 40)
    monkeypatch.setattr(tuning, "QUERIES", 20)
    snapshot = add(tmp_path / "idx", 130)
    write, calls = states.write_state, []

    def killing(*arguments):
        calls.append(1)
        if len(calls) == moment + 1:
            raise Killed
        write(*arguments)

    monkeypatch.setattr(states, "write_state", killing)
    with pytest.raises(Killed):  # learned, four blocks, merged, tuned
        build(snapshot)
    monkeypatch.setattr(states, "write_state", write)
    engine = build(snapshot)
    shutil.copytree(tmp_path / "idx", tmp_path / "fresh", ignore=shutil.ignore_patterns("faiss-*"))
    fresh = build(collection.read(tmp_path / "fresh"))
    assert engine.file.read_bytes() == fresh.file.read_bytes()
    assert engine.state.tuned == fresh.state.tuned
    assert len(list(engine.file.parent.iterdir())) == 6


@pytest.mark.slow
def test_kills_at_random_moments_leave_what_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "BLOCK", 4 * DIM * 500)
    random.seed(0)
    snapshot = add(tmp_path, 10_000)
    for _ in range(40):
        child = os.fork()
        if not child:
            threading.Timer(random.uniform(0.0, 0.6), os.kill, (os.getpid(), signal.SIGKILL)).start()
            try:
                importlib.import_module("faiss").omp_set_num_threads(1)  # its other threads are not in a child
                build(snapshot)
                os._exit(0)
            except BaseException:
                os._exit(1)
        status = os.waitpid(child, 0)[1]
        assert status in (0, signal.SIGKILL), status
        if status == 0:
            shutil.rmtree(states.folder_of(snapshot, SQ))
    engine = build(snapshot)
    agrees(snapshot, engine, 0.85)
    assert len(list(engine.file.parent.iterdir())) == 6


@pytest.mark.slow
def test_damage_is_refused_before_it_is_searched_or_built_on(own):
    snapshot = collection.read(own)
    state = states.read_state(states.folder_of(snapshot, SQ))
    folder = states.folder_of(snapshot, SQ)
    files = [states.trained_file(folder, state.token), folder / state.merged.file]
    for file in files:
        data = file.read_bytes()
        for wrong in (data[:-8], b"", data + b"x"):
            file.write_bytes(wrong)
            with pytest.raises(ValueError, match="delete .*faiss-disksq and build it again"):
                OnDisk(snapshot, SQ)
        file.unlink()
        os.mkfifo(file)
        with pytest.raises(ValueError, match="delete .*faiss-disksq and build it again"):
            OnDisk(snapshot, SQ)
        file.unlink()
        file.write_bytes(data)
    for file in (*files, states.codes_file(folder, state.token)):  # a bit only is found where all is compared
        data = file.read_bytes()
        file.write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
        with pytest.raises(ValueError, match="delete .*faiss-disksq and build it again"):
            build(snapshot)
        file.write_bytes(data)
    states.sums_file(folder, state.token).write_bytes(b"")
    with pytest.raises(ValueError, match="sums-.* is cut off: delete"):
        build(snapshot)
    shutil.rmtree(folder)
    agrees(snapshot, build(snapshot), 0.8)


@pytest.mark.parametrize(
    "change",
    [
        dict(format=9),
        dict(rows="many"),
        dict(rows=-1),
        dict(rows=True),
        dict(lists=0),
        dict(token="../x"),
        dict(kind="flat"),
        dict(merged={"file": "x"}),
        dict(tuned=[]),
        dict(before=dict(token="../x", rows=1, crc=1)),
        dict(before=dict(token="x", rows=-1, crc=1)),
        dict(id=None),
    ],
)
def test_a_state_that_cannot_be_is_a_sentence(own, change):
    file = own / f"faiss-{SQ}" / states.NAME
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, **change}))
    with pytest.raises(ValueError, match=r"state.json cannot be read \(.*\): delete .* and build it again"):
        OnDisk(collection.read(own), SQ)


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 99_999])
def test_a_state_that_is_none_is_a_sentence(own, content):
    (own / f"faiss-{SQ}" / states.NAME).write_text(content)
    with pytest.raises(ValueError, match="state.json cannot be read"):
        build(collection.read(own))


def test_what_cannot_be_built_is_said(own, tmp_path):
    snapshot = collection.read(own)
    with pytest.raises(ValueError, match="has 700 rows, and FAISS needs 9,984 for diskpq: take --engine exact"):
        build(snapshot, "diskpq")
    os.rename(own / f"faiss-{SQ}", tmp_path / "other")
    (own / f"faiss-{SQ}").write_text("")
    with pytest.raises(ValueError, match="is no folder, and the engine is made there: move it away"):
        build(snapshot)
    os.unlink(own / f"faiss-{SQ}")
    another = add(tmp_path / "b", 60)
    shutil.copytree(tmp_path / "other", tmp_path / "b" / f"faiss-{SQ}")
    with pytest.raises(ValueError, match="is of another index: delete"):
        build(another)
    with pytest.raises(ValueError, match="has no FAISS index 'disksq' of these rows"):
        OnDisk(another, SQ)


@pytest.mark.slow
def test_the_recall_that_is_asked_for_is_chosen_again_and_may_not_be_reached(own):
    snapshot = collection.read(own)
    low, high = build(snapshot, target=0.5).state, build(snapshot, target=1.0).state
    assert low.token == high.token
    assert (low.tuned.target, high.tuned.target) == (0.5, 1.0)
    assert high.tuned.probed >= low.tuned.probed
    assert high.tuned.recall >= low.tuned.recall


def test_a_collapsed_model_has_an_engine_too(tmp_path):
    with collection.writing(tmp_path, DIM, {}) as writer:
        vectors = np.tile(clustered(1), (60, 1))
        writer.commit(vectors, [f"/{i}.jpg" for i in range(60)], [os.stat(tmp_path)] * 60)
    snapshot = collection.read(tmp_path)
    assert build(snapshot).state.tuned.recall == 1  # all are equally near
    assert len(exact.search(snapshot, clustered(1), 10, build(snapshot))[0][1]) == 10


def test_auto_is_the_exact_search_for_few_and_lists_on_the_disk_for_more(own, monkeypatch):
    snapshot = collection.read(own)
    with pytest.raises(ValueError, match="has no engine that was chosen: .*--kind auto makes one"):
        approximate.open_engine(snapshot, "faiss", "auto", None)
    assert approximate.build(snapshot, "faiss", "auto", None) is None
    assert approximate.open_engine(snapshot, "faiss", "auto", None) is None
    monkeypatch.setattr("gluon_cgd.ondisk.choice.FEW", 0)
    assert approximate.build(snapshot, "faiss", "auto", None) is None  # an earlier choice holds
    os.unlink(own / approximate.CHOSEN)
    engine = approximate.build(snapshot, "faiss", "auto", None, target=0.9)
    assert engine.kind == SQ
    opened = approximate.open_engine(snapshot, "faiss", "auto", None)
    assert opened.file == engine.file
    assert approximate.is_current(opened, snapshot)
    assert "as bytes" in approximate.chosen(snapshot)["why"]
    for content in ("", "{}", '{"kind": "flat", "why": "", "rows": 1, "memory": 1}'):
        (own / approximate.CHOSEN).write_text(content)
        with pytest.raises(ValueError, match="faiss-auto.json cannot be read .* makes one"):
            approximate.open_engine(snapshot, "faiss", "auto", None)
        assert approximate.build(snapshot, "faiss", "auto", None, target=0.9).kind == SQ
