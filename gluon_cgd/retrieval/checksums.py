"""Checksums of embeddings, as fast as memory, and the length that every embedding must have."""

import numpy as np

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio
TOLERANCE = 1e-3  # of the square of a length; float32 is off by 1e-6


def sums(vectors):
    """uint64 (N,): a checksum of the bytes of each of the float32 `vectors` (N, D).

    Each word of 8 bytes is multiplied by an odd number that depends on its place, modulo 2**64: so every change of one
    word changes the sum, and an exchange of words does. It is as fast as the memory is read.
    """
    vectors = np.ascontiguousarray(vectors, "<f4")
    words = vectors.view("<u8") if vectors.shape[1] % 2 == 0 else vectors.view("<u4").astype(np.uint64)
    with np.errstate(over="ignore"):
        weights = np.arange(1, words.shape[1] + 1, dtype=np.uint64) * MULTIPLIER | np.uint64(1)
        return np.einsum("nd,d->n", words, weights)


def lengths(vectors):
    """float32 (N,): the squares of the lengths of `vectors` (N, D)."""
    with np.errstate(all="ignore"):
        return np.einsum("nd,nd->n", vectors, vectors)


def are_unit(vectors):
    """bool (N,): whether each of `vectors` (N, D) has length 1; NaN and infinite ones have not."""
    with np.errstate(invalid="ignore"):
        return np.abs(lengths(vectors) - 1) <= TOLERANCE
