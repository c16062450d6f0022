"""Figure 3 in words: the twelve configurations on each benchmark, and what section 4.4.1 says of them.

Its two sentences compare medians of many configurations at once, so no test of a pair decides them. Whether they hold
is decided by a bootstrap: the seeds are drawn again, with replacement, and the medians computed anew. A seed is drawn
for all configurations together, because runs of one seed share their initial parameters and their batches.
"""

import functools
from typing import NamedTuple, Optional

import numpy as np

from gluon_cgd.experiment import CONFIGURATIONS
from reproduce.verdicts.orderings import OPPOSITE

SAMPLES = 10_000  # of the seeds, always the same ones
DECIDES = 0.95  # the share of samples from which a sentence holds; below 1 - DECIDES it does not
FEWEST = 5  # seeds; of fewer, the samples repeat one another
SINGLES = [i for i, name in enumerate(CONFIGURATIONS) if len(name) == 1]
COMBINED = [i for i, name in enumerate(CONFIGURATIONS) if len(name) > 1]


class Claim(NamedTuple):
    """One of the two sentences of section 4.4.1, on one benchmark."""

    fact: str  # what the medians are
    name: str  # the sentence
    outcome: str  # "holds", "does not hold" (of the mini form "opposite here") or "undecided"
    share: Optional[float]  # of the samples in which it is true; None of too few seeds
    seeds: int  # that all configurations have

    def sentence(self):
        """The fact, the sentence and the outcome in one line."""
        why = f"only {self.seeds} seed{'s' * (self.seeds != 1)}: too few to draw from"
        if self.share is not None:
            why = f"true in {shown(self.share)} % of {SAMPLES:,} bootstrap samples of {self.seeds} seeds"
        return f"{self.fact}: '{self.name}' {self.outcome} ({why})"


def shown(share):
    """A share in %, not rounded to 0, 100, or over a limit that decides: 95.0 % decides, 94.96 % is shown as 94.9."""
    count = round(share * SAMPLES)
    tenths = 1000 * count // SAMPLES if 2 * count > SAMPLES else -(-1000 * count // SAMPLES)
    return f"{tenths / 10:.1f}"


def by_seed(entries):
    """{benchmark: {configuration: {seed: recall in %}}} of the entries of Figure 3 that have run."""
    found = {}
    for entry in entries:
        benchmark, _, configuration = entry.row.rpartition(" ")
        cell = entry.ours.get("R@1")
        if cell:
            found.setdefault(benchmark, {})[configuration] = dict(zip(cell.seeds, cell.values))
    return found


def claims(results, small=False):
    """[Claim, Claim] of one panel, {configuration: {seed: recall in %}}; [] unless all twelve have run.

    small: the runs are of the mini form.
    """
    if set(CONFIGURATIONS) - set(results):
        return []
    seeds = sorted(set.intersection(*(set(results[name]) for name in CONFIGURATIONS)))
    middle = np.array([np.median(list(results[name].values())) for name in CONFIGURATIONS])
    first, second = sorted(SINGLES, key=lambda i: -middle[i])[:2]
    above = sum(middle[i] > middle[first] for i in COMBINED)
    names = [CONFIGURATIONS[i] for i in (first, second, int(middle.argmax()))]
    facts = (
        f"{above} of {len(COMBINED)} combined descriptors are above the best single one, {names[0]}",
        f"the best single descriptors are {names[0]} and {names[1]}, the best configuration is {names[2]}",
    )
    shares = (None, None)
    if len(seeds) >= FEWEST:
        shares = shares_of(tuple(tuple(results[name][seed] for seed in seeds) for name in CONFIGURATIONS))
    sentences = ("the majority outperforms", "the best one combines the two best")
    return [
        Claim(fact, name, outcome(share, small), share, len(seeds))
        for fact, name, share in zip(facts, sentences, shares)
    ]


def outcome(share, small):
    """What the share of samples in which a sentence is true says of it."""
    if share is None or 1 - DECIDES < share < DECIDES:
        return "undecided"
    return "holds" if share >= DECIDES else OPPOSITE[small]


@functools.lru_cache(maxsize=None)
def shares_of(values):
    """The share of samples in which each of the two sentences is true. values: of each configuration, by seed."""
    values = np.array(values)  # (12, seeds)
    drawn = np.random.default_rng(0).integers(values.shape[1], size=(SAMPLES, values.shape[1]))
    return tuple(float(np.mean(true)) for true in truths(np.median(values[:, drawn], axis=-1)))


def truths(middle):
    """(whether the majority outperforms, whether the best one combines the two best), for each column of medians.

    middle: (12, samples). What is equal is not above, and the best one is above all others.
    """
    best_single = middle[SINGLES].max(axis=0)
    majority = 2 * (middle[COMBINED] > best_single).sum(axis=0) > len(COMBINED)
    order = np.argsort(-middle[SINGLES], axis=0, kind="stable")
    best = np.zeros(middle.shape[1], bool)
    for pair in ((0, 1), (0, 2), (1, 2)):
        letters = {CONFIGURATIONS[SINGLES[i]] for i in pair}
        own = [i for i in COMBINED if set(CONFIGURATIONS[i]) == letters]
        others = [i for i in range(len(CONFIGURATIONS)) if i not in own]
        these = (np.sort(order[:2], axis=0) == np.array(pair)[:, None]).all(axis=0)
        best |= these & (middle[own].max(axis=0) > middle[others].max(axis=0))
    return majority, best


def sentences(results, small=False):
    """The two claims of one panel as sentences."""
    return [claim.sentence() for claim in claims(results, small)] or ["not all configurations have run yet"]


def as_text(entries, small=False):
    """The medians, ranges and claims as a text."""
    text = []
    for benchmark, results in by_seed(entries).items():
        text += ["", f"{benchmark}, Recall@1 in %: median (lowest to highest, runs)"]
        for name, runs in results.items():
            values = list(runs.values())
            text.append(f"  {name:4} {np.median(values):5.1f} ({min(values):.1f} to {max(values):.1f}, {len(values)})")
        text += [f"  - {sentence}" for sentence in sentences(results, small)]
    return "\n".join(text or ["there are no runs yet"])
