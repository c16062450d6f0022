"""Files of an index that are cut, zeroed, exchanged or made by an enemy: each is noticed, and mended by `index`."""

import errno
import json
import os
import shutil

import numpy as np
import pytest

from gluon_cgd.retrieval import checksums, collection, compaction, exact, manifest, mending
from gluon_cgd.retrieval.manifest import Damaged
from gluon_cgd.retrieval.snapshot import FILES, ROWS
from tests.retrieval.test_collection import commit, contents, same, stats, vectors

NAMES = [f"/photos/{letter}.jpg" for letter in "abcdefgh"]


@pytest.fixture(autouse=True)
def no_disk(monkeypatch):
    """Waiting for the disk takes most of the time of these tests, which cut no power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """(folder, what it holds): eight pictures, of which two were replaced and one removed, in four commits."""
    folder = tmp_path_factory.mktemp("original") / "idx"
    with collection.writing(folder, 3, {"name": "a model"}) as writer:
        expected = commit(writer, folder, NAMES[:5])
        expected.update(commit(writer, folder, NAMES[5:], 1))
        expected.update(commit(writer, folder, NAMES[:2], 2, dead=[0, 1]))
        commit(writer, folder, [], dead=[4])
    del expected[NAMES[4]]
    return folder, expected


@pytest.fixture
def made(original, tmp_path):
    """The original, to change."""
    return shutil.copytree(original[0], tmp_path / "idx"), original[1]


def searched(folder):
    """{path: cosine} of every picture, by a search that compares every row."""
    snapshot = collection.read(folder)
    cosines, rows = exact.search(snapshot, np.ones((1, 3), np.float32) / 3**0.5, 99)[0]
    return dict(zip(map(snapshot.path, rows), cosines))


def other_index(folder, place):
    """An index of as many rows of other pictures."""
    with collection.writing(place, 3, {}) as writer:
        commit(writer, place, [name[:-5] + "xyz"[i % 3] + ".jp" for i, name in enumerate(NAMES + NAMES[:2])], 9)
        commit(writer, place, [], dead=[7, 8, 9])
    return place


def cut(file, _):
    file.write_bytes(file.read_bytes()[:-3])


def zero_the_tail(file, _):
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


def zero(file, _):
    file.write_bytes(bytes(file.stat().st_size))


def flip(file, _):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def empty(file, _):
    file.write_bytes(b"")


def exchange(file, other):
    shutil.copy(other_index(file.parent, other) / file.name, file)


def pipe(file, _):
    file.unlink()
    os.mkfifo(file)


def endless(file, _):
    file.unlink()
    file.symlink_to("/dev/zero")


def gone(file, _):
    file.unlink()


def circle(file, _):
    file.unlink()
    file.symlink_to(file.name)


def exchange_rows(file, _):
    """The order of the rows is another; every byte is there."""
    data = np.frombuffer(file.read_bytes(), np.uint8)
    file.write_bytes(data[::-1].tobytes())


DAMAGES = (cut, zero_the_tail, zero, flip, empty, exchange, pipe, endless, gone, circle, exchange_rows)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_by_a_search_and_mended(made, name, damage, tmp_path, caplog):
    folder, expected = made
    before = searched(folder)
    assert set(before) == set(expected)
    damage(folder / f"{name}-0.bin", tmp_path / "other")
    with pytest.raises(Damaged, match=f"{name}-0.bin.* is (damaged|missing).*: python -m gluon_cgd index --images DIR"):
        searched(folder)
    lost = mending.mend(folder)
    found = contents(collection.read(folder))
    gone = NAMES[4] if name == "dead" else None  # which pictures were removed may be lost
    same({path: vector for path, vector in found.items() if path != gone}, {p: expected[p] for p in found if p != gone})
    assert lost == max(0, len(expected) - len(found))
    if name in ("vectors", "rows", "names"):
        assert (
            (len(found) > 0) == (damage in (cut, zero_the_tail, flip)) or name == "vectors" or damage is exchange_rows
        )
    assert f"{name}-0.bin" in caplog.text
    assert mending.mend(folder) == 0
    with collection.writing(folder, 3, {}) as writer:
        commit(writer, tmp_path, ["/new"], 5)
    assert "/new" in searched(folder)


@pytest.mark.parametrize("damage", [cut, zero_the_tail, zero, flip, empty, pipe, endless, gone, circle])
def test_a_damaged_manifest_is_named_and_the_one_before_it_takes_its_place(made, damage, tmp_path, caplog):
    folder, expected = made
    damage(folder / "collection.json", None)
    with pytest.raises(Damaged, match=r"collection.json (is missing|cannot be read).*: python -m gluon_cgd index"):
        collection.read(folder)
    mending.mend(folder)
    assert "collection-before.json takes its place" in caplog.text
    same(contents(collection.read(folder)), expected)


def test_a_manifest_that_is_lost_while_somebody_writes_costs_the_last_commit_alone(made, tmp_path):
    folder, expected = made

    class Killed(BaseException):
        pass

    expected = dict(expected)

    def write_and_be_killed():
        with collection.writing(folder, 3, {}) as writer:
            expected.update(commit(writer, tmp_path, ["/x"], 7))
            commit(writer, tmp_path, ["/y"], 8)
            raise Killed

    pytest.raises(Killed, write_and_be_killed)
    empty(folder / "collection.json", None)
    mending.mend(folder)
    same(contents(collection.read(folder)), expected)


def test_a_copy_that_cannot_be_written_is_no_failure(made, tmp_path):
    folder, expected = made
    (folder / "collection-before.json").unlink()
    (folder / "collection-before.json").mkdir()
    with collection.writing(folder, 3, {}) as writer:
        expected = {**expected, **commit(writer, tmp_path, ["/x"], 7)}
    same(contents(collection.read(folder)), expected)


def test_the_manifest_before_compacting_is_of_the_new_files(made):
    folder, expected = made
    assert compaction.compact(folder) == 3
    empty(folder / "collection.json", None)
    mending.mend(folder)
    same(contents(collection.read(folder)), expected)


def test_both_manifests_lost_are_a_sentence(made):
    folder, _ = made
    for name in ("collection.json", "collection-before.json"):
        empty(folder / name, None)
    with pytest.raises(
        ValueError, match=r"cannot be read .*neither can collection-before.json: delete .*idx, and index"
    ):
        mending.mend(folder)


def changed(folder, signed=True, **values):
    """Write values into collection.json; signed: with the digest that belongs to them. ... removes one."""
    file = folder / "collection.json"
    read = {**json.loads(file.read_text()), **values}
    read = {name: value for name, value in read.items() if value is not ...}
    if signed and "digest" in read:
        read["digest"] = manifest.digest(read)
    file.write_text(json.dumps(read))


COUNTS = ("rows", "names", "dead", "generation", "dim")
IMPOSSIBLE = [
    *({name: value} for name in COUNTS for value in (True, -1, "3", 2.0, 10**30)),
    *({name: ...} for name in (*COUNTS, "id", "model", "format", "crc")),
    *({"id": name} for name in ("../x", "a'; drop", 7, "")),
    *({"format": version} for version in (True, 0, "2", None)),
    *({"crc": sums} for sums in ({}, [], {"rows": 1.5, "names": 0, "dead": 0}, {"rows": 1, "names": 2, "dead": 3})),
    *({"folders": folders} for folders in ([1], "x")),
    *({name: count} for name, count in (("dim", 0), ("dim", 4), ("dead", 11), ("dead", 2), ("rows", 9), ("rows", 11))),
    {"names": 3},
    {"generation": 1},
    {"model": []},
]


@pytest.mark.parametrize("signed", [False, True])
def test_a_manifest_with_impossible_values_is_a_sentence(made, signed):
    folder, expected = made
    before = (folder / "collection.json").read_bytes()
    for values in IMPOSSIBLE:
        changed(folder, signed, **values)
        with pytest.raises(Damaged, match="index --images DIR"):
            searched(folder)
        with pytest.raises(Damaged, match="index --images DIR"):
            collection.writing(folder, 3, {}).__enter__()
        (folder / "collection.json").write_bytes(before)
    same(contents(collection.read(folder)), expected)


def test_a_manifest_of_a_later_version_is_left_alone(made):
    folder, _ = made
    changed(folder, format=3)
    before = (folder / "collection.json").read_bytes()
    with pytest.raises(ValueError, match="take the version of gluon_cgd that wrote it"):
        mending.mend(folder)
    assert (folder / "collection.json").read_bytes() == before


@pytest.mark.parametrize("dead", [[10], [-1], [2**62], [3, 3], [0]])
def test_dead_rows_that_are_not_there_or_named_twice_are_refused_when_read_and_written(made, dead, tmp_path):
    folder, _ = made
    with collection.writing(folder, 3, {}) as writer, pytest.raises(ValueError, match="is to be removed"):
        commit(writer, tmp_path, [], dead=dead)
    file = earlier(folder) / "dead-0.bin"
    file.write_bytes(file.read_bytes() + np.array(dead, "<i8").tobytes())
    changed(folder, dead=3 + len(dead))
    with pytest.raises(Damaged, match="dead-0.bin is damaged .it names a row twice, or one that is not from 0 to 9"):
        collection.read(folder)


@pytest.mark.parametrize("value", [0, np.nan, np.inf, 1e38, 1e-30, 2])
def test_an_embedding_that_has_not_length_1_is_refused_when_it_is_written_and_read(made, value, tmp_path):
    folder, expected = made
    wrong = vectors(2)
    wrong[1] *= value
    told = "embedding of /y has length .* and must have length 1"
    with collection.writing(folder, 3, {}) as writer, pytest.raises(ValueError, match=told):
        writer.commit(wrong, ["/x", "/y"], stats(2, tmp_path))
    same(contents(collection.read(folder)), expected)
    file = earlier(folder) / "vectors-0.bin"
    rows = np.fromfile(file, "<f4").reshape(-1, 3)
    rows[3] *= value
    rows.tofile(file)
    with pytest.raises(Damaged, match="embedding of /photos/d.jpg is not what was written"):
        searched(folder)
    assert mending.mend(folder) == 1
    assert set(searched(folder)) == set(expected) - {NAMES[3]}


def earlier(folder):
    """Turn an index into one of the first format, which had no checksums."""
    read = json.loads((folder / "collection.json").read_text())
    rows = np.fromfile(folder / "rows-0.bin", ROWS[2])
    old = np.empty(len(rows), ROWS[1])
    for name in ROWS[1].names:
        old[name] = rows[name]
    old.tofile(folder / "rows-0.bin")
    known = ("id", "generation", "dim", "rows", "names", "dead", "model")
    (folder / "collection.json").write_text(json.dumps({"format": 1, **{name: read[name] for name in known}}))
    return folder


def test_an_index_of_the_first_format_is_searched_and_gets_checksums_from_index(made, tmp_path, caplog):
    folder, expected = made
    before = searched(folder)
    earlier(folder)
    assert searched(folder) == before
    with pytest.raises(Damaged, match="was made by an earlier version .* index --images DIR"):
        collection.writing(folder, 3, {}).__enter__()
    assert mending.mend(folder) == 0
    snapshot = collection.read(folder)
    same(contents(snapshot), expected)
    assert snapshot.manifest["format"] == 2
    assert searched(folder) == before


@pytest.mark.parametrize("start", [-1, 10**9, 2**62])
def test_paths_outside_of_the_file_of_names_are_a_sentence(made, start):
    folder, _ = made
    rows = np.fromfile(earlier(folder) / "rows-0.bin", ROWS[1])
    for field in ("start", "length"):
        wrong = rows.copy()
        wrong[field][4] = start
        wrong.tofile(folder / "rows-0.bin")
        with pytest.raises(Damaged, match="rows-0.bin is damaged .its paths are not those of the file of names"):
            searched(folder)


@pytest.mark.parametrize("kind", ["a pipe", "/dev/zero", "a link"])
@pytest.mark.parametrize("name", ["lock", "collection.json"])
def test_what_is_no_regular_file_ends_neither_a_reader_nor_a_writer_in_a_hang(made, name, kind, tmp_path):
    folder, _ = made
    file, victim = folder / name, tmp_path / "victim"
    victim.write_text("precious")
    file.unlink()
    if kind == "a pipe":
        os.mkfifo(file)
    else:
        file.symlink_to(victim if kind == "a link" else kind)
    with pytest.raises((ValueError, OSError)) as refused, collection.writing(folder, 3, {}):
        pass
    assert name in str(refused.value)
    if name == "collection.json":
        mending.mend(folder)
        assert not file.is_symlink()
        searched(folder)
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_written_through_a_link(made, name, tmp_path):
    folder, expected = made
    moved = tmp_path / "elsewhere"
    shutil.move(folder / f"{name}-0.bin", moved)
    (folder / f"{name}-0.bin").symlink_to(moved)
    same(contents(collection.read(folder)), expected)
    with pytest.raises(ValueError, match="is a link, through which nothing is written"):
        collection.writing(folder, 3, {}).__enter__()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (folder / f"{name}-1.bin").symlink_to(victim)
    assert compaction.compact(folder) == 3
    assert victim.read_text() == "precious"
    same(contents(collection.read(folder)), expected)


def test_every_change_of_a_word_and_every_exchange_changes_the_checksum():
    for dim in (1, 2, 3, 8, 31):
        (row,) = vectors(1, dim=dim)
        right = checksums.sums(row[None])
        for place in range(4 * dim):
            for bit in (1, 128):
                data = bytearray(row.tobytes())
                data[place] ^= bit
                assert checksums.sums(np.frombuffer(data, "<f4")[None]) != right
        if dim > 2:
            assert checksums.sums(row[None, ::-1]) != right
        assert checksums.sums(np.stack([row, row])).tolist() == [right[0]] * 2


def test_rows_are_compared_with_their_checksums_once(made, monkeypatch):
    folder, _ = made
    snapshot, compared = collection.read(folder), []
    sums = checksums.sums
    monkeypatch.setattr(checksums, "sums", lambda rows: compared.append(len(rows)) or sums(rows))
    for _ in range(3):
        exact.search(snapshot, vectors(1), 2)
    assert compared == [10]


def test_a_folder_is_remembered_once_and_with_what_is_in_it(tmp_path):
    with collection.writing(tmp_path / "idx", 3, {}) as writer:
        for folder in ("/a/b", "/a/bc", "/a/b/c", "/a", "/a/x", os.fsdecode(b"/\xff")):
            writer.describe({}, folder)
    assert collection.read(tmp_path / "idx").manifest["folders"] == ["/a", os.fsdecode(b"/\xff")]


def test_a_disk_at_fault_is_no_damage_and_nothing_is_left_out(made, monkeypatch):
    folder, expected = made
    is_file = os.stat

    def fault(path, **how):
        if str(path).endswith("names-0.bin"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return is_file(path, **how)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", fault)
        for call in (collection.read, mending.mend):
            with pytest.raises(OSError, match="names-0.bin") as error:
                call(folder)
            assert not isinstance(error.value, ValueError)
    same(contents(collection.read(folder)), expected)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("names", [["collection.json"], ["rows-0.bin", "vectors-0.bin", "names-0.bin", "dead-0.bin"]])
def test_embeddings_never_go_with_the_manifest_of_another_index_whose_model_may_be_another(
    made, tmp_path, names, before, caplog
):
    """A query would be embedded by the one model and compared with embeddings of the other."""
    folder, expected = made
    other = other_index(folder, tmp_path / "other")
    for name in names:
        shutil.copy(other / name, folder / name)
    if not before:
        (folder / manifest.BEFORE).unlink()
    with pytest.raises(Damaged):
        collection.read(folder)
    lost = mending.mend(folder)
    kept = collection.read(folder)
    if before and names == ["collection.json"]:  # the manifest before it is the right one
        same(contents(kept), expected)
        assert (lost, kept.manifest["model"]) == (0, {"name": "a model"})
        assert "collection.json is of another index: collection-before.json takes its place" in caplog.text
    else:
        assert (lost, len(kept)) == (len(expected), 0)
        assert "its files are not of one index, so none of its embeddings is kept" in caplog.text
