"""The cosine of two pictures, split exactly over the positions of their feature maps (section 4.4.2, Figure 4)."""

from typing import List, NamedTuple, Tuple

import numpy as np


class Similarity(NamedTuple):
    """What makes two pictures alike, and where. The sum of `map1` and that of `map2` are both `cosine`.

    map1 (h1, w1) and map2 (h2, w2): what each position of the first and of the second picture adds to the cosine.
    branches: (map1, map2) of each descriptor; they add up to the two maps.
    """

    map1: np.ndarray
    map2: np.ndarray
    branches: List[Tuple[np.ndarray, np.ndarray]]
    cosine: float


def contributions(features, descriptor, p=3, minimum=1e-6):
    """What each position adds to the descriptor: features (C, h, w) -> (C, h, w), whose sum over positions it is.

    Every descriptor is homogeneous of degree 1, so a position's part is its feature times the derivative: SPoC shares
    the mean, GeM shares by the powers, and MAC gives all to the position of the maximum (equal ones share it).
    descriptor: S (SPoC), M (MAC) or G (GeM, with exponent `p`, features clamped at `minimum`). Computed in float64.
    """
    features = np.asarray(features, np.float64)
    if descriptor == "S":
        return features / (features.shape[1] * features.shape[2])
    if descriptor == "M":
        largest = features.max(axis=(1, 2), keepdims=True)
        where = features == largest
        return largest * where / where.sum(axis=(1, 2), keepdims=True)
    if descriptor == "G":
        powers = np.maximum(features, minimum) ** p
        return powers.mean(axis=(1, 2), keepdims=True) ** (1 / p) * powers / powers.sum(axis=(1, 2), keepdims=True)
    raise ValueError(f"descriptor {descriptor!r} is unknown: its contributions are known for S, M and G")


def parts(features, projections, descriptors, p, combine, minimum):
    """[contributions (C, h, w)], [matrix (D, C)] of the branches: matrix @ contribution adds up to the embedding."""
    shares = [contributions(features, letter, p, minimum) for letter in descriptors]
    pooled = [share.sum(axis=(1, 2)) for share in shares]  # n x (C,)
    n, (channels, *_) = len(descriptors), features.shape
    if projections is None:
        projections = [np.eye(channels)] * n
    matrices = [np.asarray(matrix, np.float64) for matrix in projections]
    if combine in ("concat", "sum"):  # equation 2: each branch has unit length
        matrices = [matrix / length(matrix @ vector) for matrix, vector in zip(matrices, pooled)]
    if combine == "concat":
        width = len(matrices[0])
        matrices = [np.pad(matrix, ((i * width, (n - 1 - i) * width), (0, 0))) for i, matrix in enumerate(matrices)]
    whole = length(sum(matrix @ vector for matrix, vector in zip(matrices, pooled)))
    return shares, [matrix / whole for matrix in matrices]


def length(vector):
    """Euclidean length, and as in the network not below 1e-6."""
    return max(float(np.sqrt(vector @ vector)), 1e-6)


def embedding_of(shares, matrices):
    """The unit embedding (D,) that `parts` split."""
    return sum(matrix @ share.sum(axis=(1, 2)) for share, matrix in zip(shares, matrices))


def decompose(
    features1, features2, projections=None, descriptors="SM", p=3, combine="concat", minimum=1e-6
) -> Similarity:
    """Split the cosine of two pictures' embeddings over the positions of each, in all and for each branch.

    features1 (C, h1, w1), features2 (C, h2, w2): the last feature maps.  projections: the FC layers, n x (k, C); None
    for descriptors without one. With combine="concat" branches of k = D / n are concatenated (equation 3), with "sum"
    branches of k = D are added (Table 4), and with "raw" the layer of architecture B is given as its n blocks (D, C).
    Raises ValueError for shapes that do not match and for an unknown descriptor or combination.
    """
    features1, features2 = check(features1, features2, projections, descriptors, combine)
    first, second = (parts(x, projections, descriptors, p, combine, minimum) for x in (features1, features2))
    embedding1, embedding2 = embedding_of(*first), embedding_of(*second)
    branches = []
    for share1, matrix1, share2, matrix2 in zip(*first, *second):
        map1 = np.einsum("chw,c->hw", share1, matrix1.T @ embedding2)
        map2 = np.einsum("chw,c->hw", share2, matrix2.T @ embedding1)
        branches.append((map1, map2))
    map1, map2 = (sum(maps) for maps in zip(*branches))
    return Similarity(map1, map2, branches, float(embedding1 @ embedding2))


def answer(features1, features2, region, projections=None, descriptors="SM", p=3, combine="concat", minimum=1e-6):
    """(h2, w2): what of the second picture answers the `region` of the first, a mask (h1, w1).

    Its sum is what that region adds to the cosine; over all regions of a partition the maps add up to `map2`.
    Arguments else and errors as of `decompose`, and ValueError for a region of another shape.
    """
    features1, features2 = check(features1, features2, projections, descriptors, combine)
    region = np.asarray(region, np.float64)
    if region.shape != features1.shape[1:]:
        raise ValueError(f"region has shape {region.shape}, and the first map {features1.shape[1:]}: they must agree")
    first, second = (parts(x, projections, descriptors, p, combine, minimum) for x in (features1, features2))
    asked = sum(matrix @ np.einsum("chw,hw->c", share, region) for share, matrix in zip(*first))  # (D,)
    return sum(np.einsum("chw,c->hw", share, matrix.T @ asked) for share, matrix in zip(*second))


def check(features1, features2, projections, descriptors, combine):
    """Both features as arrays. Raises ValueError for what `decompose` cannot take."""
    features1, features2 = np.asarray(features1), np.asarray(features2)
    if features1.ndim != 3 or features2.ndim != 3 or len(features1) != len(features2):
        raise ValueError(
            f"features have shapes {features1.shape} and {features2.shape}: (C, h, w) with one C is needed"
        )
    if combine not in ("concat", "sum", "raw"):
        raise ValueError(f"combine {combine!r} is unknown: choose concat, sum or raw")
    if projections is not None:
        shapes = sorted({np.shape(matrix) for matrix in projections})
        if len(projections) != len(descriptors) or len(shapes) != 1 or shapes[0][1:] != features1.shape[:1]:
            raise ValueError(
                f"projections of shapes {shapes} do not fit {len(descriptors)} descriptors of {len(features1)} "
                "channels: one matrix (k, C) a descriptor is needed"
            )
    return features1, features2


def projections_of(net, experiment):
    """(projections, combine) of a trained network, as `decompose` takes them."""
    return projections_in(weights_of(net), experiment)


def weights_of(net):
    """The weights of a network's FC layers: n x (k, C), of architecture B one (D, n C)."""
    return [layer.weight.list_data()[0].asnumpy() for layer in net.reductions]


def projections_in(weights, experiment):
    """As `projections_of`, of the FC layers' weights alone, wherever they come from."""
    if experiment.architecture == "B":
        return np.split(weights[0], len(experiment.descriptors), axis=1), "raw"
    return weights, experiment.combine


def spread(heat):
    """How far a map (h, w) is spread: (entropy in [0, 1], share of the positions that make 90 % of it).

    Entropy is that of the positive parts as a distribution, divided by its largest possible value: 0 for one position,
    1 for all alike. Both are of the positive parts; a map without any is spread over nothing: (0, 0).
    """
    positive = np.maximum(np.asarray(heat, np.float64), 0).ravel()
    total = positive.sum()
    if total == 0:
        return 0.0, 0.0
    part = np.sort(positive / total)[::-1]
    logs = np.log(np.where(part > 0, part, 1))
    entropy = -(part * logs).sum() / np.log(len(part)) if len(part) > 1 else 0.0
    return float(entropy), float((np.cumsum(part) < 0.9 - 1e-12).sum() + 1) / len(part)


NAMES = {"S": "SPoC", "M": "MAC", "G": "GeM"}  # of the descriptors whose contributions are known
