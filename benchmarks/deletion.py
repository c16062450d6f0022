"""Do heatmaps name what makes two pictures alike? python -m benchmarks.deletion

The positions that a map names first are taken out of the query: they get the query's mean colour. The more the cosine
with the result falls, the more the map was right. Beside our heatmap: Grad-CAM of the cosine, a random order, and what
our difference map names first. The network is a pretrained backbone, its descriptors S, M and G side by side.
"""

import sys
from typing import NamedTuple

import mxnet as mx
import numpy as np

from benchmarks import table
from gluon_cgd import backbones, datasets
from gluon_cgd.commands.options import main_of
from gluon_cgd.datasets import images
from gluon_cgd.datasets.cache import cached
from gluon_cgd.descriptors import DESCRIPTORS
from gluon_cgd.machine.progress import each
from gluon_cgd.model import unit_length
from gluon_cgd.similarity import decompose
from reproduce.figure4 import draw_pairs

LETTERS = "SMG"
OURS, CAM, RANDOM, APART = "our heatmap", "Grad-CAM", "random order", "our difference map"
ORDERS = (OURS, CAM, RANDOM, APART)
STEPS = 12  # how often a further part of the positions is taken out


class Network(NamedTuple):
    """A backbone, and what becomes of its feature map."""

    backbone: object
    poolings: list

    def features(self, pictures):
        """The feature maps (B, C, h, w) of uint8 pictures (B, H, W, 3)."""
        return self.backbone(images.normalise(np.asarray(pictures), mx.cpu()))

    def head(self, features):
        """The embeddings (B, D) of unit length of feature maps (B, C, h, w)."""
        branches = [unit_length(mx.nd, pooling(features)) for pooling in self.poolings]
        return unit_length(mx.nd, mx.nd.concat(*branches, dim=1))

    def embed(self, pictures, batch=64):
        """The embeddings (N, D) of uint8 pictures (N, H, W, 3)."""
        parts = (pictures[start : start + batch] for start in range(0, len(pictures), batch))
        return np.concatenate([self.head(self.features(part)).asnumpy() for part in parts])


def network(name, weights=None, size=224):
    """The Network of the pretrained backbone `name`, for pictures of `size` pixels; weights: another file."""
    file = weights or backbones.imagenet_file(name, progress=True)
    backbone = backbones.build(name, True, None, file, input_size=size)
    backbone.hybridize()
    return Network(backbone, [DESCRIPTORS[letter]() for letter in LETTERS])


def grad_cam(net, features, other):
    """Grad-CAM (Selvaraju et al., 2017) of the cosine with the embedding `other` (D,): (h, w).

    Each channel is weighted by the mean of the cosine's gradient over its positions; what is below 0 becomes 0.
    features (1, C, h, w): of the picture that is explained.
    """
    features.attach_grad()
    with mx.autograd.record():
        cosine = (net.head(features) * mx.nd.array(other[None])).sum()
    cosine.backward()
    weights = features.grad.mean(axis=(2, 3), keepdims=True)
    return np.maximum((weights * features).sum(axis=1)[0].asnumpy(), 0)


def maps(net, pair, rng):
    """{order: map (h, w)} of the first picture of `pair`, uint8 (2, H, W, 3): the highest value is taken out first."""
    features = net.features(pair).asnumpy()
    similarity = decompose(*features, descriptors=LETTERS)
    other = net.head(mx.nd.array(features[1:])).asnumpy()[0]
    return {
        OURS: similarity.map1,
        CAM: grad_cam(net, mx.nd.array(features[:1]), other),
        RANDOM: rng.random(similarity.map1.shape),
        APART: similarity.difference().map1,
    }


def without(picture, heat, count, rng):
    """`picture` (H, W, 3) without the `count` positions where `heat` (h, w) is highest; equal ones in random order."""
    height, width = picture.shape[:2]
    gone = np.zeros(heat.size, bool)
    gone[np.lexsort((rng.random(heat.size), -heat.ravel()))[:count]] = True
    rows, columns = np.arange(height) * heat.shape[0] // height, np.arange(width) * heat.shape[1] // width
    filled = picture.copy()
    filled[gone.reshape(heat.shape)[rows][:, columns]] = np.rint(picture.mean(axis=(0, 1)))
    return filled


def deletion(net, pair, rng):
    """(shares of the positions taken out (STEPS + 1,), {order: cosines (STEPS + 1,)}) of a pair (2, H, W, 3)."""
    named = maps(net, pair, rng)
    positions = next(iter(named.values())).size
    counts = np.unique(np.linspace(0, positions, STEPS + 1).round().astype(int))
    other = net.embed(pair[1:])[0]
    cosines = {}
    for order, heat in named.items():
        seed = int(rng.integers(2**31))  # every count takes out what the smaller ones did, and more
        filled = [without(pair[0], heat, count, np.random.default_rng(seed)) for count in counts]
        cosines[order] = net.embed(np.stack(filled)) @ other
    return counts / positions, cosines


def summary(shares, curves):
    """What is recorded of `curves`, {order: cosines (pairs, steps)} at `shares` (steps,): means and their areas.

    The area is the mean cosine while all positions are taken out, and that of the heatmap is compared pair by pair.
    """
    areas = {order: np.trapz(cosines, shares, axis=1) for order, cosines in curves.items()}
    found = {"shares": shares.tolist(), "orders": {}}
    for order, cosines in curves.items():
        apart = areas[order] - areas[OURS]
        found["orders"][order] = {
            "cosines": cosines.mean(axis=0).tolist(),
            "area": [areas[order].mean(), error(areas[order])],
            "above_ours": [apart.mean(), error(apart), float((apart > 0).mean())],
        }
    return found


def error(values):
    """The standard error of the mean of `values`."""
    return float(values.std(ddof=1) / len(values) ** 0.5)


def measured(options):
    """The `summary` of the pairs that the options name, with what they are."""
    split = datasets.load(options.dataset, options.root, allow_partial=True)
    rng = np.random.default_rng(options.seed)
    every = np.unique([record.label for record in split.query])
    chosen = set(rng.permutation(every)[: options.classes].tolist())
    records = [record for record in split.query if record.label in chosen]
    pictures = np.asarray(cached(records, options.input_size))
    net = network(options.backbone, options.weights, options.input_size)
    labels = np.array([record.label for record in records])
    queries, results, _ = draw_pairs(net.embed(pictures), labels, options.pairs, options.seed)
    found = []
    for pair in each(list(zip(queries, results)), "deletion", unit="pairs"):
        shares, cosines = deletion(net, pictures[list(pair)], rng)
        found.append(cosines)
    curves = {order: np.array([cosines[order] for cosines in found]) for order in ORDERS}
    about = dict(dataset=options.dataset, backbone=options.backbone, input_size=options.input_size, pairs=len(found))
    return {**about, "classes": len(chosen), **summary(shares, curves)}


def add_flags(p):
    """The flags of this script."""
    p.add_argument("--dataset", default="glyphs", help="whose test pictures (default glyphs); --root: their folder")
    p.add_argument("--root", metavar="DIR", help="the folder of the dataset, unless it is glyphs or a folder itself")
    p.add_argument("--backbone", default="small_resnet", help="the pretrained network (default small_resnet)")
    p.add_argument("--weights", metavar="FILE", help="the file of its parameters")
    p.add_argument("--input-size", type=int, default=48, metavar="N", help="side of the pictures (default 48)")
    p.add_argument("--classes", type=int, default=100, metavar="N", help="random test classes (default 100)")
    p.add_argument("--pairs", type=int, default=150, metavar="N", help="random pairs of one class (default 150)")
    p.add_argument("--seed", type=int, default=0, help="draws classes, pairs and the random order (default 0)")
    p.add_argument("--record", action="store_true", help="keep the results in benchmarks/results, for docs/deletion.md")


def run(options):
    """Measure and print, with --record also keep the results beside those of other datasets."""
    if min(options.classes, options.pairs) < 2:
        raise ValueError(f"--classes {options.classes} and --pairs {options.pairs} must be at least 2")
    part = {**table.origin(), **measured(options)}
    print(table.deletion([part]))
    if options.record:
        others = [other for other in table.recorded("deletion") or [] if other["dataset"] != part["dataset"]]
        table.record("deletion", sorted([*others, part], key=lambda one: one["dataset"] != "glyphs"))


main = main_of(__doc__, add_flags, run, "python -m benchmarks.deletion")


if __name__ == "__main__":
    sys.exit(main())
