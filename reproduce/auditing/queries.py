"""Two rows compared at the same test queries, with classes as clusters, computed a second time from the ranks."""

import numpy as np

from reproduce.auditing.inference import LEVEL, quantile

FEWEST = 10  # classes


def hits(entry, column):
    """{seed: 1 for each query that is found, else 0} of one row; a column names a branch or a Recall@K."""
    branch = "" if column == "Combined" or "R@" in column else f"/{column}"
    most = int(column.split("@")[1]) if "R@" in column else 1
    names = {run["seed"]: f"seed{run['seed']}/last{branch}" for run in entry.runs}
    return {seed: np.int64(entry.ranks[name] <= most) for seed, name in names.items() if name in entry.ranks}


def compared(sides):
    """[(difference, low, high) in points or None, ...]: the first of [(entry, column), ...] against each other one."""
    if any(entry is None or column not in entry.ours for entry, column in sides):
        return []
    found = [hits(entry, column) for entry, column in sides]
    classes = [entry.ranks.get("classes") for entry, _ in sides]
    if not all(found) or any(not np.array_equal(each, classes[0]) for each in classes):
        return []
    return [apart(found[0], other, classes[0]) for other in found[1:]]


def apart(better, worse, classes):
    """(difference, low, high) of hits at the same queries; None without a common seed and for few classes."""
    seeds = [seed for seed in better if seed in worse and len(better[seed]) == len(worse[seed]) == len(classes)]
    names, counts = np.unique(classes, return_counts=True)
    if not seeds or len(names) < FEWEST:
        return None
    wins = sum(better[seed] - worse[seed] for seed in seeds)  # whole numbers, (N,)
    per_class = np.array([wins[classes == name].sum() for name in names])
    scale = 100 / (len(seeds) * len(classes))  # from sums of wins to points of recall
    mean = wins.sum() / len(classes)
    error = np.sqrt(np.sum((per_class - mean * counts) ** 2) * len(names) / (len(names) - 1))
    middle = 100 * int(wins.sum()) / (len(seeds) * len(classes))  # exact: half a tenth is rounded one way
    reach = float(quantile(LEVEL / 2, len(names) - 1) * error * scale)
    return middle, middle - reach, middle + reach


def cell(difference):
    """A cell of the table of orderings."""
    return "-" if difference is None else "{:+.1f} ({:+.1f} to {:+.1f})".format(*difference)


def phrase(differences):
    """The end of a sentence, "" without ranks."""
    if not differences or None in differences:
        return ""
    told = ["{:+.1f} points (95 % CI {:+.1f} to {:+.1f})".format(*difference) for difference in differences]
    return f"; at the same queries {', '.join(told)}"
