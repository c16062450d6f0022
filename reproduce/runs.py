"""The store of runs: one folder an experiment and seed, done once, whichever tables ask for it."""

from pathlib import Path

from gluon_cgd import datasets
from gluon_cgd.experiment import Experiment


def folder(runs, experiment, seed):
    """Where the run of `experiment` with `seed` is kept under the folder `runs`."""
    return Path(runs) / experiment.key() / f"seed{seed}"


def result(runs, experiment, seed):
    """The result of a finished run, a dict (see `train.fit`), or None. Raises ValueError if it is another run's."""
    from gluon_cgd.checkpoint import finished

    return finished(folder(runs, experiment, seed), {"experiment": experiment.to_dict(), "seed": seed})


def results(runs, experiment, seeds):
    """The results of the seeds 0 to `seeds` - 1 that are done."""
    found = [result(runs, experiment, seed) for seed in range(seeds)]
    return [r for r in found if r is not None]


def missing_parts(experiments, data, weights):
    """What this machine lacks to train `experiments`: a list of sentences, all of them at once; [] for nothing."""
    from gluon_cgd import backbones

    sentences = []
    for name in sorted({e.dataset for e in experiments}):
        try:
            load_data(name, data)
        except (ValueError, OSError) as error:
            sentences.append(str(error))
    for name, pretrained in sorted({(e.backbone, e.pretrained) for e in experiments}):
        try:
            backbones.build(name, pretrained, weights=weights)
        except ValueError as error:
            sentences.append(str(error))
    return sentences


def load_data(name, data):
    """The Split of a dataset kept in the folder `data`/`name`; glyphs lives in the cache."""
    return datasets.load(name, None if name == "glyphs" else Path(data) / name)


def train(runs, experiment: Experiment, seed, data, ctx, weights, progress):
    """Train one run into the store, or go on with it; returns its result."""
    from gluon_cgd.train import fit

    return fit(
        experiment,
        load_data(experiment.dataset, data),
        folder(runs, experiment, seed),
        seed,
        ctx,
        weights,
        progress=progress,
    )
