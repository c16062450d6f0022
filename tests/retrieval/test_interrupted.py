"""Filling, pruning and compacting of an index of several blocks, killed at any moment and read by others meanwhile."""

import os
import random
import shutil
import subprocess
import sys
import threading
from functools import partial

import numpy as np
import pytest

from benchmarks import rows as many
from gluon_cgd.retrieval import blocks, collection, compaction, gone, index, mending
from tests.retrieval.test_collection import vectors
from tests.shards.test_joining import killed_until_done

COUNT = 3 * blocks.ROWS + 100
NAMES = many.paths_of(range(COUNT))
VECTORS = vectors(COUNT)


def fill(folder, step=500):
    """Add the rows of NAMES that are not there yet."""
    with collection.writing(folder, 3, {}) as writer:
        writer.describe({}, many.FOLDER)
        for first in range(writer.manifest["rows"], COUNT, step):
            part = slice(first, first + step)
            writer.append(VECTORS[part], NAMES[part], [7] * len(NAMES[part]), range(*part.indices(COUNT)))
            writer.publish()


def prune(folder, kept=3):
    """Remove all rows but each third, as `index --prune` does where the others were seen."""
    with collection.writing(folder, 3, {}) as writer:
        snapshot = collection.read(folder)
        seen = snapshot.rows["mtime_ns"] % kept == 0
        found = gone.find_gone(snapshot, seen, many.FOLDER, (), [many.FOLDER], True, lambda: snapshot)
        for start in range(0, len(found.rows), 300):
            writer.commit(np.empty((0, 3)), [], [], found.rows[start : start + 300])


def whole(folder, expected=None):
    """The numbers of the live rows, each of which has its path and embedding. expected: those that there are."""
    snapshot = collection.read(folder)
    mending.compare(snapshot)
    numbers = snapshot.rows["mtime_ns"][snapshot.live].tolist()
    assert [os.fsdecode(path) for path in snapshot.encoded(np.flatnonzero(snapshot.live))] == [
        NAMES[number] for number in numbers
    ]
    np.testing.assert_array_equal(snapshot.vectors[snapshot.live], VECTORS[numbers])
    assert expected is None or numbers == list(expected)
    return numbers


@pytest.fixture(autouse=True)
def no_disk(monkeypatch):
    """Waiting for the disk takes most of the time of these tests, which cut no power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class Killed(BaseException):
    """Ends a process where it stands, for all that its files tell."""


def cut_at(monkeypatch, number):
    """Let the step `number` raise Killed: in the middle of a write, or before a file is on the disk or renamed."""
    steps, write = [], collection._write

    def step():
        steps.append(1)
        return len(steps) == number + 1

    def cut_write(file, data):
        if step():
            write(file, data[: len(data) // 2])
            raise Killed
        write(file, data)

    def cut_before(call):
        def wrapped(*arguments, **more):
            if step():
                raise Killed
            return call(*arguments, **more)

        return wrapped

    monkeypatch.setattr(collection, "_write", cut_write)
    monkeypatch.setattr(os, "fsync", cut_before(lambda descriptor: None))
    for name in ("replace", "unlink", "link"):
        monkeypatch.setattr(os, name, cut_before(getattr(os, name)))


@pytest.mark.slow
@pytest.mark.parametrize("work", [fill, prune, partial(compaction.compact, block=700)])
def test_wherever_it_is_cut_off_a_whole_index_is_left_and_the_next_one_goes_on(tmp_path, monkeypatch, work):
    everything, third = range(COUNT), range(0, COUNT, 3)
    before, after = {fill: ([], everything), prune: (everything, third)}.get(work, (third, third))
    with collection.writing(tmp_path / "made", 3, {}):
        pass
    for earlier in {fill: (), prune: (fill,)}.get(work, (fill, prune)):
        earlier(tmp_path / "made")
    cuts = 0
    while True:
        folder = shutil.copytree(tmp_path / "made", tmp_path / str(cuts))
        with monkeypatch.context() as patch:
            cut_at(patch, cuts)
            try:
                work(folder)
                done = True
            except Killed:
                done = False
        numbers = whole(folder, after if done else None)
        assert set(numbers) <= set(before) | set(after)
        assert set(numbers) >= set(before) & set(after)
        work(folder)
        whole(folder, after)
        shutil.rmtree(folder)
        if done:
            break
        cuts += 1
    assert cuts > 15


@pytest.mark.slow
def test_processes_that_are_killed_leave_a_whole_index(tmp_path):
    rng, folder = random.Random(0), tmp_path / "idx"
    kills = killed_until_done(partial(fill, folder, 20), rng)
    whole(folder, range(COUNT))
    kills += killed_until_done(partial(prune, folder), rng)
    whole(folder, range(0, COUNT, 3))
    kills += killed_until_done(partial(compaction.compact, folder, 50), rng)
    whole(folder, range(0, COUNT, 3))
    assert kills > 3
    for left in folder.glob(".*.part"):
        os.utime(left, (0, 0))  # only what is older than a second may belong to nobody
    with collection.writing(folder, 3, {}):
        pass
    assert sorted(os.listdir(folder)) == sorted(
        [f"{name}-1.bin" for name in collection.FILES]
        + ["blocks-1.crc", "collection.json", "collection-before.json", "lock"]
    )


READING = """
import sys
sys.path.insert(0, {root!r})
from tests.retrieval.test_interrupted import whole
from pathlib import Path
times = 0
while not times or not Path({stop!r}).exists():
    whole({folder!r})
    times += 1
print(times)
"""


@pytest.mark.slow
def test_ten_readers_see_whole_states_while_one_writes_prunes_and_compacts(tmp_path):
    folder, stop = tmp_path / "idx", tmp_path / "stop"
    fill(folder)
    program = READING.format(root=os.getcwd(), stop=str(stop), folder=str(folder))
    readers = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    timer = threading.Timer(4, stop.touch)
    timer.start()
    compacted = 0
    while not stop.exists():
        with collection.writing(folder, 3, {}) as writer:
            snapshot = collection.read(folder)
            rows = np.flatnonzero(snapshot.live)[:200]
            numbers = snapshot.rows["mtime_ns"][rows].tolist()
            writer.append(VECTORS[numbers], [NAMES[number] for number in numbers], [7] * len(rows), numbers, rows)
            writer.publish()
        compacted += compaction.compact(folder, 400) > 0
    for reader in readers:
        out, problems = reader.communicate(timeout=60)
        assert reader.returncode == 0, problems
        assert int(out) > 0
    assert compacted > 0
    assert sorted(whole(folder)) == list(range(COUNT))


def test_pruning_in_pieces_that_ends_between_them_goes_on(tmp_path, monkeypatch):
    """As by the command; a piece is removed or not."""
    monkeypatch.setattr(index, "PRUNED", 2)
    folder = tmp_path / "photographs"
    folder.mkdir()
    paths = [str(folder / f"{number}.jpg") for number in range(8)]
    for path in paths:
        open(path, "wb").close()
    with collection.writing(tmp_path / "idx", 3, {}) as writer:
        writer.commit(VECTORS[:8], paths, [os.stat(path) for path in paths])
        for path in paths[:7]:
            os.unlink(path)
        commit = writer.commit

        def once(*arguments):
            commit(*arguments)
            raise KeyboardInterrupt

        monkeypatch.setattr(writer, "commit", once)
        with pytest.raises(KeyboardInterrupt):
            list(index.update(writer, folder, None, 0, prune=True))
    assert len(collection.read(tmp_path / "idx")) == 6
    with collection.writing(tmp_path / "idx", 3, {}) as writer:
        *_, done = index.update(writer, folder, None, 0, prune=True)
    assert (done.removed, done.gone, done.same) == (5, 0, 1)
    snapshot = collection.read(tmp_path / "idx")
    assert [snapshot.path(row) for row in np.flatnonzero(snapshot.live)] == paths[7:]


def test_the_name_of_a_picture_that_is_found_again_is_compared_and_not_its_hash_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(gone, "key_of", lambda text: 7)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.jpg").write_bytes(b"12345")
    with collection.writing(tmp_path / "idx", 3, {}) as writer:
        for number, name in enumerate(("/old/a.jpg", "/old/b.jpg", "/older/a.jpg", str(tmp_path / "new" / "a.jpg"))):
            writer.append(VECTORS[number : number + 1], [name], [4 if "older" in name else 5], [number])
        writer.publish()
    snapshot = collection.read(tmp_path / "idx")
    seen = np.array([False, False, False, True])
    found = gone.find_gone(snapshot, seen, str(tmp_path / "new"), (), ["/old", "/older"], True, lambda: snapshot)
    assert found.rows.tolist() == [0]
    assert found.kept == {"/old": 1, "/older": 1}
