"""Names, folders and groups of what a search finds, beside sorting by hand."""

import numpy as np
import pytest

from gluon_cgd.retrieval import answers, exact
from tests.retrieval.test_threshold import Snapshot, circle

ANGLES = [0, 1, 2, 3, 30, 31, 60, 90]
PATHS = [f"/photos/{folder}/{i}.jpg" for i, folder in enumerate("aaaabbcd")]


def found(snapshot, degrees=0):
    return lambda count: exact.search(snapshot, circle([degrees]), count)[0]


def test_a_result_has_its_name_and_its_folder():
    snapshot = Snapshot(circle(ANGLES), PATHS)
    first, second = answers.nearest(snapshot, found(snapshot), 2)
    assert first == (pytest.approx(1), "/photos/a/0.jpg", "a", "0.jpg")
    assert second.name == "1.jpg"


@pytest.mark.parametrize("first", [10, 1])  # with 1 it has to look at more pictures than at first
def test_folders_are_in_the_order_of_their_nearest_picture(first, monkeypatch):
    monkeypatch.setattr(answers, "FIRST", first)
    snapshot = Snapshot(circle(ANGLES), PATHS)
    groups = answers.nearest_folders(snapshot, found(snapshot, 29), 3)
    assert [group.folder for group in groups] == ["b", "a", "c"]
    assert [answer.name for answer in groups[0].answers] == ["4.jpg", "5.jpg"]
    assert groups[1].answers[0].name == "3.jpg"
    assert len(answers.nearest_folders(snapshot, found(snapshot), 9)) == 4


def test_the_query_and_what_is_below_the_threshold_do_not_count():
    snapshot = Snapshot(circle(ANGLES), PATHS)
    groups = answers.nearest_folders(snapshot, found(snapshot), 4, {PATHS[0]}, least=np.cos(np.radians(30.5)))
    assert [(group.folder, len(group.answers)) for group in groups] == [("a", 3), ("b", 1)]
    assert answers.nearest_folders(snapshot, found(snapshot, 180), 4, least=0.5) == []
