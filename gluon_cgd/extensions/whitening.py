"""PCA-whitening of embeddings, learned from some of them, as SPoC was meant (Babenko and Lempitsky, arXiv 1510.07493).

The directions in which the pictures of a collection differ most, such as light and background, then count no more than
others. Dividing by the deviation alone would put all pictures equally far from each other where there are no more of
them than directions. So a constant is added to every variance: what is known from little stays nearly as it is.
"""

from typing import Any, Callable, Dict, NamedTuple, Optional

import numpy as np

AXES = 256  # directions that are shrunk, at most: the variance of any other is below 1/256 of the whole
RIDGE = 0.03  # is added to every variance, times the whole
SAMPLE = 2_000  # pictures, spread evenly over all, that are looked at: more take minutes


class Whitening(NamedTuple):
    """What is done with embeddings: take off their mean, then shrink some directions."""

    mean: np.ndarray  # (D,)
    axes: np.ndarray  # (r, D): orthogonal directions of unit length
    gains: np.ndarray  # (r,): a part g of an embedding along an axis becomes (1 + gain) g; above -1

    def turned(self, vectors: np.ndarray) -> np.ndarray:
        """`vectors` (..., D) with their parts along the axes shrunk: a product with a symmetric matrix."""
        return vectors + ((vectors @ self.axes.T) * self.gains) @ self.axes

    def applied(self, embeddings: np.ndarray) -> np.ndarray:
        """`embeddings` (N, D) whitened: float32 (N, D) of unit length, zero for one that is the mean itself."""
        turned = self.turned(np.asarray(embeddings, np.float64) - self.mean)
        lengths = np.sqrt(np.einsum("nd,nd->n", turned, turned))
        return (turned / np.maximum(lengths, 1e-12)[:, None]).astype(np.float32)


def learn(embeddings: np.ndarray) -> Whitening:
    """The Whitening of `embeddings` (N, D) of unit length. Raises ValueError if they are all the same, or only one.

    The part along a principal axis of variance v is divided by the root of v + r, with r the RIDGE, and all is
    multiplied by the root of r: a direction without variance stays as it is, and no number can become large.
    """
    embeddings = np.asarray(embeddings, np.float64)
    count, dim = embeddings.shape
    mean = embeddings.mean(axis=0)
    centred = embeddings - mean
    few = count <= dim  # the products of the pictures then have the variances that those of the numbers have
    variances, vectors = np.linalg.eigh((centred @ centred.T if few else centred.T @ centred) / count)
    variances, vectors, total = variances[::-1], vectors.T[::-1], float((centred**2).sum()) / count
    if not total > 1e-9:
        raise ValueError("the pictures have one embedding, from which no whitening can be learned: leave --whiten out")
    # A direction in which only rounding differs is none
    kept = min(AXES, int((variances > 1e-9 * total).sum()))
    axes = vectors[:kept] @ centred / np.sqrt(count * variances[:kept, None]) if few else vectors[:kept]
    gains = np.sqrt(RIDGE * total / (variances[:kept] + RIDGE * total)) - 1
    # As they are stored: a new index and an opened one compute the same
    return Whitening(*(array.astype("<f4").astype(np.float64) for array in (mean, axes, gains)))


def sampled(rows: Any) -> Any:
    """At most SAMPLE of `rows`, evenly spread over them."""
    return rows[:: max(1, -(-len(rows) // SAMPLE))]


def of_training(
    experiment: Any, embed: Callable[[np.ndarray], np.ndarray], pictures: np.ndarray
) -> Optional[Whitening]:
    """What whitens the network of `experiment`; None unless that says `whiten`.

    It is learned from the middles of at most SAMPLE training `pictures`, uint8 (N, S, S, 3).  embed: pictures ->
    embeddings. If all of these are the same it changes nothing: a run that has collapsed goes on.
    """
    if not experiment.whiten:
        return None
    size, edge = experiment.input_size, (pictures.shape[1] - experiment.input_size) // 2
    embeddings = embed(sampled(pictures)[:, edge : edge + size, edge : edge + size])
    try:
        return learn(embeddings)
    except ValueError:
        dim = embeddings.shape[1]
        return Whitening(np.zeros(dim), np.zeros((0, dim)), np.zeros(0))


def with_values(parameters: Dict[str, np.ndarray], whitening: Optional[Whitening]) -> Dict[str, np.ndarray]:
    """The `parameters` of a network, {name: value}, with those of its layer `whitening_layer.PCAWhitening` by values.

    The axes that `whitening` has not are zero. None: the parameters as they are.
    """
    if whitening is None:
        return parameters
    values = {name: np.zeros_like(parameters[f"whitening.{name}"]) for name in Whitening._fields}
    for name, part in whitening._asdict().items():
        values[name][: len(part)] = part
    return {**parameters, **{f"whitening.{name}": value for name, value in values.items()}}


def of_layer(layer: Any) -> Optional[Whitening]:
    """The Whitening of a network's layer `whitening_layer.PCAWhitening`; None of None."""
    if layer is None:
        return None
    return Whitening(*(getattr(layer, name).list_data()[0].asnumpy().astype(np.float64) for name in Whitening._fields))
