"""What Milvus is asked for: its kinds of index, with the parameters of each, and filters."""

from typing import Callable, NamedTuple

import numpy as np

from gluon_cgd.ondisk.choice import lists_of
from gluon_cgd.retrieval.cells import pieces_of, probed

RANGES = 500  # of rows in a filter, at most
SEGMENT = 2**29  # bytes of vectors that Milvus indexes as one


class Kind(NamedTuple):
    """An index of Milvus, by its `name` there.

    made: (rows, dim) -> its parameters.  searched: (candidates that are wanted, its lists, the share of the rows that
    count) -> those of a search.
    """

    name: str
    made: Callable = lambda rows, dim: {}
    searched: Callable = lambda k, lists, share: {}


def cells(rows, dim):
    """The parameters of an inverted file of one segment of N vectors (N, D)."""
    return dict(nlist=lists_of(min(rows, SEGMENT // (4 * dim))))


def probing(k, lists, share):
    """The parameter of a search in cells: in more of them, where few of their rows count."""
    return dict(nprobe=probed(lists, share))


def following(k, lists, share):
    """The parameter of a search in a graph, likewise."""
    return dict(ef=int(min(max(128, 2 * k) / share, 32768)))


KINDS = {  # --kind: the first is the default. Numbers as FAISS has them in `approximate`
    "auto": Kind("AUTOINDEX"),
    "flat": Kind("FLAT"),
    "ivf": Kind("IVF_FLAT", cells, probing),
    "hnsw": Kind("HNSW", lambda *_: dict(M=32, efConstruction=200), following),
    "ivfpq": Kind("IVF_PQ", lambda rows, dim: dict(cells(rows, dim), m=pieces_of(dim), nbits=8), probing),
    "diskann": Kind(
        "DISKANN", searched=lambda k, lists, share: dict(search_list=int(min(max(128, 2 * k) / share, 65535)))
    ),
}


def ranges_of(rows):
    """[(first, last + 1), ...] of the runs of True in `rows` (N,)."""
    ends = np.flatnonzero(np.diff(np.concatenate([[False], rows, [False]]).astype(np.int8)))
    return list(zip(ends[::2].tolist(), ends[1::2].tolist()))


def part_of(within):
    """(a filter, the share of the rows) of the rows `within` (N,); None if there are none or too scattered ones."""
    ranges = ranges_of(within)
    if not 0 < len(ranges) <= RANGES:
        return None
    return " or ".join(f"(row >= {first} and row < {last})" for first, last in ranges), float(within.mean())
