"""The list of pictures and how it is cut; lists in files as the source of an index."""

import os

import pytest

from gluon_cgd.retrieval import sources
from gluon_cgd.shards import plan as plans
from tests.retrieval.test_index import picture


@pytest.mark.parametrize("shards", [1, 3, 7, 64])
def test_the_parts_cover_the_list_in_its_order_and_begin_with_a_batch(begun, photos, shards):
    plan, out = begun(shards)
    parts = [list(plan.paths(number)) for number in range(1, shards + 1)]
    assert sum(parts, []) == list(sources.pictures_of(photos))
    assert plans.read(out) == plan
    assert [part.pictures for part in plan.parts] == [len(part) for part in parts]
    filled = [len(parts[number - 1]) for number in plan.filled]
    assert all(count % 2 == 0 for count in filled)
    assert max(filled) - min(filled) <= 2
    assert plan.pictures == 20


def test_names_of_any_bytes_survive(begun, photos):
    odd = [os.fsdecode(name) for name in (b"a\nb.png", b"\xff\xfe.png", " blank .png ".strip().encode())]
    for number, name in enumerate(odd):
        picture(photos / name, number)
    plan, _ = begun(2)
    listed = [path for number in (1, 2) for path in plan.paths(number)]
    assert {os.path.join(photos, name) for name in odd} <= set(listed)
    assert listed == list(sources.pictures_of(photos))


def test_a_list_of_paths_that_was_changed_is_refused(begun):
    plan, _ = begun(2)
    file = plan.folder / plans.PICTURES
    data = bytearray(file.read_bytes())
    data[5] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"pictures.bin is damaged: delete .*idx.shards, and start again"):
        list(plan.paths(1))
    assert list(plan.paths(2))
    file.write_bytes(data[:-30])
    with pytest.raises(ValueError, match="is damaged"):
        list(plan.paths(2))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("[]", "list indices"),
        ('{"format": 2}', "format 2, and this version"),
        ("{}", "'format'"),
    ],
)
def test_a_plan_that_cannot_be_read_says_so(begun, text, reason):
    plan, out = begun(2)
    (plan.folder / plans.NAME).write_text(text)
    with pytest.raises(ValueError, match=f"plan.json cannot be read .*{reason}.*delete") as told:
        plans.read(out)
    assert len(str(told.value).splitlines()) == 1


def test_an_index_without_a_plan_and_a_shard_that_is_none_are_told(tmp_path, begun):
    with pytest.raises(ValueError, match=r"is not being made in shards .*--shards N begins it"):
        plans.read(tmp_path / "other")
    plan, _ = begun(3)
    for number in (0, 4, -1):
        with pytest.raises(ValueError, match=f"shard {number} is not there: .* has the shards 1 to 3"):
            plans.check_number(plan, number)


def test_a_list_of_one_path_a_line_is_taken_from_where_it_is(tmp_path):
    lines = [b"\xef\xbb\xbfphotos/a.png", b"", b"photos/b c.png ", b"/else/c.png", b"photos/\xff.png", b"../d.png"]
    file = tmp_path / "list.txt"
    file.write_bytes(b"\r\n".join(lines))
    expected = ["photos/a.png", "photos/b c.png ", "/else/c.png", os.fsdecode(b"photos/\xff.png")]
    assert list(sources.pictures_of(file)) == [
        *(os.path.join(tmp_path, path) for path in expected),
        str(tmp_path.parent / "d.png"),
    ]
    sources.check(file)


def test_a_list_with_columns_is_taken_without_its_labels(tmp_path):
    file = tmp_path / "list.csv"
    file.write_text("path,label\na.png,x\nb/c.png,y\n")
    assert list(sources.pictures_of(file)) == [str(tmp_path / "a.png"), str(tmp_path / "b" / "c.png")]
    file.write_text("path,label,x1,y1,x2,y2\na.png,x,1,2,3,4\n")
    with pytest.raises(ValueError, match="has boxes, and an index holds whole pictures"):
        sources.check(file)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\n \n", "names no pictures: write one path a line"),
        (b"a.png\nb.png\n./a.png\n", "names .*a.png twice: leave it in once"),
        ("a.png\n".encode("utf-16"), "line 1 is no path"),
        (b"a.png\n" + b"x" * 20_000, "line 2 is no path"),
    ],
)
def test_a_wrong_list_is_refused_in_a_sentence(tmp_path, data, reason):
    (tmp_path / "list.txt").write_bytes(data)
    with pytest.raises(ValueError, match=reason) as told:
        sources.check(tmp_path / "list.txt")
    assert len(str(told.value).splitlines()) == 1


def test_a_folder_that_is_named_like_a_list_is_a_folder(tmp_path):
    picture(tmp_path / "a.txt" / "1.png", 1)
    assert list(sources.pictures_of(tmp_path / "a.txt")) == [str(tmp_path / "a.txt" / "1.png")]
