"""How to choose the best configuration: the rule of section 3.4, on any dataset."""

import logging
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any, Dict, List

import numpy as np

from gluon_cgd.datasets.records import PathLike, Split
from gluon_cgd.descriptors import DESCRIPTORS
from gluon_cgd.experiment import Experiment
from gluon_cgd.files.whole import write_json
from gluon_cgd.train import fit

log = logging.getLogger(__name__)
SMALL_DIM = 128  # section 3.4 advises few descriptors where the embedding is small, and gives no number


def choose(experiment: Experiment, split: Split, out: PathLike, seeds: int = 1, **where: Any) -> Dict[str, Any]:
    """Train each single descriptor, then the two best ones combined: {"singles", "pairs", "best", "experiment"}.

    "singles" and "pairs" are {configuration: [Recall@1 of each seed]}; the pairs are both orders of the two best.
    "best" is the configuration with the highest mean, "experiment" what to train with it, a dict.
    out: folder that receives one run per configuration and seed, and choice.json; finished runs are not trained again.
    where: the other arguments of `train.fit`. Raises ValueError as `train.fit` does, and for an odd dim.
    """

    def train_and_test(configuration: str, seed: int) -> float:
        chosen, folder = replace(experiment, descriptors=configuration), Path(out) / f"{configuration}-seed{seed}"
        log.info("descriptors %s, seed %d: %s", configuration, seed, folder)
        return fit(chosen, split, folder, seed=seed, **where)["last"]["R@1"]

    def recalls(configuration: str) -> List[float]:
        return [train_and_test(configuration, seed) for seed in range(seeds)]

    for first, second in permutations(DESCRIPTORS, 2):
        replace(experiment, descriptors=first + second)  # refuses an impossible pair now, not after the singles
    singles = {letter: recalls(letter) for letter in DESCRIPTORS}
    first, second = sorted(singles, key=lambda letter: -np.mean(singles[letter]))[:2]
    pairs = {pair: recalls(pair) for pair in (first + second, second + first)}
    means = {configuration: np.mean(values) for configuration, values in {**singles, **pairs}.items()}
    best = max(means, key=lambda configuration: means[configuration])
    experiment_of_best = replace(experiment, descriptors=best).to_dict()
    choice = {"singles": singles, "pairs": pairs, "best": best, "experiment": experiment_of_best}
    write_json(Path(out) / "choice.json", choice)
    return choice
