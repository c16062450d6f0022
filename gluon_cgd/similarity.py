"""Spatial similarity: the cosine of two pictures, split exactly over the positions of their feature maps.

Section 4.4.2 and Figure 4, which extend the tool of Stylianou et al. to several descriptors with FC layers. The
complement, what keeps the two apart, is ours. NumPy only.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from gluon_cgd.extensions.places import SHARES


class Branch(NamedTuple):
    """One descriptor of one picture, and its way into the embedding."""

    share: np.ndarray  # (C, h, w): what each position adds to the descriptor
    matrix: Optional[np.ndarray]  # (k, C): the FC layer; None if there is none
    scale: float  # what the FC layer's output is multiplied by in all
    place: slice  # where in the embedding the result goes

    def added(self, region: np.ndarray) -> np.ndarray:
        """What the positions of `region`, a mask (h, w), add to the embedding at `place`: (k,)."""
        descriptor = self.scale * np.einsum("chw,hw->c", self.share, region)
        return descriptor if self.matrix is None else self.matrix @ descriptor

    def heat(self, vector: np.ndarray) -> np.ndarray:
        """What each position adds to the product of the embedding with `vector` (D,): (h, w)."""
        part = vector[self.place]
        weights = self.scale * (part if self.matrix is None else part @ self.matrix)  # (C,)
        return (weights @ self.share.reshape(len(self.share), -1)).reshape(self.share.shape[1:])


class Picture(NamedTuple):
    """A picture's embedding (D,) of unit length, and the branches that it consists of."""

    embedding: np.ndarray
    branches: List[Branch]
    whitening: Any = None  # see `retrieval.whitening`; before unit length the whitened embedding had length `whole`
    whole: float = 1.0

    def maps(self, vector: np.ndarray) -> List[np.ndarray]:
        """What each position adds to the product of the embedding with `vector` (D,): (h, w) for each branch.

        The mean of a whitening is taken off in equal parts: from branches that share a place, and from all positions.
        """
        if self.whitening is None:
            return [branch.heat(vector) for branch in self.branches]
        vector, places = self.whitening.turned(vector) / self.whole, [branch.place for branch in self.branches]
        means = [self.whitening.mean[place] @ vector[place] / places.count(place) for place in places]
        return [branch.heat(vector) - mean / branch.share[0].size for branch, mean in zip(self.branches, means)]

    def added(self, region: np.ndarray) -> np.ndarray:
        """What the positions of `region`, a mask (h, w), add to the embedding: (D,)."""
        vector = np.zeros(len(self.embedding))
        for branch in self.branches:
            vector[branch.place] += branch.added(region)
        if self.whitening is None:
            return vector
        return self.whitening.turned(vector - region.mean() * self.whitening.mean) / self.whole


class Difference(NamedTuple):
    """What keeps two pictures apart. `map1` and `map2` each sum to `distance`, 1 - cosine.

    Position i of the first picture adds a vector a_i to its embedding e, the sum of all a_i; f is the other embedding.
    The similarity map holds a_i . f, and sums to the cosine e . f. In the same way a_i . e sums to e . e = 1. The
    difference map holds what the other picture lacks of it, a_i . e - a_i . f = a_i . (e - f), and sums to 1 - cosine.
    So at each position, in each branch: similarity + difference = the likeness of the picture with itself. A value is
    below 0 where a position is more like the other picture than like its own. An embedding of zeros has no length: its
    map sums to 0.
    """

    map1: np.ndarray  # (h1, w1): what each position of the first picture adds to 1 - cosine
    map2: np.ndarray  # (h2, w2): the same of the second picture
    branches: List[Tuple[np.ndarray, np.ndarray]]  # (map1, map2) of each descriptor, which add up to the two maps
    distance: float


class Similarity(NamedTuple):
    """Where two pictures are alike. `map1` and `map2` each sum to `cosine`."""

    map1: np.ndarray  # (h1, w1): what each position of the first picture adds to the cosine
    map2: np.ndarray  # (h2, w2): the same of the second picture
    branches: List[Tuple[np.ndarray, np.ndarray]]  # (map1, map2) of each descriptor, which add up to the two maps
    cosine: float
    pictures: Tuple[Picture, Picture]

    def difference(self) -> Difference:
        """The Difference of the two pictures, the exact complement of this split."""
        first, second = self.pictures
        apart = first.embedding - second.embedding
        branches = list(zip(first.maps(apart), second.maps(-apart)))
        return Difference(*_added(branches), branches, 1 - self.cosine)

    def answer(self, region: np.ndarray) -> np.ndarray:
        """(h2, w2): where the second picture is like the `region` of the first one, a mask (h1, w1).

        Its sum is what that region adds to the cosine; over the regions of a partition the maps add up to `map2`.
        Raises ValueError for a region of another shape.
        """
        return sum(self.answers(region), np.zeros(()))

    def answers(self, region: np.ndarray) -> List[np.ndarray]:
        """The parts of `answer` that each descriptor of the second picture has: n x (h2, w2)."""
        region = np.asarray(region, np.float64)
        if region.shape != self.map1.shape:
            raise ValueError(f"region has shape {region.shape}, and the first map {self.map1.shape}: they must agree")
        first, second = self.pictures
        return second.maps(first.added(region))


def contributions(
    features: np.ndarray, descriptor: str, p: float = 3, minimum: float = 1e-6, scales: int = 3, learned: Any = None
) -> np.ndarray:
    """What each position adds to the descriptor f: features (C, h, w) -> (C, h, w), whose sum over positions is f.

    Every descriptor (equation 1) is homogeneous of degree 1, so a position's part is its feature times the derivative
    of f: SPoC shares the mean equally, GeM by the powers, and MAC gives all to the maximum (equal maxima share it).
    descriptor: S (SPoC), M (MAC), G (GeM, with exponent `p`, features clamped at `minimum`), or a letter of
    `extensions.places.SHARES`, to which `scales` and what the descriptor `learned` matter. Computed in float64.
    Raises ValueError for another descriptor.
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
        # As in `descriptors.GeM`: products for the paper's p, many times faster
        powers = clamped * clamped * clamped if p == 3 else clamped**p
        return powers.mean(axis=(1, 2), keepdims=True) ** (1 / p) * powers / powers.sum(axis=(1, 2), keepdims=True)
    if descriptor in SHARES:
        return SHARES[descriptor](features, p, minimum, scales, learned)
    known = ", ".join(("S", "M", "G", *SHARES))
    remedy = "add how positions share it to extensions.places.SHARES"
    raise ValueError(f"descriptor {descriptor!r} is unknown to heatmaps, which know {known}: {remedy}")


def split_picture(
    features: np.ndarray,
    matrices: Sequence[Optional[np.ndarray]],
    descriptors: str,
    p: float,
    combine: str,
    minimum: float,
    whitening: Any = None,
    rmac_scales: int = 3,
    learned: Optional[Sequence] = None,
) -> Picture:
    """The Picture with `features` (C, h, w). matrices: of the FC layers, n x (k, C) in float64; rest as `decompose`."""
    values = learned or [None] * len(descriptors)
    shares = [contributions(features, letter, p, minimum, rmac_scales, own) for letter, own in zip(descriptors, values)]
    pooled = [share.sum(axis=(1, 2)) for share in shares]  # n x (C,)
    outputs = [vector if matrix is None else matrix @ vector for matrix, vector in zip(matrices, pooled)]  # n x (k,)
    width = len(outputs[0]) if combine == "concat" else 0
    places = [slice(i * width, (i + 1) * width) if width else slice(None) for i in range(len(outputs))]
    # Equation 2: each branch has unit length
    scales = [1 / length(output) if combine in ("concat", "sum") else 1.0 for output in outputs]
    scaled = [scale * output for scale, output in zip(scales, outputs)]
    embedding = np.concatenate(scaled) if combine == "concat" else np.sum(scaled, axis=0)  # equation 3, Table 4
    whole = length(embedding)
    branches = [Branch(*values) for values in zip(shares, matrices, [scale / whole for scale in scales], places)]
    if whitening is None:
        return Picture(embedding / whole, branches)
    turned = whitening.turned(embedding / whole - whitening.mean)
    return Picture(turned / length(turned), branches, whitening, length(turned))


def length(vector: np.ndarray) -> float:
    """Euclidean length, at least 1e-6 as in `model.unit_length`."""
    return max(float(np.sqrt(vector @ vector)), 1e-6)


def decompose(
    features1: np.ndarray,
    features2: np.ndarray,
    projections: Optional[Sequence[np.ndarray]] = None,
    descriptors: str = "SM",
    p: float = 3,
    combine: str = "concat",
    minimum: float = 1e-6,
    whitening: Any = None,
    scales: int = 3,
    learned: Optional[Sequence] = None,
) -> Similarity:
    """The Similarity of two pictures: the cosine of their embeddings, split over the positions of each.

    features1 (C, h1, w1), features2 (C, h2, w2): the last feature maps.
    projections: weights of the FC layers, n x (k, C); None for descriptors without FC layers.
    combine: "concat" for branches of k = D / n (equation 3); "sum" for branches of k = D that are added (Table 4);
        "raw" for architecture B, whose one layer is given as its n blocks (D, C).
    whitening: of an index, a `retrieval.whitening.Whitening` or a Reduction; the embeddings are of unit length before
        and after it.
    scales: of R-MAC.  learned: of each descriptor, as of `learned_of`; None if none has learned something.
    Raises ValueError for shapes that do not match and for an unknown descriptor or combination.
    """
    features1, features2, matrices = check(features1, features2, projections, descriptors, combine)
    how = (matrices, descriptors, p, combine, minimum, whitening, scales, learned)
    first, second = split_picture(features1, *how), split_picture(features2, *how)
    branches = list(zip(first.maps(second.embedding), second.maps(first.embedding)))
    return Similarity(*_added(branches), branches, float(first.embedding @ second.embedding), (first, second))


def _added(branches: Sequence[Tuple[np.ndarray, np.ndarray]]) -> Tuple[np.ndarray, np.ndarray]:
    """(map1, map2), the sums over `branches` of the maps of both pictures."""
    map1, map2 = (sum(of_picture, np.zeros(())) for of_picture in zip(*branches))
    return map1, map2


def check(
    features1: Any, features2: Any, projections: Optional[Sequence], descriptors: str, combine: str
) -> Tuple[np.ndarray, np.ndarray, List[Optional[np.ndarray]]]:
    """Both features and the FC layers' matrices as arrays. Raises ValueError for what `decompose` cannot take."""
    features1, features2 = np.asarray(features1), np.asarray(features2)
    if features1.ndim != 3 or features2.ndim != 3 or len(features1) != len(features2):
        raise ValueError(
            f"features have shapes {features1.shape} and {features2.shape}: (C, h, w) with one C is needed"
        )
    if combine not in ("concat", "sum", "raw"):
        raise ValueError(f"combine {combine!r} is unknown: choose concat, sum or raw")
    if projections is None:  # a descriptor without FC layer goes through as it is
        return features1, features2, [None] * len(descriptors)
    shapes = sorted({np.shape(matrix) for matrix in projections})
    if len(projections) != len(descriptors) or len(shapes) != 1 or shapes[0][1:] != features1.shape[:1]:
        raise ValueError(
            f"projections of shapes {shapes} do not fit {len(descriptors)} descriptors of {len(features1)} "
            "channels: one matrix (k, C) a descriptor is needed"
        )
    return features1, features2, [np.asarray(matrix, np.float64) for matrix in projections]


def weights_of(net: Any) -> List[np.ndarray]:
    """The weights of a network's FC layers: n x (k, C); of architecture B one (D, n C); [] if it has none."""
    return [layer.weight.list_data()[0].asnumpy() for layer in net.reductions]


def learned_of(net: Any) -> Optional[List[Optional[List[float]]]]:
    """What each descriptor of a network has learned (its exponents, its attention), None if none has learned any."""
    values = [pooling.learned() if hasattr(pooling, "learned") else None for pooling in getattr(net, "poolings", ())]
    return values if any(values) else None


def arguments(weights: Sequence[np.ndarray], experiment: Any, learned: Optional[Sequence] = None) -> Dict[str, Any]:
    """The arguments of `decompose` after the features, for a network of `experiment`, an Experiment.

    weights: as `weights_of` returns them; converted to float64 here, once for all pairs.  learned: as of `learned_of`.
    """
    matrices, combine = [np.asarray(weight, np.float64) for weight in weights], experiment.combine
    if matrices and experiment.architecture == "B":
        matrices, combine = np.split(matrices[0], len(experiment.descriptors), axis=1), "raw"
    how = dict(descriptors=experiment.descriptors, p=experiment.gem_p, minimum=experiment.gem_minimum)
    how.update(scales=experiment.rmac_scales, learned=learned)
    return dict(how, projections=matrices or None, combine=combine)


def spread(heat: np.ndarray) -> Tuple[float, float]:
    """How far a map (h, w) is spread (section 4.4.2): (entropy in [0, 1], share of positions that make 90 % of it).

    The entropy is that of the positive values as a distribution, divided by its largest possible value: 0 if one
    position has all, 1 if all are equal. Both numbers count positive values only; a map without any gives (0, 0).
    """
    positive = np.maximum(np.asarray(heat, np.float64), 0).ravel()
    total = positive.sum()
    if total == 0:
        return 0.0, 0.0
    part = np.sort(positive / total)[::-1]
    logs = np.log(np.where(part > 0, part, 1))
    entropy = -(part * logs).sum() / np.log(len(part)) if len(part) > 1 else 0.0
    return float(entropy), float((np.cumsum(part) < 0.9 - 1e-12).sum() + 1) / len(part)
