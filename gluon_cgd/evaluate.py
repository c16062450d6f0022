"""Embeddings of pictures, on the device where the network is."""

import numpy as np

from gluon_cgd.recall import Embeddings


def embed(net, pictures, ctx, batch_size=128, output=0):
    """The embeddings of `pictures`, uint8 (N, size, size, 3): float32 (N, D). This is the door where NumPy begins.

    ctx: the device of `net`, or a list of those that it is on: each takes a part of every batch.
    output: which of the model's outputs to keep; 0 is the combined descriptor.
    """
    from gluon_cgd.datasets.images import parts
    from gluon_cgd.machine.devices import listed

    rows, devices = [], listed(ctx)
    for start in range(0, len(pictures), batch_size):
        batch = pictures[start : start + batch_size]
        # Filled up to one shape: one compiled graph
        full = np.concatenate([batch, np.repeat(batch[-1:], batch_size - len(batch), axis=0)])
        found = [net(part)[output] for part in parts(full, devices)]  # all have begun before the first is waited for
        rows.append(np.concatenate([one.asnumpy() for one in found])[: len(batch)])
    return np.concatenate(rows)


def accuracy(net, pictures, labels, ctx):
    """The share of `pictures`, those that `net` learned from, that its classifier puts into their class.

    labels: of all of them, (N,), from which it learned its classes. A class as likely as the right one counts against.
    """
    logits = embed(net, pictures, ctx, output=1)  # (N, M)
    places = np.unique(labels, return_inverse=True)[1]  # the classifier counts classes from 0 without gaps
    i = np.arange(len(logits))
    right = logits[i, places].copy()
    logits[i, places] = -np.inf
    return float((right > logits.max(axis=1)).mean())


def features_of(net, pictures, ctx):
    """The last feature maps of a few pictures, uint8 (B, H, W, 3): float32 (B, C, h, w)."""
    from gluon_cgd.datasets.images import normalise

    return net.backbone(normalise(pictures, ctx)).asnumpy()


def embedded(net, split, query, gallery, ctx, batch_size=128):
    """The Embeddings of the test part of `split` by `net`, combined descriptors (equation 3).

    query, gallery: its pictures, uint8 (N, size, size, 3); without a gallery the queries are searched in themselves.
    """
    return labelled(lambda pictures: embed(net, pictures, ctx, batch_size), split, query, gallery)


def labelled(embedding, split, query, gallery):
    """As `embedded`, by a function `embedding` of the pictures."""
    queries = Embeddings(embedding(query), [record.label for record in split.query])
    if gallery is None:
        return queries
    return queries._replace(gallery=embedding(gallery), gallery_labels=[record.label for record in split.gallery])
