"""What naver/cgd does with a picture and with embeddings, written anew as plain loops, beside the project's own.

The facts: its annotations are floats that become whole pixels one by one; a picture is cut at image[y : y + h,
x : x + w] within its borders, resized by MXNet's bilinear interpolation without keeping its aspect, divided by 255 and
normalised by ImageNet's mean and deviation. Distances are squared Euclidean ones, of all pictures with all; the
distance of a picture to itself is set far away; a query is right at K if one of its K nearest has its class.
"""

import mxnet as mx
import numpy as np
import pytest

from gluon_cgd import datasets
from gluon_cgd.datasets import images
from gluon_cgd.recall import recall_at
from tests import miniatures

SIDE = 28
BOXES = ("4.0 3.0 50.0 40.0", "4.9 3.9 30.9 20.2", "0.0 0.0 64.0 48.0", "10.5 7.0 55.0 41.6", "63.0 47.0 1.0 1.0")


def cut(picture, line):
    """The rows and columns of `picture` that a line "x y width height" of bounding_boxes.txt names."""
    x, y, width, height = (int(float(number)) for number in line.split())
    rows = [row for row in range(len(picture)) if y <= row < y + height]
    columns = [column for column in range(len(picture[0])) if x <= column < x + width]
    return np.array([[picture[row][column] for column in columns] for row in rows])


def resized(picture, side):
    """`picture` (H, W, 3) at (side, side, 3): bilinear, centres of pixels at halves, borders repeated, in loops."""
    height, width, _ = picture.shape
    out = np.empty((side, side, 3))
    for i in range(side):
        for j in range(side):
            y = min(max((i + 0.5) * height / side - 0.5, 0), height - 1)
            x = min(max((j + 0.5) * width / side - 0.5, 0), width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            above = (1 - (x - left)) * picture[top, left] + (x - left) * picture[top, right]
            below = (1 - (x - left)) * picture[bottom, left] + (x - left) * picture[bottom, right]
            out[i, j] = (1 - (y - top)) * above + (y - top) * below
    return out


def normalised(picture):
    """(H, W, 3) of 0 to 255 -> (3, H, W), a channel at a time."""
    numbers = zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return np.stack([(picture[..., c] / 255 - mean) / deviation for c, (mean, deviation) in enumerate(numbers)])


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    """[(line of bounding_boxes.txt, Record), ...] of a small CUB200-2011 with boxes of every kind."""
    root = miniatures.cub200(tmp_path_factory.mktemp("birds"), classes=(1, 101), images=len(BOXES))
    file = root / "CUB_200_2011/bounding_boxes.txt"
    lines = [f"{i + 1} {BOXES[i % len(BOXES)]}" for i in range(2 * len(BOXES))]
    file.write_text("\n".join(lines) + "\n")
    split = datasets.load("cub200", root, allow_partial=True)
    return [(line.partition(" ")[2], record) for line, record in zip(lines, [*split.train, *split.query])]


def test_a_test_picture_is_cut_resized_and_normalised_as_there(birds):
    for line, record in birds:
        whole = mx.image.imread(record.path).asnumpy()
        ours = images.load_picture(record.path, SIDE, record.box)
        assert np.array_equal(images.crop(images.decode(record.path), record.box, ""), cut(whole, line)), line
        by_mxnet = mx.image.imresize(mx.nd.array(cut(whole, line), dtype="uint8"), SIDE, SIDE, interp=1)
        assert np.array_equal(ours, by_mxnet.asnumpy()), line  # the very bits
        assert np.abs(ours - resized(cut(whole, line).astype(float), SIDE)).max() <= 1, line  # MXNet rounds weights
        batch = images.normalise(ours[None], mx.cpu()).asnumpy()
        np.testing.assert_allclose(batch[0], normalised(ours.astype(float)), atol=1e-6)


def recalls(embeddings, labels, ks):
    """{k: share of queries with one of their class among the k nearest}, from all squared distances."""
    right = dict.fromkeys(ks, 0)
    for i, query in enumerate(embeddings.astype(np.float64)):
        squared = [float(sum((query - other) ** 2)) if j != i else 1e10 for j, other in enumerate(embeddings)]
        order = sorted(range(len(labels)), key=lambda j, squared=squared: squared[j])
        for k in ks:
            right[k] += any(labels[j] == labels[i] for j in order[:k] if j != i)
    return {k: count / len(labels) for k, count in right.items()}


@pytest.mark.parametrize("seed", range(4))
def test_recall_is_counted_as_there(seed):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(12, 16))
    labels = rng.integers(0, 12, 60)
    embeddings = (centres[labels] + 1.5 * rng.normal(size=(60, 16))).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    expected = recalls(embeddings, labels, (1, 2, 4, 8))
    assert 0.2 < expected[1] < expected[8] < 1
    assert recall_at((1, 2, 4, 8), embeddings, labels) == pytest.approx(expected, abs=1e-12)


def test_a_tie_is_where_the_two_differ():
    """There the first in the sorting wins, which can be the right one; here a tie is a miss."""
    embeddings, labels = np.float32([[0, 0], [1, 0], [-1, 0]]), [0, 0, 1]
    assert recalls(embeddings, labels, (1,))[1] > recall_at((1,), embeddings, labels)[1]
