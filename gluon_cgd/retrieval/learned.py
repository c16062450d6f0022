"""Files of what an index has learned from its embeddings, numbers whose hash the manifest holds."""

import hashlib
from pathlib import Path

import numpy as np

from gluon_cgd.files.regular import read_bytes
from gluon_cgd.files.whole import replacing

LIMIT = 1 << 28  # bytes of a file


def keep(folder, kind, arrays):
    """Write `arrays` as float32 into a file of the index in `folder`; {"file": its name, "sha256": of its bytes}."""
    data = b"".join(array.astype("<f4").tobytes() for array in arrays)
    digest = hashlib.sha256(data).hexdigest()
    name = f"{kind}-{digest[:16]}.bin"
    with replacing(folder / name) as temporary:
        Path(temporary).write_bytes(data)
    return dict(file=name, sha256=digest)


def take(folder, said, count):
    """The `count` numbers, float64, of the file that `keep` described as `said`. Raises ValueError and OSError."""
    name, digest = said["file"], said["sha256"]
    data = read_bytes(Path(folder) / Path(name).name, LIMIT)
    if len(data) != 4 * count:
        raise ValueError("it has another size")
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError("its checksum is another")
    return np.frombuffer(data, "<f4").astype(np.float64)
