"""The engine that proposes candidates from lists on the disk. Exact cosines then order them, as those of any engine."""

import numpy as np

from gluon_cgd.ondisk import merging
from gluon_cgd.ondisk import state as states
from gluon_cgd.retrieval import sealed
from gluon_cgd.retrieval.exact import SPARE, needed

UNTUNED = (8, 200)  # cells that are searched, and candidates, before they are chosen
SHARED = 64  # cells from which on all cores look into those of one query
FEW = 12  # nearest, up to which a search is one for 10


class OnDisk:
    """The engine `kind` of the first `rows` rows of a collection.

    Only the lists of the cells that a search looks into are read. Raises ValueError if it was not built for these rows,
    and if it is damaged.
    """

    def __init__(self, snapshot, kind):
        self._faiss, self.kind, self.name = needed("faiss", "faiss-cpu"), kind, f"faiss {kind}"
        for _ in range(20):
            self.state = state = current_state(snapshot, kind)
            folder = states.folder_of(snapshot, kind)
            try:
                self._index = read_trained(self._faiss, folder, state)
                self._cells = self._faiss.downcast_index(self._index.index)
                lists = merging.opened(folder, state, self._cells.code_size)
                break
            except (ValueError, OSError) as error:  # replaced while it was read: the new state names other files
                problem = error
                if current_state(snapshot, kind) == state:
                    raise
        else:
            raise problem
        self._cells.replace_invlists(lists, False)
        self._lists = lists  # FAISS only points to it
        self._cells.ntotal = self._index.ntotal = lists.compute_ntotal()
        self.rows, self.file = state.merged.rows, folder / state.merged.file
        live = np.packbits(snapshot.live[: self.rows], bitorder="little")
        self._live = live  # the selector only points to it
        self._selector = self._faiss.IDSelectorBitmap(self.rows, self._faiss.swig_ptr(live))
        tuned = state.tuned
        self.ways = [tuned[:2], (tuned.probed_100, tuned.candidates_100)] if tuned else [UNTUNED] * 2

    def candidates(self, queries, count, within=None):
        """Rows (Q, n) that are near, nearest first: n is `count`, or as many as the recall needs. -1: no more.

        A part of the collection is not searched alone: it is None for `within`.
        """
        if within is not None:
            return None
        probed, wanted = self.ways[count > SPARE * FEW]
        return self.search(queries, max(count, wanted), probed)

    def search(self, queries, count, probed):
        """Rows (Q, count) from the `probed` nearest cells of each query."""
        # several queries are shared out over the cores; of one, the cells are, if they are so many that it pays
        self._cells.parallel_mode = int(len(queries) == 1 and probed >= SHARED)
        how = self._faiss.SearchParametersIVF(sel=self._selector, nprobe=min(probed, self._cells.nlist))
        return self._cells.search(self._reduced(queries), count, params=how)[1]

    def _reduced(self, queries):
        queries = np.ascontiguousarray(queries, np.float32)
        for place in range(self._index.chain.size()):
            queries = self._index.chain.at(place).apply(queries)
        return queries

    def sentence(self):
        """What its recall is and how that is reached, in words."""
        tuned = self.state.tuned
        return (
            f"{self.name}: recall@10 against exact {tuned.recall:.3f} and recall@100 {tuned.recall_100:.3f}, on "
            f"{tuned.queries} held-out pictures of the index. It searches {tuned.probed:,} of {self.state.lists:,} "
            f"cells and compares {tuned.candidates:,} candidates exactly, for more than 10 results "
            f"{tuned.probed_100:,} cells and {tuned.candidates_100:,} candidates. That was chosen on other pictures "
            f"for --recall {tuned.target:g}"
        )

    def is_current(self, snapshot):
        """Whether it is what would be opened for `snapshot`. Raises ValueError as opening it does."""
        return self.state == current_state(snapshot, self.kind)

    def close(self):
        """Do nothing: the files are only mapped."""


def current_state(snapshot, kind):
    """The State of an engine that can be searched for `snapshot`. Raises ValueError if there is none."""
    state = states.read_state(states.folder_of(snapshot, kind))
    manifest = snapshot.manifest
    of_these = state and (state.id, state.generation, state.numbers) == (
        manifest["id"],
        manifest["generation"],
        snapshot.dim,
    )
    if not of_these or not state.merged or state.merged.rows > snapshot.count:
        raise ValueError(
            f"{snapshot.folder} has no FAISS index {kind!r} of these rows: "
            f"python -m gluon_cgd index --out {snapshot.folder} --engine faiss --kind {kind} builds it"
        )
    return state


def read_trained(faiss, folder, state):
    """What was learned, FAISS's IndexPreTransform. Raises ValueError if its file is damaged or of another index."""
    file = states.trained_file(folder, state.token)
    try:
        problem = sealed.check(file, state.id)
        if problem:
            raise ValueError(problem)
        index = faiss.read_index(str(file))
    except (OSError, ValueError, RuntimeError) as error:
        raise states.unusable(folder, f"{file} cannot be read ({error})") from error
    cells = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else None
    if cells is None or (index.d, cells.nlist, cells.d) != (state.numbers, state.lists, state.dim):
        raise states.unusable(folder, f"{file} is of other vectors")
    return index
