"""A model without a network, in place of the one that shards open, and small batches."""

from types import SimpleNamespace

import numpy as np
import pytest

from gluon_cgd.experiment import Experiment
from gluon_cgd.models.opened import Model
from gluon_cgd.retrieval import filling
from gluon_cgd.shards import filling as shard_filling
from gluon_cgd.shards import plan as plans
from tests.retrieval.test_index import SIDE, cheap, picture

EXPERIMENT = Experiment()
ABOUT = dict(name="cheap", source="/models/cheap", parameters_sha256="0" * 64, onnx=False, which=None, experiment={})
CHEAP = Model(cheap, None, None, EXPERIMENT, SIDE, dict(ABOUT, experiment=EXPERIMENT.to_dict()))


@pytest.fixture
def cheap_model(monkeypatch):
    """Shards open the model CHEAP, and a batch has two pictures, so that a few pictures fill many shards."""
    monkeypatch.setattr(shard_filling, "open_model", lambda folder, remembered, **how: CHEAP)
    monkeypatch.setattr(shard_filling, "warn_of_boxes", lambda trained: None)
    monkeypatch.setattr(plans, "BATCH", 2)
    return CHEAP


@pytest.fixture
def photos(tmp_path):
    """A folder with 20 pictures, in two subfolders."""
    for number in range(20):
        picture(tmp_path / "photos" / "ab"[number % 2] / f"{number:02}.png", number)
    return tmp_path / "photos"


@pytest.fixture
def whole(tmp_path, photos, cheap_model):
    """The index of `photos` that one process makes."""
    list(filling.fill(tmp_path / "whole", photos, cheap_model))
    return tmp_path / "whole"


@pytest.fixture
def begun(tmp_path, photos, cheap_model):
    """A function that lists `photos` for the index idx in some shards; returns (the plan, idx)."""

    def begin(shards, source=photos):
        out = tmp_path / "idx"
        plans.place(out).mkdir()
        return plans.make(out, source, shards, {}), out

    return begin


def content(idx):
    """The bytes of the files of an index, and its manifest without what is drawn: its id, and the digest of all."""
    files = {file.name: file.read_bytes() for file in idx.glob("*.bin")}
    lines = (idx / "collection.json").read_text().splitlines()
    drawn = [line for line in lines if line.startswith((' "id": ', ' "digest": '))]
    assert len(drawn) == 2
    return SimpleNamespace(files=files, manifest=[line for line in lines if line not in drawn])


def same(idx, other):
    """Two indexes are the same to the byte, but for the drawn id."""
    one, two = content(idx), content(other)
    assert sorted(one.files) == sorted(two.files)
    for name in one.files:
        np.testing.assert_array_equal(
            np.frombuffer(one.files[name], np.uint8), np.frombuffer(two.files[name], np.uint8)
        )
    assert one.manifest == two.manifest
