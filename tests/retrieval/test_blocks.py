"""Checksums of blocks: an index of many rows is opened without being read, and what is damaged is noticed when used."""

import json
import os
import shutil

import numpy as np
import pytest

from gluon_cgd.retrieval import blocks, collection, compaction, manifest, mending
from gluon_cgd.retrieval.manifest import Damaged
from gluon_cgd.retrieval.snapshot import ROW
from tests.retrieval.test_collection import contents, same, stats, vectors

COUNT = 2 * blocks.ROWS + 300  # two whole blocks, and one that is not
NAMES = [f"/photos/{'long' * (i % 7)}{i}.jpg" for i in range(COUNT)]


@pytest.fixture(autouse=True)
def no_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def fill(folder, steps):
    """An index of NAMES in `folder`, written in so many rows at a time, in turn."""
    every, first, number = vectors(COUNT), 0, 0
    with collection.writing(folder, 3, {}) as writer:
        while first < COUNT:
            part = slice(first, first + steps[number % len(steps)])
            writer.append(every[part], NAMES[part], range(*part.indices(COUNT)), [7] * len(NAMES[part]))
            writer.publish()
            first, number = part.stop, number + 1
        writer.commit(np.empty((0, 3)), [], [], [5, 1500])
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        return fill(tmp_path_factory.mktemp("original") / "idx", [COUNT])


@pytest.fixture
def made(original, tmp_path):
    """An index of two blocks and 300 rows, to change."""
    return shutil.copytree(original, tmp_path / "idx")


def change(folder, **values):
    """Write values into collection.json, with their digest; ... removes one."""
    known = {**json.loads((folder / "collection.json").read_text()), **values}
    known = {name: value for name, value in known.items() if value is not ...}
    (folder / "collection.json").write_text(json.dumps(dict(known, digest=manifest.digest(known))))


def flip(file, place):
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def test_the_checksums_are_the_same_however_the_rows_were_added(original, tmp_path):
    expected = (original / "blocks-0.crc").read_bytes()
    assert len(expected) == 2 * blocks.RECORD.itemsize
    known = manifest.read_manifest(original)["blocks"]
    for number, steps in enumerate(([1000], [blocks.ROWS], [1, 2000, 47], [blocks.ROWS - 1, 1])):
        folder = fill(tmp_path / str(number), steps)
        assert (folder / "blocks-0.crc").read_bytes() == expected
        assert manifest.read_manifest(folder)["blocks"] == known


def test_opening_reads_the_last_block_alone_and_each_other_once_when_it_is_used(made, monkeypatch):
    compared, crc = [], blocks.zlib.crc32
    monkeypatch.setattr(blocks.zlib, "crc32", lambda data, *start: compared.append(len(data)) or crc(data, *start))
    snapshot = collection.read(made)
    row = ROW.itemsize
    assert compared[1:] == [300 * row, sum(map(len, NAMES[-300:])), 2 * 8]  # the first is that of their file
    compared.clear()
    for _ in range(3):
        assert snapshot.path(COUNT - 1) == NAMES[-1]
    assert compared == []
    for _ in range(3):
        assert snapshot.path(1024) == NAMES[1024]
        snapshot.check(np.array([2047, 1024]))
    assert compared[::2] == [1024 * row]
    assert snapshot.encoded(slice(None)) == [os.fsencode(name) for name in NAMES]
    assert compared[::2] == [1024 * row] * 2


@pytest.mark.parametrize("name", ["rows", "names"])
def test_a_damaged_block_is_named_when_it_is_used_and_mended_and_the_others_serve(made, name):
    expected = contents(collection.read(made))
    flip(made / f"{name}-0.bin", 3)  # of the first row
    snapshot = collection.read(made)
    assert snapshot.path(1024) == NAMES[1024]
    snapshot.check(slice(1024, COUNT))
    words = f"{name}-0.bin is damaged .(rows|paths) 0 to 1,023 have another checksum"
    every = lambda: list(snapshot.paths())  # noqa: E731
    for use in (lambda: snapshot.path(700), lambda: snapshot.check([9]), every, lambda: snapshot.rows):
        with pytest.raises(Damaged, match=words):
            use()
    assert mending.mend(made) == 1
    found = contents(collection.read(made))
    same(found, {path: vector for path, vector in expected.items() if path != NAMES[0]})


def test_what_is_behind_the_rows_that_count_does_not_count(made):
    for file in (made / "rows-0.bin", made / "names-0.bin", made / "blocks-0.crc"):
        with open(file, "ab") as handle:
            handle.write(b"left by an interrupted commit")
    snapshot = collection.read(made)
    assert snapshot.has_blocks
    assert len(list(snapshot.paths())) == COUNT


LOST = {
    "missing": lambda file: file.unlink(),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "another": lambda file: flip(file, 0),
    "a pipe": lambda file: (file.unlink(), os.mkfifo(file))[0],
}


@pytest.mark.parametrize("loss", LOST)
def test_lost_checksums_of_blocks_cost_only_time_and_are_made_again(made, loss):
    file, expected = made / "blocks-0.crc", contents(collection.read(made))
    before = file.read_bytes()
    LOST[loss](file)
    snapshot = collection.read(made)
    assert not snapshot.has_blocks
    same(contents(snapshot), expected)
    assert mending.mend(made) == 0
    with collection.writing(made, 3, {}) as writer:
        writer.describe({})
    assert file.read_bytes() == before
    assert collection.read(made).has_blocks


def test_an_index_without_them_is_read_as_ever_and_gets_them_from_the_next_writer(made, tmp_path):
    before, held = (made / "blocks-0.crc").read_bytes(), contents(collection.read(made))
    (made / "blocks-0.crc").unlink()
    change(made, blocks=...)
    same(contents(collection.read(made)), held)
    flip(made / "names-0.bin", 3)
    with pytest.raises(Damaged, match="names-0.bin is damaged .its checksum is another"):
        collection.read(made)
    flip(made / "names-0.bin", 3)
    assert mending.mend(made) == 0
    assert not (made / "blocks-0.crc").exists()  # nothing was rewritten
    with collection.writing(made, 3, {}) as writer:
        writer.commit(vectors(1, 4), ["/new"], stats(1, tmp_path))
    assert (made / "blocks-0.crc").read_bytes() == before
    assert set(contents(collection.read(made))) == {*held, "/new"}


def test_rows_that_an_earlier_version_added_are_read_and_then_belong_to_blocks(made, tmp_path):
    """It leaves what it does not know in the manifest as it was."""
    known = manifest.read_manifest(made)["blocks"]
    with collection.writing(made, 3, {}) as writer:
        writer.commit(vectors(1, 4), ["/new"], stats(1, tmp_path))
    right = manifest.read_manifest(made)["blocks"]
    change(made, blocks=known)
    assert not collection.read(made).has_blocks
    assert "/new" in contents(collection.read(made))
    with collection.writing(made, 3, {}) as writer:
        writer.publish()
    assert manifest.read_manifest(made)["blocks"] == right
    assert collection.read(made).has_blocks


@pytest.mark.parametrize("known", [[], {}, {"rows": 1}, dict(blocks.NONE, rows=-1), dict(blocks.NONE, last=[0.5, 0])])
def test_impossible_ones_in_the_manifest_are_a_sentence(made, known):
    change(made, blocks=known)
    with pytest.raises(Damaged, match="collection.json cannot be read .its checksums of blocks are none"):
        collection.read(made)


def test_a_compacted_index_has_its_own(made):
    held = contents(collection.read(made))
    assert compaction.compact(made, block=1000) == 2
    assert sorted(file.name for file in made.glob("*.crc")) == ["blocks-1.crc"]
    snapshot = collection.read(made)
    assert snapshot.has_blocks
    same(contents(snapshot), held)
    with collection.writing(made, 3, {}):
        assert sorted(file.name for file in made.glob("*.crc")) == ["blocks-1.crc"]


def test_memory_that_is_given_back_is_read_again(made):
    snapshot = collection.read(made)
    before = snapshot.vectors.copy(), snapshot.rows.copy(), list(snapshot.paths())
    snapshot.forget()
    np.testing.assert_array_equal(snapshot.vectors, before[0])
    assert (snapshot.rows == before[1]).all()
    assert list(snapshot.paths()) == before[2]
    with collection.writing(made / "empty", 3, {}):
        collection.read(made / "empty").forget()
