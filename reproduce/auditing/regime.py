"""What is to be said against a run: worse than untrained, collapsed, or a ranking loss that stayed at its margin.

The definitions are those of docs/training.md, computed a second time from the recorded recalls, cosines and losses.
"""

import math

NEVER = "a ranking loss that never left its margin"
LATE = "a ranking loss that had not left its margin at the first decay"
WORSE, COLLAPSED = "worse than untrained", "collapsed to nearly one point"
PERHAPS = "perhaps collapsed (the ranking loss ended at its margin)"
CARE = (
    (WORSE, "worse than untrained"),
    (COLLAPSED, "collapsed"),
    (PERHAPS, "perhaps collapsed"),
    (NEVER, "never off the margin"),
)
ALIKE = 0.9  # the median cosine of different classes from which an embedding is a narrow cone
GAP = 0.05  # half of the paper's margin


def point(experiment):
    """The ranking loss of an embedding that is one point; 0 where that depends on the batch or on proxies."""
    losses = {"soft_margin": math.log(2), "margin": experiment["margin"] + experiment["margin_boundary"]}
    losses.update(multi_similarity=0, proxy_anchor=0)
    count = len(experiment["descriptors"]) if experiment["architecture"] == "A" else 1
    return count * losses.get(experiment["loss"], experiment["margin"])


def bound(experiment):
    """The mean ranking loss below which it has left its margin."""
    if experiment["loss"] == "soft_margin":
        return point(experiment) / math.log(2) * math.log(1 + math.exp(-GAP))
    return point(experiment) / 2


def first_decay(experiment, iterations):
    """The step before which the learning rate first falls, None if it does not."""
    steps = [round(at * iterations) for at in experiment["decay_at"]] if experiment["decay_factor"] < 1 else []
    return next((step for step in steps if 0 < step < iterations), None)


def left(experiment, run):
    """{"left_at", "first_decay", "lowest", "lowest_at", "last", ...} of a run's curve, {} where there is none."""
    curve = run.get("curve") or {"iteration": [], "ranking": []}
    if not bound(experiment) or not curve["ranking"]:
        return {}
    pairs = list(zip(curve["iteration"], curve["ranking"]))
    at = next((iteration for iteration, loss in pairs if loss < bound(experiment)), None)
    decay = first_decay(experiment, run["iterations"])
    lowest = min(loss for _, loss in pairs)
    return {
        "left_below": round(float(f"{bound(experiment):.4g}"), 6),
        "left_at": at,
        "first_decay": decay,
        "left_at_first_decay": None if decay is None else at is not None and at <= decay,
        "lowest": lowest,
        "lowest_at": next(iteration for iteration, loss in pairs if loss == lowest),
        "last": pairs[-1][1],
    }


def findings(experiment, run):
    """{finding: sentence without its end} of the last evaluation of a run; {} for most."""
    found, entry = {}, (run.get("history") or [{}])[-1]
    before, after = (run[stage].get("R@1") for stage in ("untrained", "last"))
    if before is not None and after is not None and after < before:
        text = f"R@1 after training, {100 * after:.2f} %, is below that of the untrained network, {100 * before:.2f} %"
        found[WORSE] = text
    cosines, loss = entry.get("spread"), entry.get("losses", {}).get("ranking")
    stuck = loss is not None and loss >= point(experiment) > 0
    name = "the margin" if point(experiment) == experiment["margin"] else "its value for a single point"
    beside = f"the ranking loss, {loss:.4f}, is not below {point(experiment):.4g} ({name})" if stuck else ""
    if cosines and collapsed(experiment, cosines, loss):
        text = (
            "the embedding has collapsed to nearly one point: the median cosine of pictures of different classes is "
            f"{cosines['other']:.4f}, of the same class {cosines['same']:.4f}{', and ' * stuck}{beside}"
        )
        found[COLLAPSED] = text + ("" if found else "; R@1 is not below that of the untrained network")
    elif not cosines and stuck:
        found[PERHAPS] = f"{beside}: the embedding may have collapsed (`card` measures its spread)"
    found.update(stayed(experiment, run))
    return found


def collapsed(experiment, cosines, loss):
    """Whether all pictures lie in a narrow cone, no farther apart than a margin, with a loss not below a point's."""
    same, other = cosines.get("same"), cosines.get("other")
    if same is None or other is None or other < ALIKE:
        return False
    distances = [math.sqrt(max(0.0, 2 - 2 * cosine)) for cosine in (other, same)]
    narrow = distances[0] - distances[1] < experiment["margin"]
    return narrow and (loss is None or loss >= point(experiment))


def stayed(experiment, run):
    """{NEVER or LATE: sentence} of a run that ended, or decayed, before its ranking loss left its margin."""
    found = left(experiment, run)
    if not found or found["left_at_first_decay"] or (found["left_at"] is not None and found["first_decay"] is None):
        return {}
    place = "its margin" if point(experiment) == experiment["margin"] else "its value for a single point"
    below = f"{bound(experiment):.4g}, half of {point(experiment):.4g}"
    if experiment["loss"] == "soft_margin":
        below = f"{bound(experiment):.4g}, its value where negatives are {GAP:g} farther than positives"
    if found["left_at"] is None:
        lowest = f"its lowest mean, {found['lowest']:.4f} at iteration {found['lowest_at']}, is not below {below}"
        return {NEVER: f"the ranking loss never left {place}: {lowest}"}
    return {
        LATE: f"the ranking loss left {place} only after the first decay of the learning rate (at iteration "
        f"{found['first_decay']}), at iteration {found['left_at']} (the first mean below {below}); its last mean is "
        f"{found['last']:.4f}"
    }


def care(entries):
    """ "read with care: Rank (10 of 10 collapsed)": which sides of an ordering have runs that say little."""
    told = {}
    for entry in entries:
        counts = {}
        for run in entry.runs:
            for name in findings(entry.row.experiment, run):
                counts[name] = counts.get(name, 0) + 1
        words = [f"{counts[name]} of {entry.count()} {word}" for name, word in CARE if name in counts]
        if words:
            told[entry.row.name] = f"{entry.row.name} ({', '.join(words)})"
    return f"read with care: {'; '.join(told.values())}" if told else ""


def predicate(finding):
    """ "are worse than untrained", "have a ranking loss that never left its margin"."""
    return f"{'have' if finding in (NEVER, LATE) else 'are'} {finding}"
