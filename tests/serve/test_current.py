"""The index as it is now: while it is written, after it was made anew, and when it is damaged."""

import contextlib
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from gluon_cgd.__main__ import main
from gluon_cgd.datasets import glyphs, images
from gluon_cgd.retrieval import compaction
from gluon_cgd.serve.current import Current
from gluon_cgd.serve.refusal import Refusal
from tests.models.test_opened import published
from tests.serve.conftest import EXPERIMENT


@pytest.fixture
def own(own_index):
    """A Current of an index of its own, which looks again at once."""
    with contextlib.closing(Current(str(own_index), ctx="cpu")) as current:
        current.state()
        yield current


def after(current):
    """The state when the Current looks again."""
    current._next = 0.0
    return current.state()


def test_a_changed_index_is_read_again_with_the_same_model(own, shop, tmp_path):
    before = own.state()
    assert after(own) is before
    (tmp_path / "more").mkdir()
    Image.fromarray(glyphs.picture(9, 0)).save(tmp_path / "more" / "new.png")
    assert main(["index", "--images", str(tmp_path / "more"), "--out", str(own.folder), "--ctx", "cpu"]) == 0
    now = after(own)
    assert (len(before.snapshot), len(now.snapshot)) == (25, 26)
    assert now.computed is before.computed
    assert now.number == before.number + 1
    assert now.places.name(25) == "more"
    assert before.snapshot.vectors[:25].tobytes() == now.snapshot.vectors[:25].tobytes()
    assert compaction.compact(own.folder) == 0


def test_an_index_that_was_made_anew_brings_its_model(own, shop, tmp_path):
    other = published(tmp_path / "other", EXPERIMENT, seed=5)
    before = own.state()
    shutil.rmtree(own.folder)
    with pytest.raises(Refusal) as refusal:
        after(own)
    assert refusal.value.status == 503
    make = ["index", "--images", str(shop.photos), "--checkpoint", other, "--out", own.folder, "--ctx", "cpu"]
    assert main(make) == 0
    now = after(own)
    assert now.computed is not before.computed
    assert now.computed.model.about["source"] == other


def test_an_index_that_was_whitened_meanwhile_is_searched_with_whitened_queries(own, shop):
    def cosine():
        """Of a picture with its own row in the index."""
        state, file = after(own), str(shop.photos / "small/letter 0/0.png")
        query = state.computed.vector(file, lambda: images.load_picture(file, 16), file)
        return float((query @ state.snapshot.vectors[state.finder.row(file)])[0])

    before = own.state().snapshot.vectors.copy()
    assert cosine() == pytest.approx(1, abs=1e-5)
    assert main(["index", "--out", own.folder, "--whiten"]) == 0
    assert cosine() == pytest.approx(1, abs=1e-5)
    now = own.state().snapshot
    assert np.abs(now.vectors[now.live] - before).max() > 0.05


def test_a_damaged_index_is_a_sentence_until_it_is_mended(own, own_index):
    file = next(own_index.glob("rows-*.bin"))
    whole = file.read_bytes()
    file.write_bytes(bytes(len(whole)))
    manifest = own_index / "collection.json"
    manifest.write_bytes(manifest.read_bytes())
    with pytest.raises(Refusal, match="rows-0.bin is damaged .*mends it") as refusal:
        after(own)
    assert refusal.value.status == 503
    file.write_bytes(whole)
    assert len(after(own).snapshot) == 25


def test_a_large_index_is_not_read_all_the_time(own, own_index, monkeypatch):
    monkeypatch.setattr("gluon_cgd.serve.current.REST", 1e6)
    manifest = own_index / "collection.json"
    manifest.write_bytes(manifest.read_bytes())
    now = after(own)
    manifest.write_bytes(manifest.read_bytes())
    assert own._next > time.monotonic()
    assert own.state() is now
