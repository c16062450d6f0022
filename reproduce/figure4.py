"""Figure 4: what the configurations SM, S and M look at, and how far each descriptor's similarity is spread."""

from typing import NamedTuple

import mxnet as mx
import numpy as np

from gluon_cgd import backbones, model
from gluon_cgd.datasets.cache import cached
from gluon_cgd.evaluate import embedded, features_of
from gluon_cgd.experiment import Experiment
from gluon_cgd.files.whole import digest
from gluon_cgd.machine.progress import each
from gluon_cgd.models.opened import load_trained
from gluon_cgd.runs.results import read_result
from gluon_cgd.similarity import arguments, decompose, spread, weights_of
from reproduce.verdicts.figure4 import differences, sentences
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
    """The query whose first result under SM is correct and is farthest down under both S and M.

    The paper's own query looks so, but the paper states no rule by which it was chosen; this one is ours: the better of
    the two ranks is as far down as it can be. Raises ValueError when no first result under SM is correct.
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


class Measured(NamedTuple):
    """How far the maps under SM are spread, for pairs of pictures.

    classes: of the queries (n,).  spreads: {"trained" or a control: {"SPoC": (n, 2), "MAC": (n, 2)}}, the entropy and
    the share of positions, as of `similarity.spread`. `verdicts.figure4` says what the controls are for.
    """

    classes: np.ndarray
    spreads: dict


def draw_pairs(embedding, labels, count=PAIRS, seed=0):
    """(queries, results, others), (n,) each: random queries, the nearest picture of the class of each, and a picture
    of another class, which is the result of another query. All are rows of `embedding`, n at most `count`.

    Queries whose class has no other picture are left out. Raises ValueError when all are of one class.
    """
    rng = np.random.default_rng(seed)
    queries = np.flatnonzero(np.bincount(labels)[labels] > 1)
    queries = rng.permutation(queries)[:count]
    cosines = likeness(embedding, queries)
    cosines[labels[queries, None] != labels] = -np.inf
    results = cosines.argmax(axis=1)
    if len(np.unique(labels[queries])) < 2:
        raise ValueError("all test pictures are of one class: Figure 4 compares pairs of different classes")
    others = [rng.choice(results[labels[results] != labels[query]]) for query in queries]
    return queries, results, np.array(others)


def untrained(folder, ctx, weights=None):
    """The Seen, without embeddings, of the network that the run in `folder` started from: its parameters, its seed.

    weights: the file of ImageNet parameters that the run was given, or None for the backbone's own. Raises ValueError
    if the run started from others.
    """
    run = read_result(folder / "result.json")
    experiment = Experiment.from_dict(run["experiment"])
    if experiment.pretrained:
        weights = weights or backbones.imagenet_file(experiment.backbone)
        if run["weights"] != digest(weights):
            remedy = "name those with --weights, without --report"
            raise ValueError(f"{folder} was not trained from the ImageNet parameters {weights}: {remedy}")
    mx.random.seed(run["seed"])  # as `train.Run` begins
    net = model.from_experiment(experiment, run["classes"], weights)
    net.collect_params().reset_ctx(ctx)
    net.hybridize()
    return Seen(net, arguments(weights_of(net), experiment), None)


def measure(seen, before, pictures, labels, ctx):
    """The Measured of SM, `seen` trained and `before` training."""
    queries, results, others = draw_pairs(seen.embedding, labels)
    compared = {"trained": (seen, results), "untrained": (before, results), "shuffled": (seen, others)}
    spreads = {name: {"SPoC": [], "MAC": []} for name in compared}
    todo = [(name, pair) for name, (_, items) in compared.items() for pair in zip(queries, items)]
    for name, pair in each(todo, "heatmaps", unit="pairs"):
        branches = explained(compared[name][0], pictures, ctx, *pair).branches
        for values, (map1, _) in zip(spreads[name].values(), branches):
            values.append(spread(map1))
    return Measured(
        labels[queries],
        {name: {descriptor: np.array(v) for descriptor, v in of.items()} for name, of in spreads.items()},
    )


def draw(folders, split, ctx, query, stem, weights=None):
    """Draw Figure 4 into `stem`.png and `stem`-spread.png; returns what it shows. Arguments as in `make`."""
    lines, measured, text = make(folders, split, ctx, query, weights)
    draw_grid(lines, f"{stem}.png")
    draw_spreads(measured.spreads, differences(measured), f"{stem}-spread.png")
    return text


def make(folders, split, ctx, query=None, weights=None):
    """(grid, Measured, sentences) for the runs in `folders`, {configuration: folder}, on the test part of `split`.

    query: the number of a test picture, or None for the one of `choose_query`.  weights: as of `untrained`.
    """
    labels = np.array([record.label for record in split.query])
    if query is not None and not 0 <= query < len(labels):
        raise ValueError(f"--query {query} must be from 0 to {len(labels) - 1}, a test picture's number")
    before = untrained(folders["SM"], ctx, weights)
    experiment = load_trained(folders["SM"], "last", ctx)[1]
    pictures = cached(split.query, experiment.input_size)
    seen = see(folders, pictures, ctx, split)
    if query is None:
        query = choose_query(seen, labels)
    measured = measure(seen["SM"], before, pictures, labels, ctx)
    lines = grid(seen, pictures, labels, ctx, query)
    titles = [f"{panel.title}{'' if panel.same else ' (another class)'}" for line in lines for panel in line]
    return lines, measured, [f"query {query} of {len(labels):,}", *titles, *sentences(measured)]
