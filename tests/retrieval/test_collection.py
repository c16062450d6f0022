import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from gluon_cgd.retrieval import collection, compaction, finding, mending, reduction, storing, whitening
from gluon_cgd.retrieval import snapshot as snapshots

MODEL = {"name": "a model"}


def vectors(n, seed=0, dim=3):
    found = np.random.default_rng(seed).normal(size=(n, dim))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def stats(n, folder):
    return [os.stat(folder)] * n


def commit(writer, folder, names, seed=0, dead=()):
    """Commit a picture for each of `names`; returns {path: vector}."""
    added = vectors(len(names), seed)
    writer.commit(added, names, stats(len(names), folder), dead)
    return dict(zip(names, added))


def contents(snapshot):
    """{path: vector} of a snapshot, which has each path once."""
    rows = np.flatnonzero(snapshot.live)
    found = {snapshot.path(row): snapshot.vectors[row] for row in rows}
    assert len(found) == len(rows) == len(snapshot)
    return found


def same(found, expected):
    assert set(found) == set(expected)
    for path, vector in expected.items():
        np.testing.assert_array_equal(found[path], vector)


ODD = ["/a/ü ñ.jpg", "/a/new\nline.jpg", "/a/ blank ", "/a/" + "x" * 250, os.fsdecode(b"/a/\xff\xfe.jpg"), "/a/'\"$\\"]


@pytest.mark.parametrize("order", ["abcdef", "fedcba", "aabbff", "xaxbxc", "daebfc"])
def test_a_finder_is_asked_in_any_order_and_never_finds_a_row_that_is_dead(tmp_path, order):
    with collection.writing(tmp_path / "idx", 3, MODEL) as writer:
        commit(writer, tmp_path, list("abcdef"))
        commit(writer, tmp_path, list("bd"), 1, dead=[1, 3, 4])
    finder = collection.Finder(collection.read(tmp_path / "idx"))
    rows = dict(a=0, b=6, c=2, d=7, e=-1, f=5, x=-1)
    assert [finder.row(path) for path in order] == [rows[path] for path in order]


def test_many_threads_that_ask_a_finder_at_once_wait_for_one_table(tmp_path, monkeypatch):
    with collection.writing(tmp_path / "idx", 3, MODEL) as writer:
        commit(writer, tmp_path, list("abc"))
    finder, sort, sorts, keys = collection.Finder(collection.read(tmp_path / "idx")), np.argsort, [], "abcabcab"

    def slow(*arguments, **how):
        sorts.append(1)
        time.sleep(0.05)
        return sort(*arguments, **how)

    monkeypatch.setattr(np, "argsort", slow)
    with ThreadPoolExecutor(len(keys)) as pool:
        found = list(pool.map(lambda path: finder.rows_of(collection.key_of(path)).tolist(), keys))
    assert found == [["abc".index(path)] for path in keys]
    assert len(sorts) == 1


def test_what_was_committed_is_read_back_under_its_name_however_odd(tmp_path):
    with collection.writing(tmp_path / "idx", 3, MODEL) as writer:
        same(contents(collection.read(tmp_path / "idx")), {})
        expected = commit(writer, tmp_path, ODD[:2])
        expected.update(commit(writer, tmp_path, ODD[2:], 1))
    snapshot = collection.read(tmp_path / "idx")
    same(contents(snapshot), expected)
    assert snapshot.manifest["model"] == MODEL
    assert not snapshot.vectors.flags.writeable
    finder = collection.Finder(snapshot)
    assert [snapshot.path(finder.row(path)) for path in ODD] == ODD
    assert finder.row("/a/other") == -1
    assert [finder.rows_of(collection.key_of(path)).tolist() for path in ODD] == [[row] for row in range(len(ODD))]
    assert not len(finder.rows_of(collection.key_of("/a/other")))
    assert not len(finder.rows_of(2**64 - 1))
    assert [os.fsdecode(path) for path in snapshot.paths()] == ODD
    assert [os.fsdecode(path) for path in snapshot.paths(4)] == ODD[4:]


def test_a_replaced_row_and_a_removed_one_are_dead(tmp_path):
    with collection.writing(tmp_path, 3, MODEL) as writer:
        expected = commit(writer, tmp_path, ["a", "b", "c"])
        expected.update(commit(writer, tmp_path, ["b"], 5, dead=[1]))
        commit(writer, tmp_path, [], dead=[0])
        del expected["a"]
    snapshot = collection.read(tmp_path)
    same(contents(snapshot), expected)
    assert snapshot.live.tolist() == [False, False, True, True]
    assert [collection.Finder(snapshot).row(path) for path in "abc"] == [-1, 3, 2]


def test_a_reader_keeps_what_it_opened(tmp_path):
    with collection.writing(tmp_path, 3, MODEL) as writer:
        before = commit(writer, tmp_path, ["a", "b"])
        opened = collection.read(tmp_path)
        after = {**commit(writer, tmp_path, ["c", "a"], 1, dead=[0]), "b": before["b"]}
    compaction.compact(tmp_path)
    same(contents(opened), before)
    same(contents(collection.read(tmp_path)), after)


def test_compacting_gives_the_room_of_dead_rows_back(tmp_path):
    with collection.writing(tmp_path, 3, MODEL) as writer:
        expected = commit(writer, tmp_path, ODD)
        commit(writer, tmp_path, [], dead=[0, 3])
    for path in (ODD[0], ODD[3]):
        del expected[path]
    assert compaction.compact(tmp_path, block=3) == 2
    assert compaction.compact(tmp_path) == 0
    same(contents(collection.read(tmp_path)), expected)
    assert (tmp_path / "vectors-1.bin").stat().st_size == 4 * 3 * 4
    assert sorted(file.name for file in tmp_path.glob("*.bin")) == [
        f"{name}-1.bin" for name in sorted(collection.FILES)
    ]
    with collection.writing(tmp_path, 3, MODEL) as writer:
        expected.update(commit(writer, tmp_path, ["new"], 9))
    same(contents(collection.read(tmp_path)), expected)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["the files are made", "rows are written", "the manifest is replaced"])
def test_compacting_that_cannot_be_ended_leaves_no_files_and_says_what_it_takes(tmp_path, monkeypatch, step, error):
    with collection.writing(tmp_path, 3, MODEL) as writer:
        expected = commit(writer, tmp_path, ["a", "b", "c"])
        commit(writer, tmp_path, [], dead=[1])
    del expected["b"]
    before = sorted(file.name for file in tmp_path.iterdir())

    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        if step == "the files are made":
            patch.setattr(compaction.collection.Writer, "__init__", fail)
        elif step == "rows are written":
            patch.setattr(collection, "_write", fail)
        else:
            patch.setattr(collection, "replace_manifest", fail)
        told = r"cannot be written anew \(No space left on device\): that takes about \d+ bytes"
        with pytest.raises(type(error), match=told if isinstance(error, OSError) else ""):
            compaction.compact(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == before
    same(contents(collection.read(tmp_path)), expected)
    assert compaction.compact(tmp_path) == 1
    same(contents(collection.read(tmp_path)), expected)


def test_paths_of_one_key_are_told_apart(tmp_path, monkeypatch):
    for key in (0, 7, 2**64 - 1):
        for module in (collection, finding):
            monkeypatch.setattr(module, "key_of", lambda path, key=key: key)
        with collection.writing(tmp_path / str(key), 3, MODEL) as writer:
            commit(writer, tmp_path, ["a", "b", "c"], dead=[])
        finder = collection.Finder(collection.read(tmp_path / str(key)))
        assert [finder.row(path) for path in "cabd"] == [2, 0, 1, -1]


def test_one_process_writes_at_a_time_and_others_read(tmp_path):
    with collection.writing(tmp_path, 3, MODEL) as writer:
        expected = commit(writer, tmp_path, ["a"])
        with pytest.raises(ValueError, match="another process is writing to"), collection.writing(tmp_path, 3, MODEL):
            pass
        rewrite = [compaction.compact, mending.mend, whitening.whiten, partial(reduction.reduce, dim=2)]
        for call in (*rewrite, partial(storing.store, kind="int8")):
            with pytest.raises(ValueError, match="another process is writing to"):
                call(tmp_path)
        same(contents(collection.read(tmp_path)), expected)


class Killed(BaseException):
    """Ends a process where it stands, for all that its files tell."""


def test_a_commit_is_there_whole_or_not_at_all_wherever_it_is_cut_off(tmp_path, monkeypatch):
    """It is cut off in the middle of each write, and right before each later step; the next writer goes on."""
    write, sync, replace = collection._write, os.fsync, os.replace
    for cut in range(100):
        folder, steps = tmp_path / str(cut), []
        with collection.writing(folder, 3, MODEL) as writer:
            before = commit(writer, tmp_path, ["a", "b"])

        def step(steps=steps, cut=cut):
            steps.append(1)
            return len(steps) == cut + 1

        def cut_write(file, data):
            if step():
                write(file, data[: len(data) // 2])
                raise Killed
            write(file, data)

        def cut_before(call):
            def wrapped(*arguments):
                if step():
                    raise Killed
                return call(*arguments)

            return wrapped

        with monkeypatch.context() as patch:
            patch.setattr(collection, "_write", cut_write)
            patch.setattr(os, "fsync", cut_before(sync))
            patch.setattr(os, "replace", cut_before(replace))
            try:
                with collection.writing(folder, 3, MODEL) as writer:
                    commit(writer, tmp_path, ["c", "a"], 1, dead=[0])
                    acknowledged = True
            except Killed:
                acknowledged = False
        after = {**before, **dict(zip(["c", "a"], vectors(2, 1)))}
        found = contents(collection.read(folder))
        same(found, after if acknowledged or set(found) == set(after) else before)
        with collection.writing(folder, 3, MODEL) as writer:
            added = commit(writer, tmp_path, ["d"], 2)
        same(contents(collection.read(folder)), {**found, **added})
        if acknowledged and len(steps) <= cut:
            break
    assert cut > 8  # four files, each written and brought to the disk; the manifest; its folder


def test_what_is_committed_is_on_the_disk_before_the_manifest_names_it(tmp_path, monkeypatch):
    steps, sync, replace = [], os.fsync, os.replace
    with collection.writing(tmp_path, 3, MODEL) as writer:
        commit(writer, tmp_path, ["a"])
        names = {file: name for name, file in writer.files.items()}
        monkeypatch.setattr(os, "fsync", lambda file: (steps.append(names.get(file)), sync(file)))
        monkeypatch.setattr(os, "replace", lambda *files: (steps.append("replaced"), replace(*files)))
        commit(writer, tmp_path, ["b"], 1, dead=[0])
        monkeypatch.undo()
    assert set(collection.FILES) <= set(steps[: steps.index("replaced")])


def test_a_full_disk_is_one_sentence_and_what_was_there_stays(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with collection.writing(tmp_path, 3, MODEL) as writer:
        expected = commit(writer, tmp_path, ["a"])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="cannot be written to .No space left on device.: mend that"):
                commit(writer, tmp_path, ["b", "c"], 1, dead=[0])
        same(contents(collection.read(tmp_path)), expected)
        expected = commit(writer, tmp_path, ["d"], 2, dead=[0])  # over what the other left, and it removed nothing
    same(contents(collection.read(tmp_path)), expected)


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="holds other files .'thesis.tex' among them.: name a folder of its own"):
        collection.writing(tmp_path, 3, MODEL).__enter__()
    with pytest.raises(ValueError, match="thesis.tex is a file: name a folder"):
        collection.writing(tmp_path / "thesis.tex", 3, MODEL).__enter__()
    assert os.listdir(tmp_path) == ["thesis.tex"]
    for missing in (tmp_path, tmp_path / "thesis.tex", tmp_path / "none"):
        out = missing if missing.name == "none" else f"{missing}.index"
        with pytest.raises(FileNotFoundError, match=f"is not an index: .* index --images DIR --out {out} makes one"):
            collection.read(missing)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 9}', "\xff"])
def test_a_broken_manifest_is_refused(tmp_path, content):
    with collection.writing(tmp_path, 3, MODEL) as writer:
        commit(writer, tmp_path, ["a"])
    (tmp_path / "collection.json").write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match="collection.json cannot be read .* index into another folder"):
        collection.read(tmp_path)


@pytest.mark.parametrize("name", collection.FILES)
def test_a_damaged_or_missing_file_is_named(tmp_path, name):
    with collection.writing(tmp_path, 3, MODEL) as writer:
        commit(writer, tmp_path, ["a", "b"])
        commit(writer, tmp_path, [], dead=[0])
    file = tmp_path / f"{name}-0.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{name}-0.bin is damaged"):
        collection.read(tmp_path)
    with pytest.raises(ValueError, match=f"{name}-0.bin is damaged"):
        collection.writing(tmp_path, 3, MODEL).__enter__()
    file.unlink()
    with pytest.raises(ValueError, match=f"{name}-0.bin is missing"):
        collection.read(tmp_path)


def test_embeddings_of_another_shape_are_refused(tmp_path):
    with collection.writing(tmp_path, 3, MODEL) as writer:
        with pytest.raises(ValueError, match="1 pictures have embeddings of shape"):
            writer.commit(vectors(1, dim=4), ["a"], stats(1, tmp_path))
        writer.describe({"name": "the same elsewhere"})
    assert collection.read(tmp_path).manifest["model"] == {"name": "the same elsewhere"}


def test_what_was_read_gives_its_memory_back_and_can_be_read_again(tmp_path, monkeypatch):
    with collection.writing(tmp_path, 3, MODEL) as writer:
        commit(writer, tmp_path, [f"/{i}" for i in range(40)])
    rows, given = collection.read(tmp_path), []
    back = snapshots.release
    monkeypatch.setattr(snapshots, "HELD", 4 * 3 * 10)
    monkeypatch.setattr(snapshots, "release", lambda data: given.append(back(data)))
    before = np.array(rows.vectors)
    for start in range(0, 40, 8):
        rows.check(slice(start, start + 8))
    assert len(given) == 4  # whenever it would be more than 10 rows
    advised = []
    monkeypatch.setattr(snapshots, "advise", lambda data, how: advised.append(how))
    for part in (np.array([3, 1]), np.array([5]), slice(0, 2), slice(2, 9), [7]):
        rows.check(part)
    assert [how for how in advised if how != "MADV_DONTNEED"] == ["MADV_RANDOM", "MADV_NORMAL", "MADV_RANDOM"]
    assert (rows.vectors == before).all()


@pytest.mark.parametrize(("count", "given"), [(0, 0), (1, 0), (3, 0), (4, 1), (10, 3)])
def test_embeddings_here_and_there_hold_few_pages_at_a_time(tmp_path, monkeypatch, count, given):
    with collection.writing(tmp_path, 3, MODEL) as writer:
        commit(writer, tmp_path, [f"/{i}" for i in range(40)])
    rows, back = collection.read(tmp_path), []
    monkeypatch.setattr(snapshots, "HELD", 3 * snapshots.PAGES)
    monkeypatch.setattr(snapshots, "release", back.append)
    asked = np.random.default_rng(0).permutation(40)[:count]
    found = rows.embeddings(asked)
    assert (found.dtype, found.shape, len(back)) == (np.float32, (count, 3), given)
    assert (found == rows.vectors[asked]).all()
