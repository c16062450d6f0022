"""Embeddings of pictures, on the device where the network is (section 4.2: pictures are only resized)."""

from typing import Any, Callable, List, Optional, Sequence, Tuple

import numpy as np

from gluon_cgd.datasets.records import PathLike, Record, Split, is_by_images, is_searched_in_training
from gluon_cgd.machine.progress import by_batches
from gluon_cgd.recall import Embeddings

REMEDY = (
    "the training diverged, or the file of the parameters is damaged; take another checkpoint, or train again with a "
    "lower learning rate"
)


class NotFinite(ValueError):
    """A model gave numbers that say nothing.

    what: "the embedding of %s is NaN".  rows: of which of the `count` pictures.  name: of the first of them.
    """

    def __init__(self, what: str, rows: Sequence[int], count: int, name: Optional[PathLike] = None):
        self.what, self.rows, self.count = what, rows, count
        first = what.replace("%s", str(name or f"picture {rows[0]}"))
        super().__init__(f"{first} ({len(rows):,} of {count:,} are): {REMEDY}")


def finite(values: np.ndarray, what: str = "embedding") -> np.ndarray:
    """`values` (N, ...), what a model computed of N pictures. Raises NotFinite if a number is NaN or infinite."""
    wrong = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    if wrong.any():
        raise NotFinite(f"the {what} of %s is NaN or infinite", np.flatnonzero(wrong).tolist(), len(values))
    return values


def directed(embeddings: np.ndarray) -> np.ndarray:
    """`embeddings` (N, D) of a trained model. Raises NotFinite if one is zero: NaN before a ReLU can become that."""
    wrong = ~finite(embeddings).any(axis=1)
    if wrong.any():
        raise NotFinite("the embedding of %s is zero", np.flatnonzero(wrong).tolist(), len(embeddings))
    return embeddings


def finite_weights(weights: np.ndarray) -> np.ndarray:
    """`weights` of a layer. Raises ValueError if one is NaN or infinite."""
    if not np.isfinite(weights).all():
        raise ValueError(f"the model has weights that are NaN or infinite: {REMEDY}")
    return weights


def compute_named(compute: Callable[[Any], np.ndarray], pictures: Any, paths: Sequence[PathLike]) -> np.ndarray:
    """`compute(pictures)`, (N, ...); a NotFinite that it raises then names the first such picture by its path."""
    try:
        return compute(pictures)
    except NotFinite as error:
        raise NotFinite(error.what, error.rows, error.count, paths[error.rows[0]]) from error


def embed(net: Any, pictures: np.ndarray, ctx: Any, batch_size: int = 128, output: int = 0) -> np.ndarray:
    """The embeddings of `pictures`, uint8 (N, size, size, 3): float32 (N, D). Here MXNet's arrays become NumPy's.

    ctx: the device of `net`, or a list of the devices it is on; each takes a part of every batch.
    output: which of the network's outputs to return; 0 is the combined descriptor (equation 3).
    Raises NotFinite if a number is NaN or infinite.
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
    return finite(np.concatenate(rows))


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
    """The last feature maps of a few pictures, uint8 (B, H, W, 3): float32 (B, C, h, w). Raises as `embed`."""
    from gluon_cgd.datasets.images import normalise

    return finite(net.last_map(normalise(pictures, ctx)).asnumpy(), "feature map")


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
    queries = Embeddings(compute_named(embed_pictures, query, paths_of(split.query)), labels_of(split.query))
    if gallery is None:
        return queries
    records = split.gallery or []
    vectors = compute_named(embed_pictures, gallery, paths_of(records))
    return queries._replace(gallery=vectors, gallery_labels=labels_of(records))


def in_collection(
    embed_pictures: Callable[[Any], np.ndarray], embeddings: Embeddings, train: List[Record], pictures: Any
) -> Embeddings:
    """The test set `embeddings`, searched in all pictures: the other test pictures and the training pictures.

    That is what a search in the whole collection finds. The paper's protocol searches in the test pictures alone.
    train, pictures: the records of the training part, and their pictures (M, size, size, 3).
    """
    vectors = compute_named(embed_pictures, pictures, paths_of(train))
    gallery, labels = np.concatenate([embeddings.query, vectors]), [*embeddings.query_labels, *labels_of(train)]
    return embeddings._replace(gallery=gallery, gallery_labels=labels, queries_first=True)


def searches(
    embed_pictures: Callable[[Any], np.ndarray], split: Split, pictures_of: Callable[[List[Record]], Any]
) -> List[Tuple[str, Embeddings]]:
    """[(where the test pictures are searched, in words, Embeddings), ...], the paper's protocol first.

    There is a second one where other pictures of the training classes are tested: in the whole collection.
    pictures_of: a function of records that returns their pictures, uint8 (N, size, size, 3).
    """
    query, gallery = (part and pictures_of(part) for part in split[1:])
    embeddings = labelled(embed_pictures, split, query, gallery)
    where = (
        f"among the {len(split.query):,} test pictures" if gallery is None else f"in the gallery of {len(gallery):,}"
    )
    where += " (the paper's protocol)"
    if is_searched_in_training(split):
        where = f"among the {len(split.train):,} training pictures (the classes are too small for the paper's protocol)"
    found = [(where, embeddings)]
    if is_by_images(split):
        whole = in_collection(embed_pictures, embeddings, split.train, pictures_of(split.train))
        found.append((f"among all {len(split.query) + len(split.train):,} pictures, as a search finds them", whole))
    return found


def paths_of(records: Sequence[Record]) -> List[str]:
    """The path of each of `records`."""
    return [record.path for record in records]


def labels_of(records: Sequence[Record]) -> List[int]:
    """The label of each of `records`."""
    return [record.label for record in records]
