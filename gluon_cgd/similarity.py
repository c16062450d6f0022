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
        clamped = np.maximum(features, minimum)
        # As in `descriptors.GeM`: the paper's cube as products, many times faster
        powers = clamped * clamped * clamped if p == 3 else clamped**p
        return powers.mean(axis=(1, 2), keepdims=True) ** (1 / p) * powers / powers.sum(axis=(1, 2), keepdims=True)
    raise ValueError(f"descriptor {descriptor!r} is unknown: its contributions are known for S, M and G")


class Parts(NamedTuple):
    """A picture's embedding (D,) of unit length, and what makes it up.

    For each branch: share (C, h, w), what its positions add to the descriptor; matrix (k, C), the FC layer; scale, what
    its output is multiplied by in all; and place, where in the embedding it goes.
    """

    embedding: np.ndarray
    shares: List[np.ndarray]
    matrices: List[np.ndarray]
    scales: List[float]
    places: List[slice]


def parts(features, matrices, descriptors, p, combine, minimum) -> Parts:
    """The Parts of the picture with `features` (C, h, w); matrices: of the FC layers, n x (k, C) in float64."""
    shares = [contributions(features, letter, p, minimum) for letter in descriptors]
    outputs = [matrix @ share.sum(axis=(1, 2)) for matrix, share in zip(matrices, shares)]  # n x (k,)
    width = len(outputs[0]) if combine == "concat" else 0
    places = [slice(i * width, (i + 1) * width) if width else slice(None) for i in range(len(outputs))]
    # Equation 2: each branch has unit length
    scales = [1 / length(output) if combine in ("concat", "sum") else 1.0 for output in outputs]
    embedding = assembled([scale * output for scale, output in zip(scales, outputs)], combine)
    whole = length(embedding)
    return Parts(embedding / whole, shares, matrices, [scale / whole for scale in scales], places)


def assembled(outputs, combine):
    """The branches' vectors side by side (equation 3), or added."""
    return np.concatenate(outputs) if combine == "concat" else np.sum(outputs, axis=0)


def maps(picture, vector):
    """[(h, w) of each branch]: what each position of `picture`, Parts, adds to the product with `vector` (D,)."""
    found = []
    for share, matrix, scale, place in zip(picture.shares, picture.matrices, picture.scales, picture.places):
        wanted = scale * (vector[place] @ matrix)  # (C,)
        found.append((wanted @ share.reshape(len(share), -1)).reshape(share.shape[1:]))
    return found


def length(vector):
    """Euclidean length, and as in the network not below 1e-6."""
    return max(float(np.sqrt(vector @ vector)), 1e-6)


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
    matrices = float64(projections, len(features1), len(descriptors))
    first, second = (parts(x, matrices, descriptors, p, combine, minimum) for x in (features1, features2))
    branches = list(zip(maps(first, second.embedding), maps(second, first.embedding)))
    map1, map2 = (sum(both) for both in zip(*branches))
    return Similarity(map1, map2, branches, float(first.embedding @ second.embedding))


def float64(projections, channels, count):
    """The FC layers' weights in float64; without a layer a descriptor goes through as it is."""
    if projections is None:
        return [np.eye(channels)] * count
    return [np.asarray(matrix, np.float64) for matrix in projections]


def answer(features1, features2, region, projections=None, descriptors="SM", p=3, combine="concat", minimum=1e-6):
    """(h2, w2): what of the second picture answers the `region` of the first, a mask (h1, w1).

    Its sum is what that region adds to the cosine; over all regions of a partition the maps add up to `map2`.
    Arguments else and errors as of `decompose`, and ValueError for a region of another shape.
    """
    features1, features2 = check(features1, features2, projections, descriptors, combine)
    region = np.asarray(region, np.float64)
    if region.shape != features1.shape[1:]:
        raise ValueError(f"region has shape {region.shape}, and the first map {features1.shape[1:]}: they must agree")
    matrices = float64(projections, len(features1), len(descriptors))
    first, second = (parts(x, matrices, descriptors, p, combine, minimum) for x in (features1, features2))
    of_region = [
        scale * (matrix @ np.einsum("chw,hw->c", share, region))
        for share, matrix, scale in zip(first.shares, first.matrices, first.scales)
    ]
    return sum(maps(second, assembled(of_region, combine)))  # what the region adds to the embedding, (D,)


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


def weights_of(net):
    """The weights of a network's FC layers: n x (k, C), of architecture B one (D, n C)."""
    return [layer.weight.list_data()[0].asnumpy() for layer in net.reductions]


def arguments(weights, experiment):
    """What `decompose` and `answer` take beside features: of FC layers' weights, as of `weights_of`, and an Experiment.

    In float64, to which `decompose` would convert them for every pair.
    """
    matrices, combine = [np.asarray(weight, np.float64) for weight in weights], experiment.combine
    if experiment.architecture == "B":
        matrices, combine = np.split(matrices[0], len(experiment.descriptors), axis=1), "raw"
    how = dict(descriptors=experiment.descriptors, p=experiment.gem_p, minimum=experiment.gem_minimum)
    return dict(how, projections=matrices, combine=combine)


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
