from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd.datasets import Record, Split, images
from gluon_cgd.evaluate import NotFinite, embed, features_of, finite, in_collection, labelled
from gluon_cgd.recall import branch_recalls, recall_of


def test_embedding_gives_every_picture_its_row_whatever_the_batch():
    def net(x):
        return [x.mean(axis=(2, 3))]

    pictures = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), dtype=np.uint8)
    expected = images.normalise(pictures, mx.cpu()).asnumpy().mean(axis=(2, 3))
    for batch_size in (1, 3, 7, 20):
        np.testing.assert_allclose(embed(net, pictures, mx.cpu(), batch_size), expected, rtol=1e-5)


def test_embeddings_with_a_gallery_are_told_by_name_and_by_branch():
    rng = np.random.default_rng(0)
    vectors = {"query": rng.normal(size=(6, 4)), "gallery": rng.normal(size=(9, 4))}
    records = {name: [Record("", int(label)) for label in range(len(rows))] for name, rows in vectors.items()}
    split = Split([], records["query"], records["gallery"])
    found = labelled(lambda name: vectors[name], split, "query", "gallery")
    assert (found.query is vectors["query"], found.query_labels) == (True, list(range(6)))
    assert (found.gallery is vectors["gallery"], found.gallery_labels) == (True, list(range(9)))
    alone = labelled(lambda name: vectors[name], split, "query", None)
    assert (alone.gallery, alone.gallery_labels) == (None, None)
    for embeddings in (found, alone):
        branches = branch_recalls((1, 2), embeddings, ["SPoC", "MAC"])
        for i, name in enumerate(("SPoC", "MAC")):
            items = embeddings.gallery
            piece = embeddings._replace(query=embeddings.query[:, 2 * i : 2 * i + 2])
            piece = piece if items is None else piece._replace(gallery=items[:, 2 * i : 2 * i + 2])
            assert branches[name] == recall_of((1, 2), piece)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused_where_it_is_computed(bad):
    def net(x):
        means = x.mean(axis=(2, 3))
        return [mx.nd.where(means > 2, mx.nd.full(means.shape, bad), means)]

    pictures = np.zeros((5, 4, 4, 3), np.uint8)
    pictures[[1, 4]] = 255
    for size in (1, 2, 5, 8):
        with pytest.raises(NotFinite, match=r"the embedding of picture 1 is NaN or infinite \(2 of 5 are\): the train"):
            embed(net, pictures, mx.cpu(), size)
    with pytest.raises(NotFinite, match="the feature map of picture 1 is NaN"):
        features_of(SimpleNamespace(last_map=lambda x: net(x)[0]), pictures, mx.cpu())
    split = Split([], [Record(f"photos/{i}.jpg", i) for i in range(5)])
    with pytest.raises(ValueError, match="the embedding of photos/1.jpg is NaN or infinite"):
        labelled(lambda batch: embed(net, batch, mx.cpu()), split, pictures, None)
    with pytest.raises(ValueError, match="the embedding of photos/1.jpg is NaN or infinite"):
        labelled(lambda batch: embed(net, batch, mx.cpu()), split._replace(gallery=split.query), pictures[:1], pictures)


def test_no_pictures_are_finite():
    assert finite(np.zeros((0, 3))).shape == (0, 3)


def test_the_collection_is_the_test_pictures_and_then_the_training_pictures():
    rng = np.random.default_rng(0)
    query, train = rng.normal(size=(4, 3)), rng.normal(size=(6, 3))
    split = Split([Record("", i % 3) for i in range(6)], [Record("", i % 2) for i in range(4)])
    among = labelled(lambda pictures: pictures, split, query, None)
    whole = in_collection(lambda pictures: pictures, among, split.train, train)
    assert whole.query is among.query
    assert whole.gallery.tolist() == [*query.tolist(), *train.tolist()]
    assert whole.gallery_labels == [0, 1, 0, 1, 0, 1, 2, 0, 1, 2]
    assert whole.queries_first
