"""Engines that are faster than the exact search and can miss pictures: FAISS and Milvus, if they are installed.

The kinds of FAISS are held in memory, those of `ondisk` are not, and AUTO is one of those or the exact search.
"""

import contextlib
import logging
import os

import numpy as np

from gluon_cgd.files.regular import read_json
from gluon_cgd.files.whole import replacing, write_json
from gluon_cgd.ondisk import building, choice
from gluon_cgd.ondisk.choice import lists_of
from gluon_cgd.ondisk.engine import OnDisk
from gluon_cgd.retrieval import sealed
from gluon_cgd.retrieval.cells import pieces_of, probed
from gluon_cgd.retrieval.exact import BLOCK, needed
from gluon_cgd.retrieval.manifest import read_manifest
from gluon_cgd.retrieval.milvus import Milvus

FAISS = {  # name -> FAISS's own description of the index of N vectors (N, D)
    "flat": lambda rows, dim: "Flat",
    "ivf": lambda rows, dim: f"IVF{lists_of(rows)},Flat",
    "hnsw": lambda rows, dim: "HNSW32,Flat",
    "pq": lambda rows, dim: f"PQ{pieces_of(dim)}np",  # np: not polysemous, which is slow to learn and unused
    "ivfpq": lambda rows, dim: f"IVF{lists_of(rows)},PQ{pieces_of(dim)}np",
}

AUTO = "auto"
CHOSEN = "faiss-auto.json"  # what AUTO is
log = logging.getLogger(__name__)


class Faiss:
    """A FAISS index of the first `rows` rows of a collection. The name of its file holds kind, generation and rows."""

    kinds, place = ("hnsw", *(kind for kind in FAISS if kind != "hnsw"), *choice.KINDS, AUTO), ""

    @staticmethod
    def open(snapshot, kind, uri):
        """The index of `kind` that covers the most rows, None where AUTO chose the exact search. Raises ValueError."""
        kind = chosen(snapshot)["kind"] if kind == AUTO else kind or Faiss.kinds[0]
        return None if kind == "exact" else (OnDisk if kind in choice.KINDS else Faiss)(snapshot, kind)

    @staticmethod
    def build(snapshot, kind, uri, progress=None, target=0.95, memory=4e9):
        """As `build` below; what is there already is not built again."""
        kind = choose(snapshot, memory) if kind == AUTO else kind or Faiss.kinds[0]
        if kind == "exact":
            return None
        if kind in choice.KINDS:
            return building.build(snapshot, kind, target, memory, progress, log.info)
        with contextlib.suppress(ValueError):  # not there, or damaged: it is built
            faiss = Faiss(snapshot, kind)
            if faiss.rows == snapshot.count:
                return faiss
        return build_faiss(snapshot, kind, progress)

    def __init__(self, snapshot, kind):
        self._faiss, self._live, self.name = needed("faiss", "faiss-cpu"), snapshot.live, f"faiss {kind}"
        self.kind = kind
        while True:
            self.rows, self.file = file_of(snapshot, kind)
            try:
                self._index = self._read(snapshot)
                break
            except ValueError:
                if file_of(snapshot, kind)[1] == self.file:  # else it was built anew meanwhile
                    raise

    def _read(self, snapshot):
        """What FAISS reads of the file. Raises ValueError if that is not whole, or not of `snapshot`."""
        try:
            problem = sealed.check(self.file, snapshot.manifest["id"])
        except (OSError, ValueError) as error:  # a pipe, a folder, a link that leads nowhere
            raise ValueError(f"{self.file} cannot be read ({error}): delete it and build it again") from error
        if problem:
            raise ValueError(f"{self.file} {problem} and cannot be read: delete it and build it again")
        try:
            index = self._faiss.read_index(str(self.file))
        except RuntimeError as error:
            raise ValueError(f"{self.file} cannot be read ({error}): delete it and build it again") from error
        if (index.ntotal, index.d) != (self.rows, snapshot.dim):
            raise ValueError(f"{self.file} holds other vectors: delete it and build it again")
        return index

    def candidates(self, queries, count, within=None):
        """Rows (Q, count) that are near, of those `within` (N,). A plain PQ finds dead rows too, and no part: None."""
        faiss, allowed = self._faiss, self._live[: self.rows]
        if within is not None:
            if isinstance(self._index, faiss.IndexPQ):
                return None
            allowed = allowed & within[: self.rows]
        share = 1.0 if within is None else max(allowed.mean(), 1 / self.rows)
        allowed = np.packbits(allowed, bitorder="little")
        selector = faiss.IDSelectorBitmap(self.rows, faiss.swig_ptr(allowed))
        if isinstance(self._index, faiss.IndexIVF):
            how = faiss.SearchParametersIVF(sel=selector, nprobe=probed(self._index.nlist, share))
        elif isinstance(self._index, faiss.IndexHNSW):
            how = faiss.SearchParametersHNSW(sel=selector, efSearch=int(min(max(128, 2 * count) / share, 1e5)))
        else:
            how = None if isinstance(self._index, faiss.IndexPQ) else faiss.SearchParameters(sel=selector)
        return self._index.search(queries, count, params=how)[1]

    def is_current(self, snapshot):
        """Whether this is what `open` would open for `snapshot`, a later state of the collection."""
        return self.file == file_of(snapshot, self.kind)[1]

    def close(self):
        """Do nothing: the index is in memory."""


def file_of(snapshot, kind):
    """(rows, file) of the FAISS index of `kind` that covers the most rows of `snapshot`. Raises ValueError for none."""
    parts = [(file, file.stem.split("-")) for file in snapshot.folder.glob("faiss-*-*-*.index")]
    wanted = [kind, str(snapshot.manifest["generation"])]
    files = [(int(rows), file) for file, (_, *which, rows) in parts if which == wanted and rows.isdigit()]
    files = [(rows, file) for rows, file in files if rows <= snapshot.count]
    if not files:
        raise ValueError(
            f"{snapshot.folder} has no FAISS index {kind!r} of these rows: "
            f"python -m gluon_cgd index --out {snapshot.folder} --engine faiss --kind {kind} builds it"
        )
    return max(files)


def build_faiss(snapshot, kind, progress=None):
    """The Faiss engine of all rows of `snapshot`, built and written into its folder.

    progress: called with the number of rows done. Raises ValueError for an unknown `kind` and for too few rows.
    """
    faiss = needed("faiss", "faiss-cpu")
    if kind not in FAISS:
        raise ValueError(f"FAISS index {kind!r} is unknown: choose one of {', '.join(FAISS)}")
    least = 39 * 256 if "pq" in kind else 39 if "ivf" in kind else 1  # FAISS wants 39 vectors to train a centre
    if snapshot.count < least:
        raise ValueError(
            f"{snapshot.folder} has {snapshot.count:,} rows, and FAISS needs {least:,} for {kind}: "
            "take --engine exact, which is fast enough for so few"
        )
    index = faiss.index_factory(snapshot.dim, FAISS[kind](snapshot.count, snapshot.dim), faiss.METRIC_INNER_PRODUCT)
    if not index.is_trained:
        enough = 50 * max(256, getattr(index, "nlist", 0))  # more than the 39 for a centre
        rows = np.sort(np.random.default_rng(0).permutation(snapshot.count)[:enough])
        index.train(snapshot.embeddings(rows))
    step = max(1, BLOCK // (4 * snapshot.dim))
    for start in range(0, snapshot.count, step):
        snapshot.check(slice(start, start + step))
        index.add(np.ascontiguousarray(snapshot.vectors[start : start + step]))
        if progress:
            progress(index.ntotal)
    file = snapshot.folder / f"faiss-{kind}-{snapshot.manifest['generation']}-{snapshot.count}.index"
    if file.is_symlink() or file.exists() and not file.is_dir() and not file.is_file():
        file.unlink()  # it is ours by its name, and no file
    with replacing(file) as temporary:
        faiss.write_index(index, str(temporary))
        sealed.seal(temporary, snapshot.manifest["id"])
    latest = read_manifest(snapshot.folder)["generation"]  # another process may have built it of more rows meanwhile
    for other in snapshot.folder.glob(f"faiss-{kind}-*.index"):
        *_, generation, rows = other.stem.split("-")
        is_newer = generation == str(latest) and rows.isdigit()
        is_newer = is_newer and (latest != snapshot.manifest["generation"] or int(rows) > snapshot.count)
        if other != file and not is_newer:
            other.unlink(missing_ok=True)
    return Faiss(snapshot, kind)


ENGINES = {"faiss": Faiss, "milvus": Milvus}  # --engine NAME; docs/extending.md says what an engine has, and adds one


def open_engine(snapshot, engine, kind=None, uri=None):
    """The `engine` of `snapshot` as `index` built it, None for "exact". Raises ValueError if it was not built."""
    return None if engine == "exact" else ENGINES[engine].open(snapshot, kind, uri)


def is_current(known, snapshot):
    """Whether the engine `known`, opened for an earlier state, is what `open_engine` would open for `snapshot`."""
    return known is not None and known.is_current(snapshot)


def build(snapshot, engine, kind=None, uri=None, progress=None, **wanted):
    """The `engine` of ENGINES, brought up to date with `snapshot`; None where AUTO chooses the exact search.

    progress: called with the rows done.  target: the recall that AUTO and the kinds on the disk have to reach.
    memory: bytes that their searches may use.
    """
    return ENGINES[engine].build(snapshot, kind, uri, progress, **wanted)


def choose(snapshot, memory):
    """The kind that AUTO is for `snapshot`, "exact" for the exact search; logs why, and remembers it.

    An earlier choice holds while the collection has at most twice the rows that it was made for, and half at least, and
    the memory is not less than half.
    """
    rows = len(snapshot)
    try:
        before = chosen(snapshot)
        if before["rows"] / 2 <= rows <= 2 * before["rows"] and before["memory"] <= 2 * memory:
            log.info("%s is %s, as it was chosen: %s", AUTO, before["kind"], before["why"])
            return before["kind"]
    except ValueError:  # none yet, or damaged: it is made
        pass
    kind, why = choice.choose(rows, snapshot.dim, memory)
    log.info("%s chooses %s: %s", AUTO, kind, why)
    write_json(snapshot.folder / CHOSEN, dict(kind=kind, why=why, rows=rows, memory=float(memory)))
    return kind


def chosen(snapshot):
    """{"kind", "why", "rows", "memory"} of the choice that AUTO made. Raises ValueError if there is none."""
    file = snapshot.folder / CHOSEN
    remedy = f"python -m gluon_cgd index --out {snapshot.folder} --engine faiss --kind {AUTO} makes one"
    if not os.path.lexists(file):
        raise ValueError(f"{snapshot.folder} has no engine that was chosen: {remedy}")
    try:
        values = read_json(file, 1 << 20)
        numbers = [values[name] for name in ("rows", "memory")]
        if values["kind"] not in ("exact", *choice.KINDS) or not all(type(n) in (int, float) for n in numbers):
            raise ValueError("it names no kind")
        return dict(values, why=str(values["why"]))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{file} cannot be read ({error}): {remedy}") from error
