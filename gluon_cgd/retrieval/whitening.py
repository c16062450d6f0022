"""PCA-whitening of the embeddings of an index, learned from them: see `extensions.whitening`."""

from pathlib import Path

import numpy as np

from gluon_cgd.extensions.whitening import Whitening, learn, sampled
from gluon_cgd.files.lock import locked
from gluon_cgd.machine.progress import task
from gluon_cgd.retrieval import collection, compaction
from gluon_cgd.retrieval import learned as files
from gluon_cgd.retrieval.manifest import read_manifest


def whiten(folder):
    """Learn a Whitening from the index in `folder` and whiten its embeddings; returns what the manifest says of it.

    {"file": its name, "sha256": of that, "axes": r, "pictures": how many it was learned from}. Killed at any time it
    leaves the index as it was. Returns None for an index that is whitened already, to which it does nothing.
    Raises ValueError as `learn` does, for a model that whitens itself, and while another process writes; and as
    `read_manifest`.
    """
    folder = Path(folder)
    read_manifest(folder)
    with locked(folder, "writing to"), task("whitening", bar=False):
        before = collection.read(folder)
        model = before.manifest["model"]
        if model.get("whitening"):
            return None
        if model.get("reduction"):
            raise ValueError(f"{folder} was reduced, and one of the two is possible: index into another folder")
        check_model(folder, model, "--whiten")
        rows = np.flatnonzero(before.live)
        rows = sampled(rows)
        if len(rows) < 2:
            raise ValueError(f"{folder} holds {len(rows)} pictures, and whitening is learned from several: index more")
        learned = learn(before.embeddings(rows))
        said = dict(files.keep(folder, "whitening", learned), axes=len(learned.gains), pictures=len(rows))
        changed = dict(model, whitening=said)
        compaction.rewrite(before, convert=learned.applied, model=changed)
        return said


def check_model(folder, model, flag):
    """Raise ValueError if the model of the index in `folder` whitens itself: heatmaps know one change of embeddings."""
    if model.get("experiment", {}).get("whiten"):
        raise ValueError(f"{folder} was made with a model that whitens, trained with --whiten: leave {flag} out")


def read(folder, said, dim):
    """The Whitening of the index in `folder`, of embeddings of `dim` numbers, which its manifest describes as `said`.

    Raises ValueError if its file is missing or is not the one that was written.
    """
    remedy = "copy the index again from where it was made, or index into another folder"
    try:
        count = said["axes"]
        if type(count) is not int:
            raise ValueError("it does not say how many axes it has")
        values = files.take(folder, said, dim + count * dim + count)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{folder} is whitened, and its whitening cannot be read ({error}): {remedy}") from error
    mean, axes, gains = np.split(values, [dim, dim + count * dim])
    return Whitening(mean, axes.reshape(count, dim), gains)
