"""What re-ranking does to R@1 and mAP: python benchmarks/reranking.py NAME=vectors.npy ... [--write]

Each file is one that `python -m gluon_cgd embed` wrote; the folder of a picture is its class. --write puts the numbers
into gluon_cgd/retrieval/reranking.json, from where `search --rerank` prints them.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

from gluon_cgd.commands.options import main_of
from gluon_cgd.files.whole import write_json
from gluon_cgd.retrieval import reranking
from gluon_cgd.retrieval.precision import collected, measure

QUERIES = 1000  # drawn, with seed 0


def measured(name, vectors, labels, method):
    """{"R@1": [before, after], "mAP": [before, after], ...} of `method`: drawn pictures, searched in the others."""
    vectors = vectors.astype(np.float64)
    drawn = np.random.default_rng(0).permutation(len(vectors))[:QUERIES]
    ways = {"before": [], "after": []}
    for query in drawn:
        cosines = vectors @ vectors[query]

        def find(vector, count, query=query):
            scores = vectors @ vector
            scores[query] = -np.inf
            rows = np.argsort(-scores, kind="stable")[: min(count, len(scores) - 1)]
            return scores[rows], rows

        cosines[query] = -np.inf
        rows = reranking.METHODS[method](find, vectors, vectors[query], len(vectors) - 1)
        scores = np.full(len(vectors), -np.inf)
        scores[rows] = np.arange(len(rows))[::-1]
        same = labels == labels[query]
        same[query] = False
        for way, each in (("before", cosines), ("after", scores)):
            ways[way] += measure((1,), each[None], same[None], whole=True)
    values = {way: collected(rows) for way, rows in ways.items()}
    means = {way: {key: float(np.nanmean(value)) for key, value in each.items()} for way, each in values.items()}
    return {
        "collection": name,
        "method": method,
        "pictures": len(vectors),
        "queries": len(drawn),
        **{out: [means[way][key] for way in ("before", "after")] for out, key in (("R@1", "P@1"), ("mAP", "mAP"))},
    }


def add_flags(p):
    """The flags of this script."""
    p.add_argument("files", nargs="+", metavar="NAME=FILE", help="a name, and a file that `embed --out` wrote")
    p.add_argument("--write", action="store_true", help="write the numbers, from where `search --rerank` prints them")


def run(options):
    """Measure every method on every file, print the numbers, and write them if wanted."""
    entries = []
    for name, _, file in (text.partition("=") for text in options.files):
        if not file.endswith(".npy"):
            raise ValueError(f"{name} names no file: write NAME=FILE, a .npy that `embed --out` wrote")
        vectors = np.load(file, allow_pickle=False)
        paths = Path(file).with_suffix(".txt").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        labels = np.unique([os.path.dirname(path) for path in paths], return_inverse=True)[1]
        for method in reranking.METHODS:
            entries.append(measured(name, vectors, labels, method))
            print(json.dumps(entries[-1]), flush=True)
    if options.write:
        write_json(reranking.EFFECT, entries)


main = main_of(__doc__, add_flags, run)

if __name__ == "__main__":
    sys.exit(main())
