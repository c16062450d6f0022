"""Recall@K by counting, not sorting, so that rounding differences do not change the result (Tables 1 to 7)."""

from typing import Dict, Iterable, NamedTuple, Optional, Sequence, Tuple

import numpy as np

TILE = 1024  # queries, and items, whose similarities are held at a time: 4 MB, about a core's cache
ROUNDING = 2.0**-18  # more than what float32 usually loses of the product of two unit vectors of 1,536 dimensions
DENSE = 32  # scores for each that is wanted, for which a matrix product is as fast as a product of each pair
TIE = 2.0**-44  # the same of float64: an item nearer than this to the nearest of the query's class counts as as near


class Embeddings(NamedTuple):
    """The embeddings of a test set with their labels; without a gallery the queries are searched in themselves.

    queries_first: the gallery begins with the queries, in their order, and none of them may find itself there.
    """

    query: np.ndarray  # (N, D)
    query_labels: Sequence[int]  # (N,)
    gallery: Optional[np.ndarray] = None  # (M, D)
    gallery_labels: Optional[Sequence[int]] = None  # (M,)
    queries_first: bool = False


def recall_of(ks: Iterable[int], embeddings: Embeddings) -> Dict[str, float]:
    """Recall@K of `embeddings` for each K of `ks`: {"R@1": fraction, ...}."""
    return {f"R@{k}": value for k, value in recall_at(ks, *embeddings).items()}


def recall_of_ranks(ks: Iterable[int], ranks: np.ndarray) -> Dict[str, float]:
    """Recall@K of queries with these `ranks` (N,) for each K of `ks`: {"R@1": fraction, ...}."""
    return {f"R@{k}": float((ranks <= k).mean()) for k in ks}


def branch_recalls(ks: Iterable[int], embeddings: Embeddings, names: Sequence[str]) -> Dict[str, Dict[str, float]]:
    """Recall of each branch right before the concatenation (Table 5): {"SPoC": {"R@1": fraction, ...}, ...}.

    embeddings, names: as of `branches`.
    """
    return {name: recall_of(ks, branch) for name, branch in branches(embeddings, names).items()}


def branches(embeddings: Embeddings, names: Sequence[str]) -> Dict[str, Embeddings]:
    """The Embeddings of each branch right before the concatenation: {"SPoC": Embeddings, ...}.

    embeddings: of a network that concatenates its branches (equation 3); names: of its descriptors, in order. The
    combined descriptor is the branches' unit vectors side by side, all divided by one number. So a piece of it gives
    the same ranking as the branch.
    """
    width = embeddings.query.shape[1] // len(names)
    pieces = {name: slice(i * width, (i + 1) * width) for i, name in enumerate(names)}
    gallery = embeddings.gallery
    return {
        name: embeddings._replace(
            query=embeddings.query[:, piece], gallery=None if gallery is None else gallery[:, piece]
        )
        for name, piece in pieces.items()
    }


def recall_at(
    ks: Iterable[int],
    query: np.ndarray,
    query_labels: Sequence,
    gallery: Optional[np.ndarray] = None,
    gallery_labels: Optional[Sequence] = None,
    queries_first: bool = False,
) -> Dict[int, float]:
    """{k: fraction of queries with an item of their class among the k nearest by Euclidean distance}.

    query (N, D), gallery (M, D), labels (N,) and (M,). Without a gallery each query is searched in all others; with
    `queries_first` in all of a gallery that begins with the queries, but for itself.
    A query is found at k when fewer than k items of other classes are as near as the nearest item of its own class. So
    a tie counts against the query, and a model that maps everything to one point scores 0. A query whose class is not
    in the gallery is never found. Distances that float32 cannot tell apart are compared in float64, so two programs
    whose embeddings are equal up to rounding get the same recall.
    Raises ValueError for a NaN or infinite embedding, for shapes that do not match and for k < 1.
    """
    ks = list(ks)
    if any(int(k) != k or k < 1 for k in ks):
        raise ValueError(f"k must be whole and at least 1, got {ks}")
    found = ranks(query, query_labels, gallery, gallery_labels, queries_first)
    return {k: float((found <= k).mean()) for k in ks}


def ranks(
    query: np.ndarray,
    query_labels: Sequence,
    gallery: Optional[np.ndarray] = None,
    gallery_labels: Optional[Sequence] = None,
    queries_first: bool = False,
) -> np.ndarray:
    """(N,): the rank of the nearest item of each query's own class; 1 is the nearest of all items.

    It is 1 + the number of items of other classes that are as near, or nearer, and infinite where there is no item of
    the query's class. Recall@K is the share of the queries whose rank is at most K.
    Arguments and errors as of `recall_at`.
    """
    search = Search(query, query_labels, gallery, gallery_labels, queries_first)
    return 1 + search.ahead(search.nearest_own()[0])


def nearest(embeddings: Embeddings) -> np.ndarray:
    """The row of the item nearest to each query, (N,); -1 where there is none. Raises ValueError as `recall_at` does.

    Of two equally near items it is the one of another class. So the share of queries whose nearest item is of their
    class is exactly Recall@1.
    """
    search = Search(*embeddings)
    scores, own = search.nearest_own()
    return np.where(search.ahead(scores) == 0, own, search.nearest_other())


class Search:
    """Queries and the gallery that they are searched in; arguments and errors as of `recall_at`.

    |q - g|^2 = |q|^2 - 2 (q.g - |g|^2 / 2). The bracket is the score of item g: the higher, the nearer.
    """

    def __init__(self, query, query_labels, gallery=None, gallery_labels=None, queries_first=False):
        self.itself = gallery is None
        self.leaves_out = self.itself or queries_first  # item i is query i, which does not find it
        query = _checked("query", query, query_labels)
        gallery = query if self.itself else _checked("gallery", gallery, gallery_labels)
        if gallery.shape[1] != query.shape[1]:
            raise ValueError(
                f"query has {query.shape[1]} dimensions and gallery {gallery.shape[1]}: embed both with one model"
            )
        if queries_first and len(gallery) < len(query):
            raise ValueError(f"the gallery has {len(gallery)} items: it must begin with the {len(query)} queries")
        largest = max(np.abs(query).max(), np.abs(gallery).max(), 1e-38)
        if not 1e-6 < largest < 1e6:  # squares would overflow or vanish; scaling by a power of two is exact
            scale = np.float32(2.0 ** -np.floor(np.log2(largest)))
            query, gallery = query * scale, gallery * scale
        self.query, self.gallery = query, gallery
        all_labels = np.concatenate([query_labels, query_labels if self.itself else gallery_labels])
        labels = np.unique(all_labels, return_inverse=True)[1]
        self.query_labels, self.gallery_labels = labels[: len(query)], labels[len(query) :]
        self.half_squares = 0.5 * np.einsum("md,md->m", gallery, gallery, dtype=np.float64)
        self.largest = max(2 * self.half_squares.max(), np.einsum("nd,nd->n", query, query).max())

    def nearest_own(self) -> Tuple[np.ndarray, np.ndarray]:
        """(score, row) of the nearest item of each query's own class, in float64; (-inf, -1) where there is none."""
        scores, rows = np.full(len(self.query), -np.inf), np.full(len(self.query), -1)
        queries, items = _by_class(self.query_labels), _by_class(self.gallery_labels)
        for label in queries.keys() & items.keys():
            for i in _pieces(queries[label]):
                for j in _pieces(items[label]):
                    tile = self.exactly(i, j)
                    if self.leaves_out:
                        tile[i[:, None] == j] = -np.inf
                    _keep_nearest(scores, rows, i, j, tile)
        return scores, rows

    def nearest_other(self) -> np.ndarray:
        """The row of each query's nearest item of another class, (N,); -1 where there is none."""
        scores, rows = np.full(len(self.query), -np.inf), np.full(len(self.query), -1)
        for i, j, tile in self._tiles():
            same = self.query_labels[i, None] == self.gallery_labels[j]
            _keep_nearest(scores, rows, i, j, np.where(same, -np.inf, tile))
        return rows

    def ahead(self, own: np.ndarray) -> np.ndarray:
        """(N,): how many items of other classes are at least as near as the nearest item of the query's own class.

        own: the scores that `nearest_own` returns; infinite where a query has no such item.
        """
        count, margin = np.where(own > -np.inf, 0, np.inf), np.float32(ROUNDING * self.largest)
        to_beat = np.where(own > -np.inf, own, np.inf).astype(np.float32)[:, None]
        for rows, nearer, (i, j) in self._compared(to_beat, margin):
            count[rows] += nearer
            other = self.query_labels[i] != self.gallery_labels[j]
            i, j = i[other], j[other]
            if len(i):
                as_near = self._exactly_paired(i, j) >= own[i] - TIE * self.largest
                np.add.at(count, i[as_near], 1)
        return count

    def _compared(self, to_beat, margin):
        """Yield (queries, how many items of a tile are nearer than their `to_beat`, pairs) until all are covered.

        pairs: (queries i, items j) that are within `margin` of it: too close for float32, to be decided in float64.
        """
        for rows, columns, scores in self._tiles():
            difference = scores - to_beat[rows]
            nearer, near = difference > margin, difference >= -margin
            pairs = tuple(numbers[places] for numbers, places in zip((rows, columns), _places(near ^ nearer)))
            yield rows, nearer.view(np.uint8).sum(axis=1, dtype=np.uint16), pairs

    def _tiles(self):
        """Yield (queries i, items j, their scores in float32) until all pairs are covered; a query with itself is -inf.

        Where queries are searched in themselves, one product serves both ways. Memory: one tile, whatever N.
        """
        half_squares = self.half_squares.astype(np.float32)
        for i in _pieces(np.arange(len(self.query))):
            for j in _pieces(np.arange(i[0] if self.itself else 0, len(self.gallery))):
                products = self.query[i[0] : i[-1] + 1] @ self.gallery[j[0] : j[-1] + 1].T
                scores = products - half_squares[j]
                if self.leaves_out and i[0] == j[0]:
                    np.fill_diagonal(scores, -np.inf)
                yield i, j, scores
                if self.itself and i[0] != j[0]:
                    yield j, i, (products - half_squares[i, None]).T

    def exactly(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """The scores of queries `i` with all items `j` in float64, (len(i), len(j))."""
        return self.query[i].astype(np.float64) @ self.gallery[j].astype(np.float64).T - self.half_squares[j]

    def _exactly_paired(self, i, j):
        """The scores of the pairs (query i, item j) in float64, (len(i),)."""
        rows, columns = np.unique(i), np.unique(j)
        if len(rows) * len(columns) <= DENSE * len(i):  # the model has nearly collapsed
            return self.exactly(rows, columns)[np.searchsorted(rows, i), np.searchsorted(columns, j)]
        scores = np.empty(len(i))
        for start in range(0, len(i), TILE):
            part = slice(start, start + TILE)
            exact = self.query[i[part]].astype(np.float64), self.gallery[j[part]].astype(np.float64)
            scores[part] = np.einsum("pd,pd->p", *exact)
        return scores - self.half_squares[j]


def _by_class(labels):
    """{label: its rows}."""
    rows = np.argsort(labels, kind="stable")
    classes, first = np.unique(labels[rows], return_index=True)
    return dict(zip(classes.tolist(), np.split(rows, first[1:])))


def _pieces(rows):
    return (rows[start : start + TILE] for start in range(0, len(rows), TILE))


def _places(mask):
    """As np.nonzero of a mask (rows, columns) with few entries, in either memory layout, ten times as fast."""
    places = np.flatnonzero(mask.ravel(order="K"))
    return np.unravel_index(places, mask.shape, order="C" if mask.flags.c_contiguous else "F")


def _keep_nearest(scores, rows, i, j, tile):
    """Update the best `scores` and their `rows` by `tile`, the scores of queries i with items j."""
    best = tile.argmax(axis=1)
    highest = tile[np.arange(len(i)), best]
    better = highest > scores[i]
    scores[i[better]], rows[i[better]] = highest[better], j[best[better]]


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
