"""Pictures that were moved or are gone: what keeps its embedding, what --prune removes, and what only `--prune all`."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gluon_cgd.datasets import tree
from gluon_cgd.retrieval import collection, gone, index
from tests.retrieval.test_index import SIDE, cheap, picture, right


@pytest.fixture(autouse=True)
def no_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def old(tmp_path):
    """A folder with six pictures, which is indexed."""
    for i in range(6):
        picture(tmp_path / "old" / "ab"[i % 2] / f"{i}.png", i)
    update(tmp_path, "old")
    return tmp_path / "old"


def update(place, name, prune=False, embed=cheap):
    """The Changes of an update of the index in `place` with its folder `name`."""
    with collection.writing(place / "idx", 4 * 4 * 3 + 1, {}) as writer:
        writer.describe({}, str(place / name))
        return list(index.update(writer, place / name, embed, SIDE, prune=prune))[-1]


def pictures(folder):
    return [str(path) for path in Path(folder).rglob("*.png")]


@pytest.mark.parametrize("prune", [False, True, "all"])
def test_a_folder_that_was_moved_has_no_row_twice_and_nothing_is_embedded_again(tmp_path, old, prune):
    embedded = []
    os.rename(old, tmp_path / "new")
    done = update(tmp_path, "new", prune, lambda found: embedded.append(len(found)) or cheap(found))
    assert (done.moved, done.added, done.removed, done.gone, embedded) == (6, 0, 0, 0, [])
    right(tmp_path / "idx", pictures(tmp_path / "new"))
    assert update(tmp_path, "new").same == 6


def test_moved_pictures_are_committed_a_few_at_a_time(tmp_path, old, monkeypatch):
    monkeypatch.setattr(index, "MOVED", 2)
    committed, commit = [], collection.Writer.commit
    monkeypatch.setattr(
        collection.Writer,
        "commit",
        lambda writer, vectors, *rest: committed.append(len(vectors)) or commit(writer, vectors, *rest),
    )
    picture(old / "c" / "7.png", 7)  # a new one amid them
    os.rename(old, tmp_path / "new")
    done = update(tmp_path, "new")
    assert (done.moved, done.added, done.gone) == (6, 1, 0)
    assert (sum(committed), max(committed)) == (7, 2)
    right(tmp_path / "idx", pictures(tmp_path / "new"))


def test_a_picture_that_is_there_is_not_pruned_when_its_ending_cannot_be_read_any_more(tmp_path, old, monkeypatch):
    monkeypatch.setattr(tree, "installed", lambda name: True)
    for name in ("x.heic", "y.avif"):
        os.rename(picture(tmp_path / "made.png", 10), old / name)
    assert update(tmp_path, "old").added == 2
    monkeypatch.setattr(tree, "installed", lambda name: False)
    for prune in (False, True, "all"):
        done = update(tmp_path, "old", prune)
        assert (done.same, done.removed, done.gone) == (6, 0, 0)
    os.remove(old / "x.heic")
    assert update(tmp_path, "old").gone == 1
    assert update(tmp_path, "old", True).removed == 1
    right(tmp_path / "idx", [*pictures(old), str(old / "y.avif")])


def test_a_folder_that_is_indexed_by_another_path_is_refused(tmp_path, old):
    (tmp_path / "link").symlink_to(old)
    (tmp_path / "all").symlink_to(tmp_path)
    for name, same in (("link", old), ("link/a", old / "a"), ("all/old", old), ("all/old/b", old / "b"), ("all", old)):
        with pytest.raises(ValueError, match=f"as those of {same}, one folder .a link.* name {same}, or make another"):
            update(tmp_path, name)
    right(tmp_path / "idx", pictures(old))
    assert update(tmp_path, "old").same == 6
    os.rename(old, tmp_path / "new")  # and a link where it was, through which all paths are as before
    old.symlink_to(tmp_path / "new")
    with pytest.raises(ValueError, match=f"name {old}, or"):
        update(tmp_path, "new")
    assert update(tmp_path, "old").same == 6
    old.unlink()
    assert update(tmp_path, "new").moved == 6


def test_a_folder_that_was_copied_with_other_times_and_deleted_is_pruned(tmp_path, old):
    shutil.copytree(old, tmp_path / "new", copy_function=shutil.copyfile)
    shutil.rmtree(old)
    done = update(tmp_path, "new")
    assert (done.added, done.gone, done.kept) == (6, 6, {str(old): 6})
    done = update(tmp_path, "new", True)
    assert (done.removed, done.gone) == (6, 0)
    right(tmp_path / "idx", pictures(tmp_path / "new"))


def test_a_picture_of_the_same_name_size_and_time_is_not_a_moved_one_while_the_other_is_there(tmp_path, old):
    shutil.copytree(old, tmp_path / "copy")
    done = update(tmp_path, "copy", True)
    assert (done.added, done.moved, done.removed) == (6, 0, 0)
    right(tmp_path / "idx", [*pictures(old), *pictures(tmp_path / "copy")])


def test_a_moved_picture_is_recognised_by_name_size_and_time_together(tmp_path, old):
    moved = {name: tmp_path / "new" / name for name in ("0.png", "other.png", "2.png", "4.png")}
    (tmp_path / "new").mkdir()
    os.rename(old / "a/0.png", moved["0.png"])
    os.rename(old / "b/1.png", moved["other.png"])  # another name
    os.rename(old / "a/2.png", moved["2.png"])
    os.utime(moved["2.png"], ns=(5, 5))  # another time
    when = (old / "a/4.png").stat().st_mtime_ns
    os.remove(old / "a/4.png")
    picture(moved["4.png"], 9, (15, 15))  # another size
    os.utime(moved["4.png"], ns=(when, when))
    done = update(tmp_path, "new", True)
    assert (done.moved, done.added, done.removed) == (1, 3, 3)
    right(tmp_path / "idx", [*map(str, moved.values()), *pictures(old)])


def test_deleted_pictures_of_another_folder_are_pruned_and_those_of_one_without_any_left_are_kept(tmp_path, old):
    for i in (6, 7):
        picture(tmp_path / "disk" / f"{i}.png", i)
    update(tmp_path, "disk")
    picture(tmp_path / "new" / "8.png", 8)
    os.remove(old / "a" / "0.png")
    shutil.rmtree(old / "b")
    os.rename(tmp_path / "disk", tmp_path / "unplugged")
    assert update(tmp_path, "new").gone == 2  # a look at each folder, not at each picture
    done = update(tmp_path, "new", True)
    assert (done.removed, done.gone, done.kept) == (4, 2, {str(tmp_path / "disk"): 2})
    os.rename(tmp_path / "unplugged", tmp_path / "disk")
    right(tmp_path / "idx", [*pictures(old), *pictures(tmp_path / "disk"), *pictures(tmp_path / "new")])
    shutil.rmtree(tmp_path / "disk")
    (tmp_path / "disk").mkdir()  # a mount point
    assert update(tmp_path, "new", True).kept == {str(tmp_path / "disk"): 2}
    done = update(tmp_path, "new", "all")
    assert (done.removed, done.gone, done.kept) == (2, 0, {})
    right(tmp_path / "idx", [*pictures(old), *pictures(tmp_path / "new")])


def test_an_emptied_folder_is_pruned_when_that_is_said(tmp_path, old):
    picture(tmp_path / "other" / "x.png", 20)
    update(tmp_path, "other")
    shutil.rmtree(old)
    old.mkdir()
    for prune in (False, True):
        with pytest.raises(ValueError, match="old holds no pictures .*the index has 6 pictures of it.*--prune all"):
            update(tmp_path, "old", prune)
    assert len(collection.read(tmp_path / "idx")) == 7
    old.rmdir()
    done = update(tmp_path, "old", "all")
    assert (done.found, done.removed) == (0, 6)
    right(tmp_path / "idx", pictures(tmp_path / "other"))
    with pytest.raises(ValueError, match="old is not a folder"):
        update(tmp_path, "old", "all")


def test_what_cannot_be_looked_at_is_not_gone(tmp_path, old, monkeypatch):
    stat = os.stat

    def silent(path, **how):
        if str(path).endswith(("a", ".png")) and "old" in str(path):
            raise OSError(5, "Input/output error", str(path))
        return stat(path, **how)

    picture(tmp_path / "new" / "x.png", 20)
    with monkeypatch.context() as patch:
        patch.setattr(gone.os, "stat", silent)
        assert gone.is_gone(str(old / "a/0.png")) is False
    assert gone.is_gone(str(old / "a/0.png/x")) is True
    assert gone.is_gone("\0") is False


def test_the_folder_of_a_picture_is_the_innermost_that_was_indexed():
    folders = {"/a", "/a/b", "/c/d"}
    for path, place in (("/a/b/x", "/a/b"), ("/a/bc/x", "/a"), ("/c/x", "/c"), ("/c/d/e/f/x", "/c/d"), ("x", "")):
        assert gone.place_of(path, folders) == place


def test_moves_are_found_among_many_by_their_own_numbers(tmp_path):
    names = [f"/nowhere/{i}/p.png" for i in range(50)]
    stats = [SimpleNamespace(st_size=i % 7, st_mtime_ns=i // 7) for i in range(50)]
    with collection.writing(tmp_path / "idx", 2, {}) as writer:
        writer.commit(np.tile(np.float32([1, 0]), (50, 1)), names, stats)
    moves, seen = gone.Moves(collection.read(tmp_path / "idx")), np.zeros(50, bool)
    assert [moves.row("/elsewhere/p.png", stat, seen) for stat in stats] == list(range(50))
    seen[3] = True
    assert moves.row("/elsewhere/p.png", stats[3], seen) == -1
    assert moves.row("/elsewhere/q.png", stats[4], seen) == -1
