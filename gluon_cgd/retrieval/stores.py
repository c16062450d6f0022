"""How embeddings lie on the disk: as they are, or in half or a quarter of the bytes. What is read is float32 again.

float16 rounds each number. int8 divides an embedding by its largest number and rounds to 127ths of it. That number need
not be kept: what is read is made of unit length again.
"""

import numpy as np

STORES = {"float32": 4, "float16": 2, "int8": 1}  # bytes of a number
ALIGNED = 8  # a row of a smaller store takes a multiple of it, as its checksum is of words of 8 bytes


def store_of(manifest):
    """The store of the index that `manifest` describes."""
    return manifest.get("store", "float32")


def width_of(manifest):
    """The bytes of an embedding of that index."""
    size = STORES[store_of(manifest)] * manifest["dim"]
    return size if store_of(manifest) == "float32" else -(-size // ALIGNED) * ALIGNED


def encoded(vectors, manifest):
    """uint8 (n, width): the bytes of the float32 `vectors` (n, D), as the index of `manifest` holds them."""
    kind, vectors = store_of(manifest), np.ascontiguousarray(vectors, "<f4")
    if kind == "int8":
        largest = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), np.float32(1e-30))
        vectors = np.rint(vectors * (127 / largest)).astype(np.int8)
    elif kind == "float16":
        vectors = vectors.astype("<f2")
    data = np.zeros((len(vectors), width_of(manifest)), np.uint8)
    row = vectors.view(np.uint8)
    data[:, : row.shape[1]] = row
    return data


def opened(data, manifest):
    """The embeddings (N, D) in the bytes `data` (N, width): an array, or what is read like one."""
    return data.view("<f4") if store_of(manifest) == "float32" else Stored(data, manifest)


class Stored:
    """Embeddings (N, D) of a smaller store. Rows that are taken out of it are float32, of unit length."""

    dtype, ndim = np.dtype(np.float32), 2

    def __init__(self, data, manifest):
        self._data, self._manifest, self.shape = data, manifest, (len(data), manifest["dim"])

    def __len__(self):
        return len(self._data)

    def __getitem__(self, rows):
        data, dim = self._data[rows], self.shape[1]
        if data.ndim == 1:
            return self[[rows]][0]
        data = np.ascontiguousarray(data)
        numbers = data.view("<f2" if store_of(self._manifest) == "float16" else np.int8)[:, :dim].astype(np.float32)
        lengths = np.sqrt(np.einsum("nd,nd->n", numbers, numbers))
        numbers /= np.maximum(lengths, np.float32(1e-30))[:, None]
        return numbers

    def __array__(self, dtype=None, copy=None):
        return self[:] if dtype is None else self[:].astype(dtype)
