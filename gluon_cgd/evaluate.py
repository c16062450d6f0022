"""Embeddings of pictures, on the device where the network is (section 4.2: pictures are only resized)."""

from typing import Any, Callable, Optional, Sequence

import numpy as np

from gluon_cgd.datasets.records import Split
from gluon_cgd.machine.progress import by_batches
from gluon_cgd.recall import Embeddings


def embed(net: Any, pictures: np.ndarray, ctx: Any, batch_size: int = 128, output: int = 0) -> np.ndarray:
    """The embeddings of `pictures`, uint8 (N, size, size, 3): float32 (N, D). Here MXNet's arrays become NumPy's.

    ctx: the device of `net`, or a list of the devices it is on; each takes a part of every batch.
    output: which of the network's outputs to return; 0 is the combined descriptor (equation 3).
    """
    from gluon_cgd.datasets.images import parts
    from gluon_cgd.machine.devices import listed

    rows, devices = [], listed(ctx)
    for start in by_batches(len(pictures), batch_size):
        batch = pictures[start : start + batch_size]
        # Fill the last batch up, so that one compiled graph serves all
        full = np.concatenate([batch, np.repeat(batch[-1:], batch_size - len(batch), axis=0)])
        outputs = [net(part)[output] for part in parts(full, devices)]  # all devices start before we wait for the first
        rows.append(np.concatenate([array.asnumpy() for array in outputs])[: len(batch)])
    return np.concatenate(rows)


def accuracy(net: Any, pictures: np.ndarray, labels: Sequence[int], ctx: Any) -> float:
    """The share of training pictures that the classifier of `net` assigns to their class; a tie is a mistake.

    pictures, labels: all of those that `net` was trained on, as these number its classes.
    """
    logits = embed(net, pictures, ctx, output=1)  # (N, M)
    classes = np.unique(labels, return_inverse=True)[1]  # the classifier counts classes from 0 without gaps
    i = np.arange(len(logits))
    right = logits[i, classes].copy()
    logits[i, classes] = -np.inf
    return float((right > logits.max(axis=1)).mean())


def features_of(net: Any, pictures: np.ndarray, ctx: Any) -> np.ndarray:
    """The last feature maps of a few pictures, uint8 (B, H, W, 3): float32 (B, C, h, w)."""
    from gluon_cgd.datasets.images import normalise

    return net.backbone(normalise(pictures, ctx)).asnumpy()


def embedded(
    net: Any, split: Split, query: np.ndarray, gallery: Optional[np.ndarray], ctx: Any, batch_size: int = 128
) -> Embeddings:
    """The Embeddings of the test part of `split` by `net`, combined descriptors (equation 3).

    query, gallery: its pictures, uint8 (N, size, size, 3); without a gallery the queries are searched in themselves.
    """
    return labelled(lambda pictures: embed(net, pictures, ctx, batch_size), split, query, gallery)


def labelled(
    embed_pictures: Callable[[Any], np.ndarray], split: Split, query: Any, gallery: Optional[Any]
) -> Embeddings:
    """As `embedded`, with any function `embed_pictures`: pictures (N, size, size, 3) -> embeddings (N, D)."""
    queries = Embeddings(embed_pictures(query), [record.label for record in split.query])
    if gallery is None:
        return queries
    labels = [record.label for record in split.gallery or ()]
    return queries._replace(gallery=embed_pictures(gallery), gallery_labels=labels)
