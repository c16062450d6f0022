"""An index is written anew with its embeddings in a smaller store, and what that costs is measured."""

from pathlib import Path

import numpy as np

from gluon_cgd.files.lock import locked
from gluon_cgd.machine.progress import task
from gluon_cgd.retrieval import collection, compaction, exact, stores
from gluon_cgd.retrieval.manifest import read_manifest
from gluon_cgd.retrieval.reduction import QUERIES, K, kept_neighbours


def store(folder, kind):
    """Write the embeddings of the index in `folder` as `kind`, of stores.STORES; {"recall", "queries", "before",
    "after"}.

    recall: the share of the 10 nearest of so many pictures that are still their 10 nearest.  before, after: bytes of an
    embedding. Returns None if they are stored so already. Killed at any time it leaves the index as it was.
    Raises ValueError for one that is in another smaller store: what is lost does not come back.
    """
    folder = Path(folder)
    read_manifest(folder)
    with locked(folder, "writing to"), task(f"storing as {kind}", bar=False):
        before = collection.read(folder)
        if stores.store_of(before.manifest) == kind:
            return None
        if stores.store_of(before.manifest) != "float32":
            raise ValueError(
                f"{folder} is stored as {stores.store_of(before.manifest)}, and what that lost does not come back: "
                "index into another folder"
            )
        after = dict(before.manifest, store=kind)
        drawn = np.random.default_rng(0).permutation(np.flatnonzero(before.live))[:QUERIES]
        truth = exact.search(before, before.embeddings(drawn), K + 1) if len(drawn) else []
        recall = kept_neighbours(before, as_stored(kind, before.dim), drawn, truth)
        compaction.rewrite(before, store=kind)
        sizes = [stores.width_of(manifest) for manifest in (before.manifest, after)]
        return dict(recall=recall, queries=len(drawn), before=sizes[0], after=sizes[1])


def as_stored(kind, dim):
    """A function of embeddings (n, `dim`): what is read where they were stored as `kind`."""
    manifest = dict(dim=dim, store=kind)
    return lambda vectors: stores.opened(stores.encoded(vectors, manifest), manifest)[:]
