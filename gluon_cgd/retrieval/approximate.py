"""Engines that are faster than the exact search and can miss pictures: FAISS and Milvus, if they are installed."""

import contextlib
import os

import numpy as np

from gluon_cgd.files.whole import replacing, write_json
from gluon_cgd.retrieval import sealed
from gluon_cgd.retrieval.exact import BLOCK, needed
from gluon_cgd.retrieval.manifest import read_values

UPSERT = 2**22  # bytes of vectors in a message to Milvus, whose limit is 64 MB


def lists_of(rows):
    """The number of cells of an inverted file of N `rows`: 4 sqrt(N), and FAISS wants 39 vectors to train each."""
    return max(1, min(int(4 * rows**0.5), rows // 39))


def probed(lists):
    """How many of the `lists` cells a search looks into: a sixteenth, at least 8."""
    return min(lists, max(8, lists // 16))


def pieces_of(dim):
    """The bytes of a compressed vector: one for 8 dimensions, or for the next larger number that divides `dim`."""
    return next(dim // width for width in range(min(8, dim), dim + 1) if dim % width == 0)


FAISS = {  # name -> FAISS's own description of the index of N vectors (N, D)
    "flat": lambda rows, dim: "Flat",
    "ivf": lambda rows, dim: f"IVF{lists_of(rows)},Flat",
    "hnsw": lambda rows, dim: "HNSW32,Flat",
    "pq": lambda rows, dim: f"PQ{pieces_of(dim)}np",  # np: not polysemous, which is slow to learn and unused
    "ivfpq": lambda rows, dim: f"IVF{lists_of(rows)},PQ{pieces_of(dim)}np",
}


class Faiss:
    """A FAISS index of the first `rows` rows of a collection. The name of its file holds kind, generation and rows."""

    def __init__(self, snapshot, kind):
        self._faiss, self._live, self.name = needed("faiss", "faiss-cpu"), snapshot.live, f"faiss {kind}"
        parts = [(file, file.stem.split("-")) for file in snapshot.folder.glob("faiss-*-*-*.index")]
        wanted = [kind, str(snapshot.manifest["generation"])]
        files = [(int(rows), file) for file, (_, *which, rows) in parts if which == wanted and rows.isdigit()]
        files = [(rows, file) for rows, file in files if rows <= snapshot.count]
        if not files:
            raise ValueError(
                f"{snapshot.folder} has no FAISS index {kind!r} of these rows: "
                f"python -m gluon_cgd index --out {snapshot.folder} --engine faiss --kind {kind} builds it"
            )
        self.rows, self.file = max(files)
        try:
            problem = sealed.check(self.file, snapshot.manifest["id"])
        except (OSError, ValueError) as error:  # a pipe, a folder, a link that leads nowhere
            raise ValueError(f"{self.file} cannot be read ({error}): delete it and build it again") from error
        if problem:
            raise ValueError(f"{self.file} {problem} and cannot be read: delete it and build it again")
        try:
            self._index = self._faiss.read_index(str(self.file))
        except RuntimeError as error:
            raise ValueError(f"{self.file} cannot be read ({error}): delete it and build it again") from error
        if (self._index.ntotal, self._index.d) != (self.rows, snapshot.dim):
            raise ValueError(f"{self.file} holds other vectors: delete it and build it again")

    def candidates(self, queries, count):
        """Rows (Q, count) that are near. Dead rows are left out, except by a plain PQ, which cannot do that."""
        faiss, live = self._faiss, np.packbits(self._live[: self.rows], bitorder="little")
        selector = faiss.IDSelectorBitmap(self.rows, faiss.swig_ptr(live))
        if isinstance(self._index, faiss.IndexIVF):
            how = faiss.SearchParametersIVF(sel=selector, nprobe=probed(self._index.nlist))
        elif isinstance(self._index, faiss.IndexHNSW):
            how = faiss.SearchParametersHNSW(sel=selector, efSearch=max(128, 2 * count))
        else:
            how = None if isinstance(self._index, faiss.IndexPQ) else faiss.SearchParameters(sel=selector)
        return self._index.search(queries, count, params=how)[1]

    def close(self):
        """Do nothing: the index is in memory."""


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
        snapshot.check(rows)
        index.train(np.ascontiguousarray(snapshot.vectors[rows]))
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
    for old in snapshot.folder.glob(f"faiss-{kind}-*.index"):
        if old != file:
            old.unlink()
    return Faiss(snapshot, kind)


class Milvus:
    """The rows of a collection in Milvus, a cluster at a URL or a file (Milvus Lite).

    Raises ValueError if Milvus does not answer or does not hold what was sent.
    """

    name = "milvus"

    def __init__(self, snapshot, uri):
        self._pymilvus = needed("pymilvus", "pymilvus and milvus-lite")
        self._snapshot, self.rows = snapshot, 0
        self.uri = str(uri) if "://" in str(uri) else os.path.abspath(uri)
        self.table = f"cgd_{snapshot.manifest['id']}_{snapshot.manifest['generation']}"
        with self._refusals():
            self._client = self._pymilvus.MilvusClient(self.uri)
            if self._client.has_collection(self.table):
                self._client.load_collection(self.table)
                self.rows = self._sent()

    @contextlib.contextmanager
    def _refusals(self):
        try:
            yield
        except self._pymilvus.MilvusException as error:
            raise ValueError(f"Milvus at {self.uri} says: {error.message}: check --uri, and that it runs") from error

    def _noted(self):
        """{"URI table": how many of the first rows were sent there}. Raises ValueError for a damaged file."""
        note = self._snapshot.folder / "milvus.json"
        if not os.path.lexists(note):
            return {}
        try:
            counts = read_values(note)
            if not isinstance(counts, dict) or not all(type(rows) is int and rows >= 0 for rows in counts.values()):
                raise ValueError("it does not say how many rows were sent")
        except (ValueError, OSError) as error:
            raise ValueError(
                f"{note} cannot be read ({error}): delete it, and the same command with `index` sends all rows again"
            ) from error
        return counts

    def _sent(self):
        return min(self._noted().get(f"{self.uri} {self.table}", 0), self._snapshot.count)

    def _note(self, rows):
        write_json(self._snapshot.folder / "milvus.json", {**self._noted(), f"{self.uri} {self.table}": int(rows)})

    def send(self, progress=None):
        """Bring Milvus to the state of the snapshot. Rows that are noted as sent are not sent again."""
        snapshot = self._snapshot
        with self._refusals():
            if not self._client.has_collection(self.table):
                self._create()
                self._note(0)
            before, step = self._sent(), max(1, UPSERT // (4 * snapshot.dim))
            for start in range(before, snapshot.count, step):
                stop = min(start + step, snapshot.count)
                snapshot.check(slice(start, stop))
                rows = start + np.flatnonzero(snapshot.live[start:stop])
                if len(rows):
                    self._client.upsert(self.table, [dict(row=int(row), vector=snapshot.vectors[row]) for row in rows])
                self._note(stop)
                if progress:
                    progress(stop)
            dead = np.flatnonzero(~snapshot.live[:before])
            for start in range(0, len(dead), 10_000):
                self._client.delete(self.table, ids=dead[start : start + 10_000].tolist())
            self._client.flush(self.table)
            held = self._client.query(self.table, filter="", output_fields=["count(*)"], consistency_level="Strong")
        if held[0]["count(*)"] != len(snapshot):
            raise ValueError(
                f"Milvus at {self.uri} holds {held[0]['count(*)']:,} of {len(snapshot):,} pictures in {self.table}: "
                "drop that collection there, and send it again"
            )
        self.rows = snapshot.count

    def _create(self):
        kinds, client = self._pymilvus.DataType, self._client
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", kinds.INT64, is_primary=True)
        schema.add_field("vector", kinds.FLOAT_VECTOR, dim=self._snapshot.dim)
        index = client.prepare_index_params()
        # Milvus Lite's AUTOINDEX misses more neighbours the larger it is
        kind = "AUTOINDEX" if "://" in self.uri else "FLAT"
        index.add_index("vector", index_type=kind, metric_type="COSINE")
        client.create_collection(self.table, schema=schema, index_params=index)

    def candidates(self, queries, count):
        """Rows (Q, count) that are near."""
        with self._refusals():
            answers = self._client.search(self.table, data=list(queries), limit=min(count, 16384), anns_field="vector")
        return [[hit["id"] if "id" in hit else hit["row"] for hit in hits] for hits in answers]

    def close(self):
        """Close the connection; Milvus Lite also releases its file."""
        self._client.close()


def open_engine(snapshot, engine, kind, uri):
    """The `engine` of `snapshot` as `index` built it, None for "exact". Raises ValueError if it was not built."""
    if engine == "exact":
        return None
    if engine == "faiss":
        return Faiss(snapshot, kind)
    milvus = Milvus(snapshot, uri)
    if not milvus.rows:
        milvus.close()
        raise ValueError(
            f"Milvus at {uri} has nothing of {snapshot.folder}: "
            f"python -m gluon_cgd index --out {snapshot.folder} --engine milvus --uri {uri} sends it"
        )
    return milvus


def build(snapshot, engine, kind, uri, progress=None):
    """The `engine` "faiss" or "milvus", brought up to date with `snapshot`. progress: called with the rows done."""
    if engine == "milvus":
        milvus = Milvus(snapshot, uri)
        milvus.send(progress)
        return milvus
    with contextlib.suppress(ValueError):  # not there, or damaged: it is built
        faiss = Faiss(snapshot, kind)
        if faiss.rows == snapshot.count:
            return faiss
    return build_faiss(snapshot, kind, progress)
