"""Embeddings of pictures, and Recall@K of embeddings."""

from functools import partial

import numpy as np

BLOCK = 2**24  # similarities held at a time: 64 MB
ROUNDING = 2.0**-18  # more than what float32 usually loses of the product of two unit vectors of 1,536 dimensions
MANY = 1000  # items as near as each other: a model that has collapsed


def embed(net, pictures, ctx, batch_size=128, output=0):
    """The embeddings of `pictures`, uint8 (N, size, size, 3): float32 (N, D). This is the door where NumPy begins.

    ctx: the device of `net`, or a list of those that it is on: each takes a part of every batch.
    output: which of the model's outputs to keep; 0 is the combined descriptor.
    """
    from .devices import listed
    from .images import parts

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
    from .images import normalise

    return net.backbone(normalise(pictures, ctx)).asnumpy()


def embedded(net, split, query, gallery, ctx, batch_size=128):
    """What `recall_at` takes of `net` on the test part of `split`: [query, its labels] and, with a gallery, that too.

    query, gallery: its pictures, uint8 (N, size, size, 3); gallery None where the query is its own gallery.
    """
    return labelled(lambda pictures: embed(net, pictures, ctx, batch_size), split, query, gallery)


def labelled(embedding, split, query, gallery):
    """As `embedded`, by a function `embedding` of the pictures."""
    found = [embedding(query), [record.label for record in split.query]]
    if gallery is not None:
        found += [embedding(gallery), [record.label for record in split.gallery]]
    return found


def recall_of(ks, found):
    """Recall of what `embedded` found: {"R@1": fraction, ...} for each of `ks`."""
    return {f"R@{k}": value for k, value in recall_at(ks, *found).items()}


def branch_recalls(ks, found, names):
    """Recall of each branch right before the concatenation (Table 5): {"SPoC": {"R@1": fraction, ...}, ...}.

    found: as `embedded` returns it, of a concatenation; names: of its descriptors. The combined descriptor is
    the branches' unit vectors side by side, divided by one number, so that a piece of it ranks as the branch does.
    """
    width = found[0].shape[1] // len(names)
    recalls = {}
    for i, name in enumerate(names):
        piece = [part[:, i * width : (i + 1) * width] if j % 2 == 0 else part for j, part in enumerate(found)]
        recalls[name] = recall_of(ks, piece)
    return recalls


def recall_at(ks, query, query_labels, gallery=None, gallery_labels=None):
    """{k: fraction of queries with an item of their class among the k nearest by Euclidean distance}.

    query (N, D), gallery (M, D), labels (N,) and (M,). Without a gallery the query is searched in itself, less itself.
    Counted, not sorted: a query is found at k when fewer than k items of other classes are as near as its nearest
    item of its own. So a tie counts against the query, and a model that maps everything to one point scores 0.
    A query whose class is not in the gallery is never found.
    Raises ValueError for a NaN or infinite embedding, for shapes that do not match and for k < 1.
    """
    ks = list(ks)
    if any(int(k) != k or k < 1 for k in ks):
        raise ValueError(f"k must be whole and at least 1, got {ks}")
    ranks = np.array([rank(*found) for found in compared(query, query_labels, gallery, gallery_labels)])
    return {k: float((ranks < k).mean()) for k in ks}


def nearest(query, query_labels, gallery=None, gallery_labels=None):
    """The row of the item that is nearest to each query, (N,); -1 where there is none. Arguments as of `recall_at`.

    Of two as near it is the one of another class, so that as many are of the query's own as Recall@1 says.
    """
    rows = []
    for found in compared(query, query_labels, gallery, gallery_labels):
        score, own = found[:2]
        if rank(*found) == 0:
            rows.append(own[score[own].argmax()])
            continue
        score[own] = -np.inf
        row = score.argmax()
        rows.append(row if score[row] > -np.inf else -1)
    return np.array(rows)


def rank(score, own, margin, exact):
    """How many items of other classes are at least as near as the nearest of one's own; infinite without one.

    score, own, margin, exact: as `compared` yields them. What float32 cannot tell apart is decided in float64, so that
    two programs whose embeddings are equal up to rounding come to one recall; not so for more than MANY such items.
    """
    nearest_own = score[own].max(initial=-np.inf)
    if nearest_own == -np.inf:
        return np.inf
    near = np.flatnonzero(score >= nearest_own - margin)
    undecided = near[score[near] <= nearest_own + margin]  # the nearest of one's own is one of them
    if len(undecided) > MANY:
        return np.count_nonzero(score >= nearest_own) - np.count_nonzero(score[own] >= nearest_own)
    if len(undecided) == 1:
        return len(near) - 1
    precise, mine = exact(undecided), np.isin(undecided, own)
    return len(near) - len(undecided) + np.count_nonzero(precise[~mine] >= precise[mine].max())


def compared(query, query_labels, gallery=None, gallery_labels=None):
    """Yield (score (M,), own, margin, exact) for each query: the higher an item's score, the nearer it is.

    own: the items of its class. margin: by how much float32 can have two scores in the wrong order; exact: a function
    of items that gives their scores in float64. A query's score with itself is -inf. Arguments as of `recall_at`.
    Memory: a block of scores, whatever N.
    """
    itself = gallery is None
    query = _checked("query", query, query_labels)
    gallery = query if itself else _checked("gallery", gallery, gallery_labels)
    largest = max(np.abs(query).max(), np.abs(gallery).max(), 1e-38)
    if not 1e-6 < largest < 1e6:  # squares would overflow or vanish; a power of two changes no digit and no tie
        scale = np.float32(2.0 ** -np.floor(np.log2(largest)))
        query, gallery = query * scale, gallery * scale
    if gallery.shape[1] != query.shape[1]:
        raise ValueError(
            f"query has {query.shape[1]} dimensions and gallery {gallery.shape[1]}: embed both with one model"
        )
    _, labels = np.unique(
        np.concatenate([query_labels, query_labels if itself else gallery_labels]), return_inverse=True
    )
    query_labels, gallery_labels = labels[: len(query)], labels[len(query) :]
    # |q - g|^2 = |q|^2 - 2 (q.g - |g|^2 / 2): the bracket orders the gallery as the distance does
    half_squares = 0.5 * np.einsum("md,md->m", gallery, gallery)
    margin = ROUNDING * max(np.einsum("nd,nd->n", query, query).max(), 2 * half_squares.max())

    def scores_of(i, items):
        exact, asked = gallery[items].astype(np.float64), query[i].astype(np.float64)
        return np.einsum("md,d->m", exact, asked) - 0.5 * np.einsum("md,md->m", exact, exact)

    members = np.argsort(gallery_labels, kind="stable")  # a class after the other
    first, after = (np.searchsorted(gallery_labels[members], query_labels, side) for side in ("left", "right"))
    step = max(1, BLOCK // len(gallery))
    for start in range(0, len(query), step):
        scores = query[start : start + step] @ gallery.T  # (rows, M)
        scores -= half_squares
        for i, score in enumerate(scores, start):
            if itself:
                score[i] = -np.inf
            yield score, members[first[i] : after[i]], margin, partial(scores_of, i)


def _checked(name, embeddings, labels):
    embeddings = np.ascontiguousarray(embeddings, np.float32)
    if embeddings.ndim != 2 or len(embeddings) == 0 or len(embeddings) != len(labels):
        raise ValueError(
            f"{name} has shape {embeddings.shape} for {len(labels)} labels: (N, D) with N labels, N > 0, is needed"
        )
    finite = np.isfinite(embeddings).all(axis=1)
    if not finite.all():
        first, count = int(np.argmin(finite)), int((~finite).sum())
        raise ValueError(
            f"{name} embedding {first} is NaN or infinite ({count:,} of {len(finite):,} are): "
            "the model has diverged, lower the learning rate"
        )
    return embeddings
