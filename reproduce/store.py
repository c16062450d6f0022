"""The store of runs: one folder an experiment and seed, done once, whichever tables ask for it."""

from pathlib import Path

from gluon_cgd import datasets
from gluon_cgd.experiment import REVISION
from gluon_cgd.files.whole import digest


def folder(runs, experiment, seed):
    """Where `runs` keeps the run of `experiment` with `seed`; code that trains otherwise keeps its own elsewhere."""
    return Path(runs) / experiment.key() / f"r{REVISION}-seed{seed}"


def result(runs, experiment, seed, weights=None):
    """The result of a finished run, a dict (see `train.fit`), or None. Raises ValueError if it is another run's.

    weights: the file of ImageNet parameters that it must have started from, if that matters.
    """
    from gluon_cgd.runs.results import finished

    asked = {"experiment": experiment.to_dict(), "seed": seed}
    if weights and not Path(weights).is_file():
        raise ValueError(f"{weights}, the file of ImageNet parameters, does not exist: check --weights")
    if weights:
        asked["weights"] = digest(weights)
    return finished(folder(runs, experiment, seed), asked)


def results(runs, experiment, seeds):
    """The results of the seeds 0 to `seeds` - 1 that are done. Raises ValueError when they cannot be averaged."""
    found = [done for done in (result(runs, experiment, seed) for seed in range(seeds)) if done is not None]
    for part, remedy in (("data", "copies of the data"), ("weights", "ImageNet parameters")):
        if len({done.get(part) for done in found}) > 1:
            raise ValueError(
                f"the runs in {folder(runs, experiment, 0).parent} are of different {remedy}: keep those of one"
            )
    if len({done.get("parts", 1) for done in found}) > 1:
        raise ValueError(
            f"the runs in {folder(runs, experiment, 0).parent} learned from batches in different numbers of parts, "
            "which batch norm saw one by one: keep those of one"
        )
    return found


def every(runs, experiment):
    """The results of all finished runs of `experiment`, by seed. Raises ValueError for a folder of another run."""
    folders = folder(runs, experiment, 0).parent.glob(f"r{REVISION}-seed*")
    seeds = sorted(int(number) for number in (one.name.rpartition("seed")[2] for one in folders) if number.isdecimal())
    return [done for done in (result(runs, experiment, seed) for seed in seeds) if done is not None]


def missing_parts(experiments, data, weights):
    """What this machine lacks to train `experiments`: a list of sentences, all of them at once; [] for nothing."""
    from gluon_cgd import backbones

    sentences, needing = [], {data_of(e): e for e in experiments}
    for of in sorted(needing):
        try:
            load_data(needing[of], data)
        except (ValueError, OSError) as error:
            sentences.append(str(error))
    for name, pretrained in sorted({(e.backbone, e.pretrained) for e in experiments}):
        try:
            if not pretrained:
                continue
            if weights:  # they must fit
                backbones.build(name, pretrained, weights=weights)
            else:
                backbones.imagenet_file(name)
        except ValueError as error:
            sentences.append(str(error))
    return sentences


def data_of(experiment):
    """(dataset, split, held_out, split_seed): what decides which pictures an experiment learns from."""
    return experiment.dataset, experiment.split, experiment.held_out, experiment.split_seed


def load_data(experiment, data):
    """The Split of an experiment, whose dataset is kept in the folder `data`; glyphs lives in the cache."""
    return datasets.split_of(experiment, None if experiment.dataset == "glyphs" else data)


def train(runs, experiment, seed, data, ctx, weights, progress, parts=1):
    """Train one run into the store, or go on with it; returns its result. parts: as of `train.fit`."""
    from gluon_cgd.train import fit

    split, where = load_data(experiment, data), folder(runs, experiment, seed)
    return fit(experiment, split, where, seed, ctx, weights, progress=progress, parts=parts)
