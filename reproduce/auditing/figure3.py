"""Section 4.4.1 on Figure 3: its two sentences, decided by drawing the seeds again with replacement."""

import functools

import numpy as np

from reproduce.auditing.declared import CONFIGURATIONS

SAMPLES, LIMIT, FEWEST = 10_000, 0.95, 5  # draws of the seeds; the share that decides; seeds that are enough
SENTENCES = ("the majority outperforms", "the best one combines the two best")


def panels(found):
    """{benchmark: {configuration: {seed: value}}} of the entries of Figure 3."""
    values = {}
    for entry in found:
        benchmark, _, letters = entry.row.name.rpartition(" ")
        if "R@1" in entry.ours:
            sample = entry.ours["R@1"]
            values.setdefault(benchmark, {})[letters] = dict(zip(sample.seeds, sample.values))
    return values


def sentences(values, small):
    """The two sentences on one panel, {configuration: {seed: value}}."""
    if set(CONFIGURATIONS) - set(values):
        return ["not all configurations have run yet"]
    middle = {name: float(np.median(list(values[name].values()))) for name in CONFIGURATIONS}
    first, second, _ = sorted((name for name in middle if len(name) == 1), key=middle.get, reverse=True)
    several = [name for name in middle if len(name) > 1]
    above = sum(middle[name] > middle[first] for name in several)
    facts = (
        f"{above} of {len(several)} combined descriptors are above the best single one, {first}",
        f"the best single descriptors are {first} and {second}, the best configuration is "
        f"{max(middle, key=middle.get)}",
    )
    seeds = [seed for seed in sorted(values["S"]) if all(seed in values[name] for name in CONFIGURATIONS)]
    if len(seeds) < FEWEST:
        why = f"undecided (only {len(seeds)} seed{'s' * (len(seeds) != 1)}: too few to draw from)"
        return [f"{fact}: '{name}' {why}" for fact, name in zip(facts, SENTENCES)]
    counts = drawn(tuple(tuple(values[name][seed] for seed in seeds) for name in CONFIGURATIONS))
    return [
        f"{fact}: '{name}' {outcome(count, small)} (true in {percent(count)} % of {SAMPLES:,} bootstrap samples of "
        f"{len(seeds)} seeds)"
        for fact, name, count in zip(facts, SENTENCES, counts)
    ]


def outcome(count, small):
    """What so many samples say."""
    if count >= LIMIT * SAMPLES:
        return "holds"
    return ("opposite here" if small else "does not hold") if count <= SAMPLES - LIMIT * SAMPLES else "undecided"


def percent(count):
    """The share with one decimal, rounded towards a half."""
    tenths = 1000 * count // SAMPLES if 2 * count > SAMPLES else -(-1000 * count // SAMPLES)
    return f"{tenths / 10:.1f}"


@functools.lru_cache(maxsize=None)
def drawn(rows):
    """In how many samples each of the two sentences is true. rows: the values of each configuration, seed by seed."""
    seeds = len(rows[0])
    choices = np.random.default_rng(0).integers(seeds, size=(SAMPLES, seeds))
    ordered = np.sort(np.array(rows)[:, choices], axis=-1)  # (configurations, samples, seeds)
    middle = (ordered[:, :, (seeds - 1) // 2] + ordered[:, :, seeds // 2]) / 2
    majority = best = 0
    for column in middle.T.tolist():
        one = dict(zip(CONFIGURATIONS, column))
        singles = sorted((name for name in one if len(name) == 1), key=lambda name: -one[name])
        majority += sum(one[name] > one[singles[0]] for name in one if len(name) > 1) > 4
        pair = [name for name in one if set(name) == set(singles[:2])]
        best += max(one[name] for name in pair) > max(one[name] for name in one if name not in pair)
    return majority, best


def lines(found, small):
    """Figure 3 in numbers, and the sentences."""
    told = []
    for benchmark, values in panels(found).items():
        told += ["", f"{benchmark}, Recall@1 in %: median (lowest to highest, runs)"]
        for name, runs in values.items():
            each = list(runs.values())
            told.append(f"  {name:4} {np.median(each):5.1f} ({min(each):.1f} to {max(each):.1f}, {len(each)})")
        told += [f"  - {line}" for line in sentences(values, small)]
    told = told or ["there are no runs yet"]
    return [told[0].strip(), *told[1:]] if told[0].strip() else [told[1].strip(), *told[2:]]
