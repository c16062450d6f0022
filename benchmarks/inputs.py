"""The inputs of the comparisons, made with a fixed seed: pictures, models and embeddings."""

import shutil
from pathlib import Path

import numpy as np

PICTURES, FEW = 96, 32
SIZE = (375, 500)  # of most pictures in CUB200-2011
VECTORS = (60502, 1536)  # SOP's test set
PRODUCTS = 11316


def make(needs, folder, start):
    """Make the inputs `needs` that `folder` does not hold yet; `start("ours TASK")` starts what needs MXNet."""
    for name in needs:
        done = Path(folder) / f"{name}.made"
        if not done.exists():
            MAKERS[name](Path(folder), start)
            done.touch()


def photograph(rng):
    """A picture with as much detail at every scale as a photograph: uint8 (375, 500, 3)."""
    import cv2

    height, width = SIZE
    picture = np.zeros((height, width, 3), np.float32)
    for exponent in range(1, 9):
        cells = rng.normal(0, 1, (3 * 2**exponent, 4 * 2**exponent, 3)).astype(np.float32)
        picture += cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC) / 2 ** (0.7 * exponent)
    return (128 + 70 * picture).clip(0, 255).astype(np.uint8)


def pictures(folder, _):
    """Write PICTURES files into folder/pictures, and the first FEW of them into folder/few too."""
    import cv2

    for name in ("pictures", "few"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        file = folder / "pictures" / f"{number:03}.jpg"
        cv2.imwrite(str(file), photograph(rng), [cv2.IMWRITE_JPEG_QUALITY, 90])
        if number < FEW:
            shutil.copy(file, folder / "few" / file.name)


def models(folder, start):
    """Write the model with random parameters as `publish` and `export` do, in float32 and in 8 bits."""
    for old in (*folder.glob("*.params"), *folder.glob("*.onnx")):
        old.unlink()
    writer = start("ours write models")  # it writes them while it warms up
    writer.end()


def vectors(folder, _):
    """Write vectors.npy, clustered like the embeddings of a trained model, and their labels, labels.npy."""
    rng = np.random.default_rng(0)
    labels = np.sort(rng.integers(PRODUCTS, size=VECTORS[0]))
    embeddings = rng.standard_normal(VECTORS, np.float32)
    embeddings *= 3
    embeddings += rng.standard_normal((PRODUCTS, VECTORS[1]), np.float32)[labels]
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    np.save(folder / "vectors.npy", embeddings)
    np.save(folder / "labels.npy", labels)


MAKERS = {"pictures": pictures, "models": models, "vectors": vectors}
