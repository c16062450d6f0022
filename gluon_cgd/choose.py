"""Which descriptors to combine: the rule of section 3.4, on any dataset."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np

from gluon_cgd.descriptors import DESCRIPTORS
from gluon_cgd.files.whole import write_json
from gluon_cgd.train import fit

SMALL_DIM = 128  # section 3.4 advises few descriptors where the embedding is small, and gives no number


def choose(experiment, split, out, seeds=1, **where):
    """Train the single descriptors, then the two best combined in both orders; {"singles", "pairs", "best"}.

    "singles" and "pairs" are {configuration: [Recall@1 of each seed]}, "best" is the configuration with the highest
    mean. out: holds a run a configuration and seed, done once, and receives choice.json. where: as of `train.fit`.
    Raises ValueError as `train.fit` does, and for a dim that two branches do not divide.
    """

    def recalls(configuration):
        found = []
        for seed in range(seeds):
            folder = Path(out) / f"{configuration}-seed{seed}"
            result = fit(replace(experiment, descriptors=configuration), split, folder, seed=seed, **where)
            found.append(result["last"]["R@1"])
        return found

    for first, second in permutations(DESCRIPTORS, 2):
        replace(experiment, descriptors=first + second)  # refuses what cannot be now, not after the singles
    singles = {letter: recalls(letter) for letter in DESCRIPTORS}
    first, second = sorted(singles, key=lambda letter: -np.mean(singles[letter]))[:2]
    pairs = {pair: recalls(pair) for pair in (first + second, second + first)}
    everything = {**singles, **pairs}
    best = max(everything, key=lambda configuration: np.mean(everything[configuration]))
    chosen = replace(experiment, descriptors=best).to_dict()
    choice = {"singles": singles, "pairs": pairs, "best": best, "experiment": chosen}
    write_json(Path(out) / "choice.json", choice)
    return choice
