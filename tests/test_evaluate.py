import mxnet as mx
import numpy as np

from gluon_cgd.datasets import Record, Split, images
from gluon_cgd.evaluate import embed, labelled
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
