"""The rows of a collection in Milvus, if it is installed: on a server, or in a file (Milvus Lite)."""

import contextlib
import logging
import os
import time

import numpy as np

from gluon_cgd.files.whole import write_json
from gluon_cgd.retrieval.exact import needed
from gluon_cgd.retrieval.manifest import read_values
from gluon_cgd.retrieval.milvus_kinds import KINDS, part_of

UPSERT, PAGE = 2**22, 16384  # bytes of vectors in a message to Milvus, and rows in an answer; its limits: 64 MB, 16,384
PATIENCE = 3600  # seconds without a newly indexed segment, of up to millions of rows; Milvus retries for ever
TOKEN = "GLUON_CGD_MILVUS_TOKEN"  # environment variable: USER:PASSWORD, or the key of an API


def table_of(snapshot):
    """The name of the collection in Milvus that holds the rows of `snapshot`."""
    return f"cgd_{snapshot.manifest['id']}_{snapshot.manifest['generation']}"


def code_of(error):
    """The name of the code of an error of gRPC, which pymilvus keeps as a cause; "" of another one."""
    return getattr(error.code(), "name", "") if callable(getattr(error, "code", None)) else ""


class Milvus:
    """The rows of a collection in Milvus, a server at a URL or a file (Milvus Lite).

    kind: of KINDS; None for the one that is there. Raises ValueError if Milvus does not answer, does not hold what was
    sent, or has another kind.
    """

    kinds, place = tuple(KINDS), "a file for Milvus Lite (pictures.db), or a cluster's http://..."

    @classmethod
    def open(cls, snapshot, kind, uri):
        """What `build` sent. Raises ValueError if it sent nothing, or with another kind of index."""
        milvus = cls(snapshot, uri, kind)
        flags = f"--engine milvus --uri {uri}" + f" --kind {kind}" * (kind is not None)
        command = f"python -m gluon_cgd index --out {snapshot.folder} {flags}"
        problem = "" if milvus.rows else f"has nothing of {snapshot.folder}: {command} sends it"
        if milvus.rows and kind not in (None, milvus.kind):
            problem = f"has these rows with --kind {milvus.kind}: leave out --kind, or {command} indexes them anew"
        if problem:
            milvus.close()
            raise ValueError(f"Milvus at {uri} {problem}")
        return milvus

    @classmethod
    def build(cls, snapshot, kind, uri, progress=None, **_):
        """All rows of `snapshot`, sent and indexed. progress: called with the rows done."""
        milvus = cls(snapshot, uri, kind)
        with contextlib.ExitStack() as stack:
            stack.callback(milvus.close)
            milvus.send(progress)
            stack.pop_all()
            return milvus

    def __init__(self, snapshot, uri, kind=None):
        self._pymilvus = needed("pymilvus", "pymilvus and milvus-lite")
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it prints tracebacks of what it raises
        if kind not in (None, *KINDS):
            raise ValueError(f"Milvus's index {kind!r} is unknown: choose one of {', '.join(KINDS)}")
        self._is_server = "://" in str(uri)
        if not self._is_server and kind not in (None, "auto", "flat"):
            raise ValueError(
                f"--kind {kind} needs a Milvus server, --uri http://...: in a file (Milvus Lite) every vector is "
                "compared, so leave out --kind"
            )
        self._snapshot, self._wanted, self.rows, self.kind, self._lists = snapshot, kind, 0, "auto", 1
        self.uri = str(uri) if self._is_server else os.path.abspath(uri)
        self.table = table_of(snapshot)
        with self._refusals():
            self._client = self._pymilvus.MilvusClient(self.uri, token=os.environ.get(TOKEN, ""))
            if self._client.has_collection(self.table):
                self._look()
                self._client.load_collection(self.table)
                self.rows = self._sent()

    @property
    def name(self):
        """What searches, in words."""
        return "milvus" if self.kind == "auto" or not self._is_server else f"milvus {self.kind}"

    def _look(self):
        """Learn from Milvus which kind of index it has; returns how many rows wait for it."""
        about = self._client.describe_index(self.table, "vector") or {}
        kinds = {kind.name: name for name, kind in KINDS.items()}
        index = about.get("index_type", "AUTOINDEX")
        self.kind, self._lists = kinds.get(index, index), int(about.get("nlist", 1))
        if "fail" in str(about.get("state", "")).lower():
            raise ValueError(f"Milvus at {self.uri} cannot build {index}: choose another --kind")
        return int(about.get("pending_index_rows", 0))

    @contextlib.contextmanager
    def _refusals(self):
        try:
            yield
        except self._pymilvus.MilvusException as error:
            state = "that it runs" if self._is_server else "that no other process has the file open"
            said, remedy = error.message, f"check --uri, and {state}"
            if code_of(error.__cause__) == "UNAUTHENTICATED":
                held = "holds a wrong one" if os.environ.get(TOKEN) else "is not set"
                said = error.__cause__.details()
                remedy = f"it wants USER:PASSWORD, or a key, in the variable {TOKEN}, which {held}"
            raise ValueError(f"Milvus at {self.uri} says: {said}: {remedy}") from error

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

    def _sent(self, snapshot=None):
        """How many of the first rows were sent, of those of `snapshot`."""
        snapshot = self._snapshot if snapshot is None else snapshot
        return min(self._noted().get(f"{self.uri} {self.table}", 0), snapshot.count)

    def _note(self, rows):
        write_json(self._snapshot.folder / "milvus.json", {**self._noted(), f"{self.uri} {self.table}": int(rows)})

    def send(self, progress=None):
        """Bring Milvus to the state of the snapshot. Rows that are noted as sent are not sent again."""
        snapshot = self._snapshot
        with self._refusals():
            if not self._client.has_collection(self.table):
                self._create()
                self._note(0)
            before, step = self._sent(), self._step()
            for start in range(before, snapshot.count, step):
                stop = min(start + step, snapshot.count)
                self._upsert(start, stop)
                self._note(stop)
                if progress:
                    progress(stop)
            self._delete(np.flatnonzero(~snapshot.live[:before]))
            self._client.flush(self.table)
            if self._held() != len(snapshot):  # it lost what it had taken, or somebody changed it
                self._mend()
            if (held := self._held()) != len(snapshot):
                raise ValueError(
                    f"Milvus at {self.uri} holds {held:,} of {len(snapshot):,} pictures in {self.table}: drop that "
                    "collection there, and send it again"
                )
            self._index()
        self.rows = snapshot.count

    def _step(self):
        """The number of rows in a message."""
        return max(1, UPSERT // (4 * self._snapshot.dim))

    def _upsert(self, start, stop):
        """Send the live rows from `start` to `stop`."""
        snapshot = self._snapshot
        snapshot.check(slice(start, stop))
        rows = start + np.flatnonzero(snapshot.live[start:stop])
        if len(rows):
            vectors = np.asarray(snapshot.vectors[rows], np.float32)
            self._client.upsert(
                self.table, [dict(row=row, vector=vector) for row, vector in zip(rows.tolist(), vectors)]
            )

    def _delete(self, rows):
        for start in range(0, len(rows), 10_000):
            self._client.delete(self.table, ids=rows[start : start + 10_000].tolist())

    def _held(self, first=0, last=None):
        """How many rows Milvus has, from `first` to before `last`. Those of a later state do not count."""
        last = self._snapshot.count if last is None else last
        asked = dict(filter=f"row >= {first} and row < {last}", output_fields=["count(*)"])
        return self._client.query(self.table, consistency_level="Strong", **asked)[0]["count(*)"]

    def _mend(self):
        """Compare how many rows Milvus has, block by block, and send a block again where they differ."""
        for start in range(0, self._snapshot.count, PAGE):
            stop = min(start + PAGE, self._snapshot.count)
            live = self._snapshot.live[start:stop]
            if self._held(start, stop) != np.count_nonzero(live):
                self._delete(start + np.flatnonzero(~live))
                for first in range(start, stop, self._step()):
                    self._upsert(first, min(first + self._step(), stop))
        self._client.flush(self.table)

    def _parameters(self):
        """What Milvus is to build."""
        kind = KINDS["flat" if not self._is_server else self._wanted or "auto"]  # Milvus Lite's own choice misses more
        index = self._client.prepare_index_params()
        made = kind.made(self._snapshot.count, self._snapshot.dim)
        index.add_index("vector", index_type=kind.name, metric_type="COSINE", params=made)
        return index

    def _create(self):
        kinds, client = self._pymilvus.DataType, self._client
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", kinds.INT64, is_primary=True)
        schema.add_field("vector", kinds.FLOAT_VECTOR, dim=self._snapshot.dim)
        client.create_collection(self.table, schema=schema, index_params=self._parameters())
        self._look()

    def _index(self):
        """Have a server build the wanted kind of index, and wait for it."""
        if not self._is_server:
            return
        waiting, since = self._look(), time.monotonic()
        if self._wanted not in (None, self.kind):
            self._client.release_collection(self.table)
            self._client.drop_index(self.table, "vector")
            self._client.create_index(self.table, self._parameters(), sync=False)
            waiting = self._look()
        while waiting:
            if time.monotonic() - since > PATIENCE:
                raise ValueError(
                    f"Milvus at {self.uri} has indexed no row by --kind {self.kind} for {PATIENCE:,} seconds, and "
                    f"{waiting:,} wait: its log says why, and it may have been built without that kind; choose another"
                )
            time.sleep(0.5)
            before, waiting = waiting, self._look()
            since = time.monotonic() if waiting < before else since
        self._client.load_collection(self.table)

    def candidates(self, queries, count, within=None):
        """Rows (Q, count) that are near, of those `within` (N,); None if these are too scattered to be asked for."""
        part = ("", 1.0) if within is None else part_of(within[: self.rows])
        if part is None:
            return None
        asked, count = dict(filter=part[0]), min(count, PAGE)
        if self.kind in KINDS:
            asked.update(search_params=dict(params=KINDS[self.kind].searched(count, self._lists, part[1])))
        with self._refusals():
            answers = self._client.search(self.table, data=list(queries), limit=count, anns_field="vector", **asked)
        return [[hit["id"] if "id" in hit else hit["row"] for hit in hits] for hits in answers]

    def is_current(self, snapshot):
        """Whether this is what `open` would open for `snapshot`, a later state of the collection."""
        return self.table == table_of(snapshot) and self.rows == self._sent(snapshot)

    def close(self):
        """Close the connection; Milvus Lite also releases its file."""
        self._client.close()
