"""An index is filled with the embeddings of a model."""

import os

import numpy as np

from gluon_cgd.evaluate import compute_named
from gluon_cgd.retrieval import collection, index, sources
from gluon_cgd.retrieval.model import CHANGES, check_same


def fill(folder, source, model, prune=False, skip_bad=False, paths=None):
    """Bring the index in `folder` up to date with `source`; yields the Changes after each commit.

    source: a folder or a list of pictures.  model: a Model, of the index if there is one.
    prune, skip_bad, paths: see `index.update`. Raises ValueError for another model, and as `index.update` does.
    """
    side = model.input_size
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)  # black could have no embedding
    dim = compute_named(model.embed, [noise], ["a picture of noise"]).shape[1]
    with collection.writing(folder, dim, model.about) as writer:
        check_same(folder, writer.manifest["model"], model.about)  # another process may have made it just now
        if any(writer.manifest["model"].get(kind) != model.about.get(kind) for kind in CHANGES):
            raise ValueError(f"{folder} was whitened or reduced just now by another process: start again")
        writer.describe(model.about, None if sources.is_list(source) else os.path.abspath(source))
        yield from index.update(writer, source, model.embed, side, prune, skip_bad, paths=paths)
