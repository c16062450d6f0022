"""Figure 4: what the configurations SM, S and M look at, and how far each descriptor's similarity is spread."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from gluon_cgd.datasets.cache import cached
from gluon_cgd.evaluate import embedded, features_of
from gluon_cgd.machine.progress import each
from gluon_cgd.models.opened import load_trained
from gluon_cgd.similarity import arguments, decompose, spread, weights_of
from visualize.figure4 import Panel, draw_grid, draw_spreads

CONFIGURATIONS = ("SM", "S", "M")
PAIRS = 1000


class Seen(NamedTuple):
    """A trained configuration: the network, its `similarity.arguments`, and the test set's embeddings (N, D)."""

    net: object
    how: dict
    embedding: np.ndarray


def see(folders, query, ctx, split):
    """{configuration: Seen} of the runs in `folders`, on the test pictures `query`, uint8 (N, size, size, 3)."""
    seen = {}
    for name, folder in folders.items():
        net, experiment = load_trained(folder, "last", ctx)
        how = arguments(weights_of(net), experiment)
        seen[name] = Seen(net, how, embedded(net, split, query, None, ctx).query)
    return seen


def likeness(embedding, queries):
    """Cosines of the rows `queries` with all rows of `embedding` (N, D), of unit length; with themselves -inf."""
    cosines = embedding[queries] @ embedding.T
    cosines[np.arange(len(queries)), queries] = -np.inf
    return cosines


def nearest(embedding, queries):
    """The row of `embedding` that is nearest to each of its rows `queries`."""
    return likeness(embedding, queries).argmax(axis=1)


def ranks(embedding, queries, items):
    """The rank of each of `items` in the results of its query; 1 is the nearest. All are rows of `embedding`."""
    cosines = likeness(embedding, queries)
    return (cosines > cosines[np.arange(len(queries)), items, None]).sum(axis=1) + 1


def choose_query(seen, labels, block=256):
    """The query whose first result under SM is correct and has the lowest rank under both S and M, as in the paper.

    Raises ValueError when no first result under SM is correct.
    """
    lowest = np.zeros(len(labels), int)  # of each query, the better of its two ranks; 0 where SM is wrong
    for start in range(0, len(labels), block):
        queries = np.arange(start, min(start + block, len(labels)))
        first = nearest(seen["SM"].embedding, queries)
        right = labels[first] == labels[queries]
        lowest[queries] = right * np.minimum(*(ranks(seen[name].embedding, queries, first) for name in ("S", "M")))
    if not lowest.any():
        raise ValueError("SM's first result is wrong for every query of this test set: train it longer")
    return int(lowest.argmax())


def explained(seen, pictures, ctx, query, result):
    """The Similarity of a pair of rows of `pictures` under one configuration."""
    features = features_of(seen.net, pictures[[query, result]], ctx)
    return decompose(*features, **seen.how)


def grid(seen, pictures, labels, ctx, query):
    """Figure 4's panels: each configuration's first result (rows), explained by each configuration (columns)."""
    lines = []
    for chooser in CONFIGURATIONS:
        (result,) = nearest(seen[chooser].embedding, [query])
        line = []
        for explainer in CONFIGURATIONS:
            similarity = explained(seen[explainer], pictures, ctx, query, result)
            (rank,) = ranks(seen[explainer].embedding, [query], [result])
            same = bool(labels[result] == labels[query])
            title = f"{chooser}_R1 seen by {explainer}: rank {rank}, cosine {similarity.cosine:.3f}"
            line.append(Panel(title, pictures[query], pictures[result], similarity.map1, similarity.map2, same))
        lines.append(line)
    return lines


def spreads(seen, pictures, ctx, pairs=PAIRS, seed=0):
    """{"SPoC": (pairs, 2), "MAC": (pairs, 2)}: entropy and share of each branch's map under SM, for the same pairs.

    A pair is a query and its first result. `seed` draws the queries.
    """
    combined = seen["SM"]
    values_of = {"SPoC": [], "MAC": []}
    queries = np.random.default_rng(seed).permutation(len(pictures))[:pairs]
    pairs = list(zip(queries, nearest(combined.embedding, queries)))
    for query, result in each(pairs, "heatmaps", unit="pairs"):
        branches = explained(combined, pictures, ctx, query, result).branches
        for name, (map1, _) in zip(values_of, branches):
            values_of[name].append(spread(map1))
    return {name: np.array(values) for name, values in values_of.items()}


def claim(measured):
    """Sentences: is SPoC's similarity spread wider than MAC's (section 4.4.2)? A Wilcoxon signed-rank test on pairs."""
    lines = []
    for i, what in enumerate(("entropy", "share of positions that make 90 %")):
        wide, narrow = measured["SPoC"][:, i], measured["MAC"][:, i]
        same = not np.any(wide != narrow)
        p = 1.0 if same else float(stats.wilcoxon(wide, narrow, alternative="greater", method="approx").pvalue)
        verdict = "holds" if p < 0.01 else "DOES NOT HOLD"
        medians = f"median {np.median(wide):.3f} for SPoC, {np.median(narrow):.3f} for MAC"
        lines.append(
            f"{what}: {medians}; 'SPoC sees large regions, MAC focused ones' {verdict} (p = {p:.2g}, n = {len(wide)})"
        )
    return lines


def draw(folders, split, ctx, query, stem):
    """Draw Figure 4 into `stem`.png and `stem`-spread.png; returns what it shows. Arguments as in `make`."""
    lines, measured, sentences = make(folders, split, ctx, query)
    draw_grid(lines, f"{stem}.png")
    draw_spreads(measured, f"{stem}-spread.png")
    return sentences


def make(folders, split, ctx, query=None):
    """(grid, spreads, sentences) for the runs in `folders`, {configuration: folder}, on the test part of `split`."""
    experiment = load_trained(folders["SM"], "last", ctx)[1]
    pictures = cached(split.query, experiment.input_size)
    labels = np.array([record.label for record in split.query])
    seen = see(folders, pictures, ctx, split)
    if query is None:
        query = choose_query(seen, labels)
    elif not 0 <= query < len(labels):
        raise ValueError(f"--query {query} must be from 0 to {len(labels) - 1}, a test picture's number")
    measured = spreads(seen, pictures, ctx)
    lines = grid(seen, pictures, labels, ctx, query)
    titles = [f"{panel.title}{'' if panel.same else ' (another class)'}" for line in lines for panel in line]
    return lines, measured, [f"query {query} of {len(labels):,}", *titles, *claim(measured)]
