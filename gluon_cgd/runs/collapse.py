"""Whether a run has collapsed, or is worse than before it was trained: the findings, their reason and the remedies.

A ranking loss can be lowered in two ways: by telling the classes apart, or by bringing all pictures to one point, where
all distances are 0. There a loss with a margin is exactly the margin (`at_one_point`). Hard mining begins with the
second way, for the hardest pairs pull everything together, and turns to the first when the features tell the classes of
a batch apart. A run that ends before that has collapsed. It is recognised by three signs together:

1. Pictures of different classes have a median cosine of ALIKE or more: everything lies within a narrow cone.
2. The median distance of different classes is not larger, by the margin, than that of the same class. An embedding can
   be narrow and still tell classes apart; this compares its spread with what the loss asks for.
3. The mean ranking loss of the last steps is not below its value at one point: the hardest positive of a batch is still
   as far away as its hardest negative. Without a log this sign is not asked for.

The other finding needs no threshold: Recall@1 below that of the untrained network.
"""

import math
from typing import Any, Dict, Mapping, Optional

import numpy as np

from gluon_cgd.experiment import WITHOUT_BATCH_NORM, WITHOUT_IMAGENET, Experiment
from gluon_cgd.recall import Embeddings

ALIKE = 0.9  # a cosine; an angle of 26 degrees
PAIRS = 2048  # of each kind, drawn with a seed of their own; the medians are then off by a fiftieth of the spread
BLOCK = 128  # pairs at a time, for embeddings can be long


def spread(embeddings: Embeddings) -> Dict[str, Optional[float]]:
    """{"same": median cosine of pairs of one class, "other": of different classes}; None where there is no such pair.

    Pairs are a query and an item of its gallery, or two queries. Always the same ones for equal labels.
    """
    query, labels, gallery, gallery_labels = embeddings[:4]
    items = query if gallery is None else gallery
    classes, numbers = np.unique(
        np.concatenate([labels, labels if gallery is None else gallery_labels]), return_inverse=True
    )
    own, others = numbers[: len(query)], numbers[len(query) :]
    rng = np.random.default_rng(0)  # its own: training draws from others
    order = np.argsort(others, kind="stable")  # the items, class by class
    counts = np.bincount(others, minlength=len(classes))
    first = np.cumsum(counts) - counts

    def median(kind):
        i = rng.integers(len(query), size=PAIRS)
        inside = counts[own[i]]
        outside = len(items) - inside
        size = inside if kind == "same" else outside
        i, size, inside = i[size > 0], size[size > 0], inside[size > 0]
        place = (rng.random(len(i)) * size).astype(np.int64)  # the place of the item among those of its kind
        start = first[own[i]]
        place = start + place if kind == "same" else np.where(place < start, place, place + inside)
        j = order[place]
        i, j = (i[i != j], j[i != j]) if gallery is None or embeddings.queries_first else (i, j)
        if not len(i):
            return None
        blocks = [slice(start, start + BLOCK) for start in range(0, len(i), BLOCK)]
        return float(np.median(np.concatenate([_cosines(query[i[block]], items[j[block]]) for block in blocks])))

    return {kind: median(kind) for kind in ("same", "other")}


def _cosines(a, b):
    """Of the rows of `a` (p, D) with those of `b` (p, D), in float64; 0 for a row of length 0."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.sqrt(np.einsum("pd,pd->p", a, a) * np.einsum("pd,pd->p", b, b))
    return np.einsum("pd,pd->p", a, b) / np.maximum(lengths, 1e-30)


def at_one_point(experiment: Experiment) -> float:
    """The ranking loss of an embedding that maps all pictures to one point; of batch-hard mining it is the margin.

    0 of losses for which it depends on the batch or on proxies: nothing is said of when they leave it.
    """
    losses = {"soft_margin": math.log(2), "margin": experiment.margin + experiment.margin_boundary}
    losses.update(multi_similarity=0, proxy_anchor=0)
    ranked = len(experiment.descriptors) if experiment.architecture == "A" else 1  # a loss for each branch
    return ranked * losses.get(experiment.loss, experiment.margin)


def has_collapsed(experiment: Experiment, cosines: Mapping[str, Optional[float]], ranking: Optional[float]) -> bool:
    """Whether the three signs hold (see above). cosines: as `spread` returns.  ranking: the loss, None if not known."""
    same, other = cosines.get("same"), cosines.get("other")
    if same is None or other is None or other < ALIKE:
        return False
    apart = _distance(other) - _distance(same)
    return apart < experiment.margin and (ranking is None or ranking >= at_one_point(experiment))


def _distance(cosine):
    """The distance of two unit vectors with this cosine."""
    return math.sqrt(max(0.0, 2 - 2 * cosine))


def is_below(result: Mapping[str, Any], which: str = "last") -> bool:
    """Whether a run's `which` evaluation has a lower Recall@1 than its untrained network; False where one lacks."""
    untrained, trained = (result.get(stage, {}).get("R@1") for stage in ("untrained", which))
    return untrained is not None and trained is not None and trained < untrained


def evaluation(result: Mapping[str, Any], which: str = "last") -> Mapping[str, Any]:
    """The entry of the history of a run's `which` evaluation; {} if it has none."""
    history = result.get("history") or [{}]
    if which == "untrained":
        return history[0]
    at = result.get("best_iteration") if which == "best" else history[-1].get("iteration")
    return next((entry for entry in history if entry.get("iteration") == at), {})


def completed(
    result: Mapping[str, Any],
    losses: Mapping[int, Mapping[str, float]],
    which: str = "last",
    cosines: Optional[Mapping[str, Optional[float]]] = None,
) -> Dict[str, Any]:
    """`result`, with what earlier versions did not record: the `losses` of its log, `cosines` of an evaluation."""
    chosen, history = evaluation(result, which), []
    for entry in result.get("history") or ():
        known: Dict[str, Any] = {"losses": losses[entry["iteration"]]} if entry["iteration"] in losses else {}
        if cosines and entry is chosen:
            known["spread"] = cosines
        history.append({**known, **entry})
    return {**result, "history": history}


def findings(result: Mapping[str, Any], which: str = "last") -> Dict[str, str]:
    """What is wrong with a run at its "last" or "best" evaluation: {finding: sentence without its end}; {} for most."""
    experiment, entry = Experiment.from_dict(result.get("experiment", {})), evaluation(result, which)
    found: Dict[str, str] = {}
    if is_below(result, which):
        before, after = (100 * result[stage]["R@1"] for stage in ("untrained", which))
        text = f"R@1 after training, {after:.2f} %, is below that of the untrained network, {before:.2f} %"
        found["worse than untrained"] = text
    cosines, ranking = entry.get("spread"), entry.get("losses", {}).get("ranking")
    point = beside(experiment)
    at_the_point = point and ranking is not None and ranking >= at_one_point(experiment)
    beside_it = f"the ranking loss, {ranking:.4f}, is not below {point}" if at_the_point else ""
    if cosines and has_collapsed(experiment, cosines, ranking):
        text = "the embedding has collapsed to nearly one point: the median cosine of pictures of different classes is "
        text += f"{cosines['other']:.4f}, of the same class {cosines['same']:.4f}"
        text += f", and {beside_it}" if beside_it else ""
        found["collapsed to nearly one point"] = text + (
            "" if found else "; R@1 is not below that of the untrained network"
        )
    elif not cosines and beside_it:  # a run of an earlier version, with its log
        text = f"{beside_it}: the embedding may have collapsed (`card` measures its spread)"
        found["perhaps collapsed (the ranking loss ended at its margin)"] = text
    return found


def beside(experiment: Experiment) -> str:
    """ "0.1 (the margin)": what the ranking loss is to be compared with; "" where that is nothing."""
    point = at_one_point(experiment)
    if not point:
        return ""
    return f"{point:.4g} ({'the margin' if point == experiment.margin else 'its value for a single point'})"


def remedies(experiment: Experiment) -> str:
    """What usually helps, as far as `experiment` does not do it yet; the flags are those of `train`."""
    there = experiment.backbone not in WITHOUT_IMAGENET
    weights = "(without --no-pretrained)" if there else "(another --backbone, resnet50 say, without --no-pretrained)"
    usual = [f"start from ImageNet weights {weights}"] * (not experiment.pretrained)
    usual += ["train with both losses (without --no-classification)"] * (not experiment.classification)
    usual += ["more --passes, or a later --decay-at", "another --learning-rate"]
    frozen = experiment.frozen_batch_norm or not experiment.pretrained  # random ones are not worth keeping
    freezes = not frozen and experiment.backbone not in WITHOUT_BATCH_NORM
    usual += ["--frozen-batch-norm, where there are few pictures"] * freezes
    return "; ".join(usual)


def told(entry: Mapping[str, Any], experiment: Experiment) -> str:
    """The spread and the ranking loss of an `evaluation`, for the log."""
    cosines = entry["spread"]
    shown = {kind: "-" if cosine is None else f"{cosine:.4f}" for kind, cosine in cosines.items()}
    text = f"median cosine {shown['same']} of the same class, {shown['other']} of other classes"
    ranking, point = entry.get("losses", {}).get("ranking"), beside(experiment)
    text += "" if ranking is None else f"; ranking loss {ranking:.4f}"
    return text if ranking is None or not point else f"{text} beside {point}"
