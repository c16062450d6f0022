"""The embeddings of the pictures in a folder, by MXNet or, of an exported model, without it."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from gluon_cgd.files.whole import replacing
from gluon_cgd.machine import facts

log = logging.getLogger(__name__)
BATCH = 32  # pictures that are decoded while as many are embedded


def embed_files(embedding, paths, side, skip_bad=False, progress=False):
    """(vectors (N, D), the paths of their pictures), by `embedding`, a function of uint8 (B, side, side, 3).

    Raises ValueError or OSError for a picture that cannot be read; with skip_bad only when none can, else it is logged.
    """
    kept, rows = [], []
    with tqdm(total=len(paths), desc="embedding", unit="img", disable=not progress) as bar:
        for names, pictures, wrong in _decoded(paths, side):
            if wrong and not skip_bad:
                raise ValueError(f"{wrong[0]}; --skip-bad goes on without such pictures")
            for sentence in wrong:
                log.warning("left out: %s", sentence)
            if names:
                rows.append(embedding(np.stack(pictures)))
                kept += names
            bar.update(len(names) + len(wrong))
    if not kept:
        raise ValueError(f"none of the {len(paths):,} pictures can be read: the first is {paths[0]}")
    return np.concatenate(rows), kept


def _decoded(paths, side):
    """Yield (paths, pictures, a sentence for each that cannot be read); the next are read while these are used."""
    from gluon_cgd.datasets import images
    from gluon_cgd.datasets.records import Record

    def read(path):
        try:
            return path, images.load(Record(path, 0), side), None
        except (ValueError, OSError) as error:
            return path, None, str(error)

    blocks = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
    with ThreadPoolExecutor(facts.cores()) as pool:
        following = [pool.submit(read, path) for path in blocks[0]]
        for block in [*blocks[1:], []]:
            current, following = following, [pool.submit(read, path) for path in block]
            found = [future.result() for future in current]
            good = [(path, picture) for path, picture, wrong in found if wrong is None]
            yield [path for path, _ in good], [picture for _, picture in good], [w for _, _, w in found if w]


def save(file, vectors, paths):
    """Write `vectors` to `file`, NAME.npy, and the path of each row's picture to NAME.txt, a line a path."""
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary, open(temporary, "wb") as handle:
        np.save(handle, vectors)
    with replacing(file.with_suffix(".txt")) as temporary:
        Path(temporary).write_bytes(b"".join(os.fsencode(path) + b"\n" for path in paths))
