"""The embeddings of the pictures in a folder, and the two files that hold them."""

import logging
import os
from itertools import islice
from pathlib import Path

import numpy as np

from gluon_cgd.datasets import images
from gluon_cgd.evaluate import compute_named
from gluon_cgd.files.whole import replacing
from gluon_cgd.machine.progress import task
from gluon_cgd.retrieval.index import unit

log = logging.getLogger(__name__)
BATCH = 32  # pictures that are embedded at a time, while as many are decoded


def embed_files(embed, paths, side, skip_bad=False, progress=False):
    """(embeddings (N, D), the paths of their pictures), by `embed`, a function of uint8 (B, side, side, 3).

    Raises ValueError for a picture that cannot be read. With skip_bad such pictures are logged and left out, and it
    raises only if none can be read. Raises ValueError, with a picture's name, for an embedding that is zero, NaN or
    infinite: that is the model's fault.
    """
    kept, rows = [], []
    loaded = images.load_ahead(lambda path: images.load_picture(path, side), paths, BATCH)
    with task("embedding", len(paths), "img", progress) as bar:
        for batch in iter(lambda: list(islice(loaded, BATCH)), []):
            errors = [error for _, error in batch if isinstance(error, Exception)]
            good = [(path, picture) for path, picture in batch if not isinstance(picture, Exception)]
            if errors and not skip_bad:
                raise ValueError(f"{errors[0]}; say --skip-bad to leave such pictures out")
            for error in errors:
                log.warning("left out: %s", error)
            if good:
                paths_of_batch = [path for path, _ in good]
                rows.append(compute_named(embed, np.stack([picture for _, picture in good]), paths_of_batch))
                unit(rows[-1], paths_of_batch)  # refuses one that is zero
                kept += paths_of_batch
            bar.update(len(batch))
    if not kept:
        raise ValueError(f"none of the {len(paths):,} pictures can be read: the first is {paths[0]}")
    return np.concatenate(rows), kept


def save(file, vectors, paths):
    """Write `vectors` to `file`, NAME.npy, and the paths of their pictures to NAME.txt, one per line."""
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    vectors = np.ascontiguousarray(vectors)
    with replacing(file) as temporary, open(temporary, "wb") as handle:
        # As np.save, which does not notice where the disk has no room for the last 4 kB
        np.lib.format.write_array_header_1_0(handle, np.lib.format.header_data_from_array_1_0(vectors))
        handle.write(vectors.data)
    with replacing(file.with_suffix(".txt")) as temporary:
        Path(temporary).write_bytes(b"".join(os.fsencode(path) + b"\n" for path in paths))
