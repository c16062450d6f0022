"""How hard batches are for a ranking loss: python benchmarks/hardness.py BACKBONE, or the folder of a trained run

For several shapes of a batch, classes x pictures of each: the mean batch-hard triplet loss of pretrained features, or
of a run's embeddings, and how many anchors have their farthest positive nearer than their nearest negative. Where the
loss is above its margin, the first steps pull all pictures together, and the run has to leave that state again
(docs/training.md). It can when about half of the anchors win.
"""

import os
import sys

import numpy as np

from benchmarks.untrained import add_flags as add_flags_of_untrained
from benchmarks.untrained import unit
from gluon_cgd.commands.options import main_of
from gluon_cgd.commands.output import say
from gluon_cgd.sampler import ClassBalancedSampler

SHAPES = ((4, 2), (6, 2), (12, 2), (12, 3), (32, 2), (8, 4), (32, 4), (8, 8), (4, 32))
BATCHES = 150  # drawn for each shape
MARGIN = 0.1


def add_flags(p):
    """The flags of this script."""
    add_flags_of_untrained(p)
    p.add_argument("--descriptors", default="SG", metavar="LETTERS", help="of a backbone, side by side (default SG)")


def hardness(vectors, labels, classes, images, margin=MARGIN, batches=BATCHES):
    """(mean batch-hard triplet loss, share of anchors that win) of batches of `classes` x `images` of `vectors` (N, D).

    An anchor wins if its farthest positive is nearer than its nearest negative.
    """
    sampler, losses, wins = ClassBalancedSampler(labels, classes, images), [], []
    for iteration in range(batches):
        rows, _ = sampler.batch(iteration)
        batch, of_class = vectors[rows], labels[rows]
        distances = np.sqrt(np.maximum(2 - 2 * batch @ batch.T, 1e-12))  # (B, B)
        same = of_class[:, None] == of_class
        positive = np.where(same, distances, -np.inf).max(axis=1)
        negative = np.where(same, np.inf, distances).min(axis=1)
        losses.append(np.maximum(positive - negative + margin, 0).mean())
        wins.append((positive < negative).mean())
    return float(np.mean(losses)), float(np.mean(wins))


def run(options):
    """Embed the training pictures, draw batches of them, and print."""
    from gluon_cgd import datasets
    from gluon_cgd.datasets.cache import cached
    from gluon_cgd.experiment import Experiment
    from gluon_cgd.models.opened import open_model

    trained = os.path.isdir(options.backbone)
    named = dict(checkpoint=options.backbone) if trained else dict(pretrained=options.backbone)
    model = open_model(**named, weights=options.weights, input_size=options.input_size, ctx=options.ctx)
    split = datasets.split_of(Experiment(dataset=options.dataset), options.data, options.allow_partial)
    kept = set(sorted({record.label for record in split.train})[:: options.every])
    records = [record for record in split.train if record.label in kept]
    vectors = model.embed(cached(records, model.input_size, progress=True))
    if not trained:
        parts = dict(zip("SMG", np.split(vectors, 3, axis=1)))
        vectors = np.concatenate([unit(parts[letter]) for letter in options.descriptors], axis=1)
    labels = np.array([record.label for record in records])
    vectors = unit(np.float64(vectors))
    name = options.backbone if trained else f"{model.about['name']}, {options.descriptors}"
    say(f"{name}, on {len(records):,} training pictures of {options.dataset}")
    say(f"batch      ranking loss (margin {MARGIN})   anchors whose positives are nearer than every negative")
    for classes, images in SHAPES:
        if classes <= len(kept):
            loss, wins = hardness(vectors, labels, classes, images)
            say(f"{classes:3} x {images:2}   {loss:12.3f}   {100 * wins:20.0f} %")


main = main_of(__doc__, add_flags, run)

if __name__ == "__main__":
    sys.exit(main())
