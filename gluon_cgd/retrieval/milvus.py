"""The rows of a collection in Milvus, if it is installed."""

import contextlib
import os

import numpy as np

from gluon_cgd.files.whole import write_json
from gluon_cgd.retrieval.exact import needed
from gluon_cgd.retrieval.manifest import read_values

UPSERT = 2**22  # bytes of vectors in a message to Milvus, whose limit is 64 MB


def table_of(snapshot):
    """The name of the collection in Milvus that holds the rows of `snapshot`."""
    return f"cgd_{snapshot.manifest['id']}_{snapshot.manifest['generation']}"


class Milvus:
    """The rows of a collection in Milvus, a cluster at a URL or a file (Milvus Lite).

    Raises ValueError if Milvus does not answer or does not hold what was sent.
    """

    name = "milvus"

    def __init__(self, snapshot, uri):
        self._pymilvus = needed("pymilvus", "pymilvus and milvus-lite")
        self._snapshot, self.rows = snapshot, 0
        self.uri = str(uri) if "://" in str(uri) else os.path.abspath(uri)
        self.table = table_of(snapshot)
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
