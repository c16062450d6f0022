"""The folders of an index, as people know them."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from gluon_cgd.serve.places import Places


def snapshot(paths, folders, generation=0):
    """As much of a Snapshot as Places needs."""
    manifest = dict(folders=folders, id="a", generation=generation)
    return SimpleNamespace(
        manifest=manifest, count=len(paths), paths=lambda first=0: [os.fsencode(p) for p in paths][first:]
    )


def test_a_folder_is_named_below_the_one_that_was_indexed():
    places = Places(snapshot(["/p/a/1.jpg", "/p/a/b/1.jpg", "/p/1.jpg", "/p/ab/1.jpg"], ["/p"]))
    assert [places.name(row) for row in range(4)] == ["a", "a/b", ".", "ab"]
    assert places.inside("a").tolist() == [True, True, False, False]
    assert places.inside(".").tolist() == [False, False, True, False]
    assert places.counted(np.ones(4, bool)) == [(".", 1), ("a", 2), ("a/b", 1), ("ab", 1)]
    assert places.counted(np.array([False, True, False, False])) == [("a", 1), ("a/b", 1)]
    for wrong in ("b", "a/", "/p", "..", ""):
        with pytest.raises(KeyError):
            places.inside(wrong)


def test_names_hold_nothing_that_cannot_be_shown():
    places = Places(snapshot(["/p/a\x1b[31m\udcff/1.jpg", "/elsewhere/b/1.jpg", "/1.jpg"], ["/p"]))
    assert [places.name(row) for row in range(3)] == ["a\\x1b[31m\\xff", "elsewhere/b", "."]
    assert places.counted(np.ones(3, bool))[1:] == [("a\\x1b[31m\\xff", 1), ("elsewhere", 1), ("elsewhere/b", 1)]


def test_an_index_without_folders_is_named_below_what_its_pictures_share():
    places = Places(snapshot(["/p/q/a/1.jpg", "/p/q/b/1.jpg"], []))
    assert places.names == ["a", "b"]
    assert Places(snapshot([], [])).names == []


def test_rows_that_were_added_are_read_alone():
    old = Places(snapshot(["/p/b/1.jpg"], ["/p"]))
    new = snapshot(["/p/b/1.jpg", "/p/a/1.jpg", "/p/b/2.jpg"], ["/p"])
    asked = []
    paths = new.paths
    new.paths = lambda first=0: asked.append(first) or paths(first)
    places = Places(new, old)
    assert asked == [1]
    assert [places.name(row) for row in range(3)] == ["b", "a", "b"]
    rewritten = snapshot(["/p/c/1.jpg"], ["/p"], generation=1)
    assert Places(rewritten, places).names == ["c"]
