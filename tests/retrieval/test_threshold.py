"""From which cosine on two pictures show the same thing: beside counting, on collections whose answer is known."""

import numpy as np
import pytest

from gluon_cgd.retrieval import threshold
from gluon_cgd.retrieval.places import folder_of, place_of, prefixes


class Snapshot:
    """A collection in memory, of vectors (N, D) and paths."""

    def __init__(self, vectors, paths, roots=("/photos",), dead=()):
        self.vectors, self.paths, self.folder = np.asarray(vectors, np.float32), paths, "idx"
        self.count, self.dim = self.vectors.shape
        self.live = ~np.isin(np.arange(self.count), dead)
        self.manifest = {"folders": list(roots)}

    def __len__(self):
        return int(self.live.sum())

    def check(self, rows):
        pass

    def embeddings(self, rows):
        return self.vectors[rows]

    def path(self, row):
        return self.paths[row]


def circle(degrees):
    """Unit vectors (N, 2) at these angles: the cosine of two is that of their difference."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def cosine(degrees):
    return np.cos(np.radians(degrees))


def by_folder(**more):
    """Four folders of two pictures; the nearest of another folder is 20, 18, 18, 23, 27, 25, 25, 63 degrees away."""
    angles = [0, 2, 20, 25, 55, 57, 82, 120]
    paths = [f"/photos/{'abcd'[i // 2]}/{i}.jpg" for i in range(8)]
    return Snapshot(circle(angles), paths, **more)


def test_a_rate_is_the_share_of_pictures_whose_nearest_of_another_folder_reaches_the_threshold():
    found = threshold.calibrate(by_folder(), "25%")
    assert found.basis == "folders"
    assert found.false_matches == 0.25  # the two that are 18 degrees away
    assert cosine(20) < found.cosine < cosine(18)
    assert found.cosine == pytest.approx(cosine(20), abs=2e-6)
    # Own folder first and at most 20 degrees: 0 and 1 (2 degrees), 20 and 25 (5 degrees), 55 and 57; not 82 and 120
    assert found.right == 6 / 8
    assert found.counted == 8
    assert (
        "has a false match in 25 % of the cases, and 75 % of the pictures find their own folder first"
        in found.sentence()
    )


def test_a_cosine_is_told_what_it_stands_for():
    found = threshold.calibrate(by_folder(), f"{cosine(26):.6f}")
    assert found.cosine == pytest.approx(cosine(26), abs=1e-6)
    assert found.false_matches == 6 / 8
    assert found.right == 6 / 8


def test_removed_pictures_and_those_in_no_folder_do_not_count():
    angles, paths = (
        [0, 2, 40, 43, 1, 41],
        [*(f"/photos/{name}/x.jpg" for name in "aabb"), "/photos/c/x.jpg", "/photos/y"],
    )
    snapshot = Snapshot(circle(angles), [f"{path}{i}" for i, path in enumerate(paths)], dead=[4])
    found = threshold.calibrate(snapshot, "50%")
    assert found.counted == 4
    assert found.cosine == pytest.approx(cosine(40), abs=2e-6)  # 38, 38, 40 and 41 degrees
    assert found.right == 1


def test_without_folders_the_pairs_give_the_most_that_the_rate_can_be():
    vectors = circle(np.arange(0, 90, 9.0))  # 45 pairs, 9 of them 9 degrees apart and 8 of them 18
    found = threshold.calibrate(Snapshot(vectors, [f"/photos/{i}" for i in range(10)]), "20%")
    assert (found.basis, found.counted, found.right) == ("pairs", 45, None)
    assert found.false_matches == 9 / 45
    assert cosine(18) < found.cosine < cosine(9)
    assert "20 % of 45 pairs of pictures of the index reach it, which is the most" in found.sentence()
    plain = threshold.calibrate(Snapshot(vectors, [f"/photos/{i}" for i in range(10)]))
    assert plain.false_matches <= 1 / 45


def test_blocks_and_drawn_pictures_do_not_change_what_is_counted(monkeypatch):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    paths = [f"/photos/{i % 7}/{i}.jpg" for i in range(60)]
    whole = threshold.calibrate(Snapshot(vectors, paths), "10%")
    monkeypatch.setattr(threshold, "BLOCK", 4 * 60 * 7)
    assert threshold.calibrate(Snapshot(vectors, paths), "10%") == whole
    cosines = vectors @ vectors.T
    own = np.arange(60)[:, None] % 7 == np.arange(60) % 7
    other = np.where(own, -1, cosines).max(axis=1)
    assert whole.false_matches == np.mean(other >= whole.cosine) == 0.1
    monkeypatch.setattr(threshold, "ASKED", 20)
    assert threshold.calibrate(Snapshot(vectors, paths), "10%").counted == 20


@pytest.mark.parametrize("text", ["1.1", "-2", "5 percent", "0%", "100%", "nan", "query.jpg", "1e999", ".", "5%%"])
def test_what_is_no_threshold_is_refused_in_a_sentence(text):
    with pytest.raises(ValueError, match="must be a cosine from -1 to 1, as 0.8, or a rate of false matches"):
        threshold.parse(text)


def test_a_rate_that_the_collection_cannot_tell_is_refused():
    with pytest.raises(ValueError, match="less than one of the 8 pictures .*: name 12.5% or more, or a cosine"):
        threshold.calibrate(by_folder(), "5%")
    assert threshold.calibrate(by_folder()).false_matches == 0  # without a value: one of 8, and two are as near
    with pytest.raises(ValueError, match="has one picture"):
        threshold.calibrate(Snapshot(circle([0]), ["/photos/a.jpg"]), "5%")


def test_folders_are_known_by_their_path_below_the_indexed_one():
    one = prefixes(["/home/photos"])
    assert place_of("/home/photos/cars/red/1.jpg", one) == ("cars/red", "1.jpg")
    assert place_of("/home/photos/1.jpg", one) == (".", "1.jpg")
    assert place_of("/home/photos2/1.jpg", one) == ("/home/photos2", "1.jpg")  # its name only begins alike
    several = prefixes(["/home/a/photos", "/home/b/photos", "/disk"])
    assert folder_of("/home/a/photos/x", several) == "home/a/photos/x"
    assert folder_of("/disk", several) == "disk"
    assert folder_of("/disk/x", several) == "disk/x"
