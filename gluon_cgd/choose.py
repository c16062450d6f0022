"""How to choose the best configuration: the rule of section 3.4, on any dataset."""

import logging
from collections import Counter
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np

from gluon_cgd.datasets.records import PathLike, Split
from gluon_cgd.experiment import CONFIGURATIONS, Experiment
from gluon_cgd.files.whole import check_target, write_json
from gluon_cgd.runs import collapse, regime
from gluon_cgd.train import fit

log = logging.getLogger(__name__)
SMALL_DIM = 128  # section 3.4 advises few descriptors where the embedding is small, and gives no number


def choose(experiment: Experiment, split: Split, out: PathLike, seeds: int = 1, **where: Any) -> Dict[str, Any]:
    """Train each single descriptor, then the two best ones combined: {"singles", "pairs", "best", "experiment", ...}.

    "singles" and "pairs" are {configuration: [Recall@1 of each seed]}; the pairs are both orders of the two best.
    "below" are the configurations with runs that ended below their untrained network, and the Recall@1 of those runs
    before and after training. Such configurations are not recommended, whatever their mean.
    "margin" are the configurations with runs whose ranking loss never left its margin, or had not at the first decay:
    {configuration: {which of both: how many runs}}. If there are any, "remedies" is a text.
    "best" is the one with the highest mean of the others, "experiment" what to train with it, a dict. If there is no
    other, both are None, and "remedies" is a text too.
    out: folder that receives one run per configuration and seed, and choice.json; finished runs are not trained again.
    where: the other arguments of `train.fit`. Raises ValueError as `train.fit` does, and for an odd dim.
    """

    below: Dict[str, List[Tuple[float, float]]] = {}
    margin: Dict[str, Counter] = {}

    def train_and_test(configuration: str, seed: int) -> float:
        chosen, folder = replace(experiment, descriptors=configuration), Path(out) / f"{configuration}-seed{seed}"
        log.info("descriptors %s, seed %d: %s", configuration, seed, folder)
        result = fit(chosen, split, folder, seed=seed, **where)
        if collapse.is_below(result):
            below.setdefault(configuration, []).append((result["untrained"]["R@1"], result["last"]["R@1"]))
        for finding in regime.findings(result):
            margin.setdefault(configuration, Counter())[finding] += 1
        return result["last"]["R@1"]

    def recalls(configuration: str) -> List[float]:
        return [train_and_test(configuration, seed) for seed in range(seeds)]

    letters = [name for name in CONFIGURATIONS if len(name) == 1]
    for first, second in permutations(letters, 2):
        replace(experiment, descriptors=first + second)  # refuses an impossible pair now, not after the singles
    check_target(Path(out) / "choice.json")
    singles = {letter: recalls(letter) for letter in letters}
    first, second = sorted(singles, key=lambda letter: (letter in below, -np.mean(singles[letter])))[:2]
    pairs = {pair: recalls(pair) for pair in (first + second, second + first)}
    means = {name: np.mean(values) for name, values in {**singles, **pairs}.items() if name not in below}
    best = max(means, key=lambda name: means[name]) if means else None
    experiment_of_best = replace(experiment, descriptors=best).to_dict() if best else None
    choice: Dict[str, Any] = {"singles": singles, "pairs": pairs, "best": best, "experiment": experiment_of_best}
    choice["below"] = {name: [list(recalls) for recalls in runs] for name, runs in below.items()}
    choice["margin"] = {name: dict(counts) for name, counts in margin.items()}
    if not best or margin:
        choice["remedies"] = collapse.remedies(experiment)
    write_json(Path(out) / "choice.json", choice)
    return choice
