"""What a backbone tells before any training, by each descriptor and whitened: python benchmarks/untrained.py BACKBONE

Recall@1 on the test pictures of a dataset, by the pooled features S, M and G alone, by all three side by side, which is
what --pretrained computes, and by these whitened as `index --whiten` does: learned from the same pictures, not labels.
"""

import sys

import numpy as np

from gluon_cgd.commands.options import add_ctx, add_data, main_of
from gluon_cgd.commands.output import say
from gluon_cgd.recall import recall_at
from gluon_cgd.retrieval.whitening import learn


def add_flags(p):
    """The flags of this script."""
    p.add_argument("backbone")
    p.add_argument("--weights", metavar="FILE", help="its parameters (default: those that are here, or a download)")
    p.add_argument("--input-size", type=int, metavar="N", help="the side of the pictures (default 224)")
    p.add_argument("--dataset", required=True, metavar="NAME")
    p.add_argument("--every", type=int, default=1, metavar="N", help="take every N-th test class (default 1)")
    add_data(p)
    add_ctx(p)


def variants(embeddings):
    """{name: embeddings} of what `embeddings` (N, 3 C), S, M and G side by side, consist of, and of them whitened."""
    parts = dict(zip("SMG", np.split(embeddings, 3, axis=1)))
    whitened = learn(embeddings).applied(embeddings)
    return {**parts, "all": embeddings, "all, whitened": whitened}


def run(options):
    """Embed, count and print."""
    from gluon_cgd import datasets
    from gluon_cgd.datasets.cache import cached
    from gluon_cgd.experiment import Experiment
    from gluon_cgd.models.opened import open_model

    model = open_model(
        pretrained=options.backbone, weights=options.weights, input_size=options.input_size, ctx=options.ctx
    )
    split = datasets.split_of(Experiment(dataset=options.dataset), options.data, options.allow_partial)
    chosen = sorted({record.label for record in split.query})[:: options.every]
    records = [record for record in split.query if record.label in set(chosen)]
    embeddings = model.embed(cached(records, model.input_size, progress=True))
    labels = [record.label for record in records]
    counts = f"{len(records):,} pictures of {len(chosen)} classes, at {model.input_size} pixels"
    say(f"{model.about['name']} on {options.dataset}, {counts}")
    for name, vectors in variants(embeddings).items():
        recall = recall_at([1], unit(vectors), labels)
        say(f"{name:14} R@1 {100 * recall[1]:.1f}")


def unit(vectors):
    """`vectors` (N, D) of unit length."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


main = main_of(__doc__, add_flags, run)

if __name__ == "__main__":
    sys.exit(main())
