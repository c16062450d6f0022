"""Embeddings of augmented pictures by a pretrained model, for benchmarks/little_memory.py: any number from some."""

import functools

import numpy as np

from gluon_cgd.datasets import glyphs, images
from gluon_cgd.retrieval.index import unit
from gluon_cgd.retrieval.sources import pictures_of

LETTERS = "letters"  # instead of a folder: rendered pictures
MARGIN = 1.25  # times the side of the network's input: what a picture is cropped from
BATCH = 256


@functools.lru_cache(maxsize=1)
def opened(pretrained, side):
    """The model."""
    from gluon_cgd.models.opened import open_model

    return open_model(pretrained=pretrained, input_size=side, ctx="cpu", batch_size=None)


@functools.lru_cache(maxsize=1)
def files(folder):
    """The paths of the pictures in `folder`."""
    return list(pictures_of(folder))


@functools.lru_cache(maxsize=50_000)
def loaded(folder, number, side):
    """uint8 (side, side, 3): a picture of `folder`."""
    if folder == LETTERS:
        import cv2

        label, index = number % 200, number // 200
        return cv2.resize(glyphs.picture(label, index), (side, side))
    paths = files(folder)
    return images.load_picture(paths[number % len(paths)], side)


def augmented(folder, row, side):
    """uint8 (side, side, 3): the picture of a `row`, cropped, mirrored and lit as only that row is."""
    rng, large = np.random.default_rng(row), int(MARGIN * side)
    number = int(rng.integers(len(files(folder)) if folder != LETTERS else 20_000))
    x, y = rng.integers(large - side + 1, size=2)
    picture = loaded(folder, number, large)[y : y + side, x : x + side]
    picture = picture[:, ::-1] if rng.random() < 0.5 else picture
    gain, shift = rng.uniform(0.7, 1.3), rng.uniform(-25, 25)
    return np.clip(picture * gain + shift, 0, 255).astype(np.uint8)


def embedded(folder, pretrained, side, start, count):
    """float32 (count, D): the embeddings of the rows from `start` on."""
    model, parts = opened(pretrained, side), []
    for first in range(start, start + count, BATCH):
        rows = range(first, min(first + BATCH, start + count))
        vectors = model.embed(np.stack([augmented(folder, row, side) for row in rows]))
        parts.append(unit(vectors, [str(row) for row in rows]))
    return np.concatenate(parts)
