"""The store of runs: one folder for each experiment and seed. Tables that need the same run share it.

MXNet's runs are in the folder --runs, those of PyTorch in `pytorch-float32`, `pytorch-tf32` and `pytorch-bf16` there,
each in this layout. So two runs with one seed do not meet.
"""

import logging
from pathlib import Path

from gluon_cgd import datasets
from gluon_cgd.engines import choice
from gluon_cgd.engines.choice import MXNET, Engine
from gluon_cgd.experiment import REVISION, WITHOUT_FILES
from gluon_cgd.runs import findings, ranks
from gluon_cgd.runs import results as results_of_runs
from gluon_cgd.runs.log import losses

log = logging.getLogger("reproduce")


def of_engine(runs, engine):
    """The store of the runs of `engine` in the folder `runs`: that folder itself for MXNet, else one in it."""
    return runs if engine.name == "mxnet" else Path(runs) / f"{engine.name}-{engine.precision}"


def engine_of(runs):
    """The Engine whose store is the folder `runs`, by its name."""
    names = {f"pytorch-{precision}": Engine("pytorch", precision) for precision in choice.PRECISIONS}
    return names.get(Path(runs).name, MXNET)


def folder(runs, experiment, seed):
    """The folder in `runs` of the run of `experiment` with `seed`; each REVISION of the training code has its own."""
    return Path(runs) / experiment.key() / f"r{REVISION}-seed{seed}"


def result(runs, experiment, seed, weights=None):
    """The result of a finished run, a dict (see `train.fit`), or None.

    Raises ValueError if it belongs to another run, or cannot be read.
    weights: the file of ImageNet parameters that the run must have started from, or None for any.
    """
    return results_of_runs.stored(*_place(runs, experiment, seed, weights))


def is_done(runs, experiment, seed, weights=None, needed=None):
    """Whether a run need not be trained: it has a result, and its parameters are those that it left; else says why.

    needed: whether the parameters must be there, for a person may have deleted them; None does not look at them.
    Raises ValueError as `result` does, but not for a result that cannot be read.
    """
    place = _place(runs, experiment, seed, weights)
    return results_of_runs.finished(*place, log.warning, needed) is not None


def _place(runs, experiment, seed, weights):
    """(folder, what identifies the run there)."""
    run, engine = {"experiment": experiment.to_dict(), "seed": seed}, engine_of(runs)
    if engine != MXNET:
        run["engine"] = {"name": engine.name, "precision": engine.precision}
    if weights and not Path(weights).is_file():
        raise ValueError(f"{weights} does not exist or is no regular file: check --weights")
    if weights:
        from gluon_cgd.fetch.loading import sha256_of  # it needs MXNet

        run["weights"] = sha256_of(weights)
    return folder(runs, experiment, seed), run


def results(runs, experiment, seeds):
    """The results of the finished runs with seeds 0 to `seeds` - 1. Raises ValueError when they cannot be averaged."""
    finished_runs = [done for done in (result(runs, experiment, seed) for seed in range(seeds)) if done is not None]
    place = folder(runs, experiment, 0).parent
    check_alike(finished_runs, place)
    return with_losses(runs, experiment, finished_runs)


def check_alike(finished_runs, place):
    """Raise ValueError if the results `finished_runs`, from `place`, learned from different things."""
    differences = {
        ("data", None): "are of different copies of the data",
        ("weights", None): "are of different ImageNet parameters",
        ("revision", None): "are of different revisions of the training code",
        ("parts", 1): "learned from batches in different numbers of parts, which changes batch norm",
    }
    for part, difference in differences.items():
        if len({done.get(*part) for done in finished_runs}) > 1:
            raise ValueError(f"the runs in {place} {difference}: keep only those that agree")


def ranks_of(runs, experiment, results):
    """{seed: arrays of its ranks.npz} of those of the finished runs `results` that have ranks.

    Raises ValueError for ranks that are damaged, or that the run's recalls were not counted from.
    """
    found = {run["seed"]: ranks_of_run(runs, experiment, run) for run in results}
    return {seed: arrays for seed, arrays in found.items() if arrays}


def ranks_of_run(runs, experiment, run):
    """The arrays of the ranks.npz of one finished run, None where there is none. Raises as `ranks_of`."""
    file = folder(runs, experiment, run["seed"]) / ranks.FILE
    if ranks.FILE not in run.get("files", ()):  # of an earlier version
        return None
    if not file.exists():
        log.warning("%s is not there any more: its run is compared and recorded without it", file)
        return None
    arrays = ranks.read(file)
    wrong = ranks.disagreement(arrays, run)
    if wrong:
        raise ValueError(f"{file} {wrong}: the run is to be trained again")
    return arrays


def with_losses(runs, experiment, finished_runs):
    """`finished_runs` of `experiment` with what earlier versions did not record, from their logs."""

    def completed(run):
        if "curve" in run or not run.get("history"):
            return run
        return findings.completed(run, losses(folder(runs, experiment, run["seed"]) / "train.log"))

    return [completed(run) for run in finished_runs]


def every(runs, experiment):
    """The results of all finished runs of `experiment`, by seed. Raises ValueError for a folder with another's run."""
    folders = folder(runs, experiment, 0).parent.glob(f"r{REVISION}-seed*")
    seeds = sorted(
        int(number) for number in (place.name.rpartition("seed")[2] for place in folders) if number.isdecimal()
    )
    return [done for done in (result(runs, experiment, seed) for seed in seeds) if done is not None]


def missing_parts(experiments, data, weights):
    """What this machine lacks to train `experiments`: a list with all sentences, [] when nothing is missing."""
    from gluon_cgd import backbones

    sentences, needing = [], {data_of(e): e for e in experiments}
    for of in sorted(needing):
        try:
            load_data(needing[of], data)
        except (ValueError, OSError) as error:
            sentences.append(str(error))
    for name in sorted({e.backbone for e in experiments if e.pretrained}):
        try:
            if weights:  # they must fit
                backbones.build(name, pretrained=True, weights=weights)
            else:
                backbones.imagenet_file(name)
        except ValueError as error:
            sentences.append(str(error))
    return sentences


def data_of(experiment):
    """(dataset, split, held_out, split_seed): what decides which pictures an experiment learns from."""
    return experiment.dataset, experiment.split, experiment.held_out, experiment.split_seed


def load_data(experiment, data):
    """The Split of an experiment. data: the folder of the datasets; glyphs is in the cache instead."""
    return datasets.split_of(experiment, None if experiment.dataset in WITHOUT_FILES else data)


def train(runs, experiment, seed, data, ctx, weights, progress, parts=1, engine=MXNET):
    """Train one run into the store, or continue it; returns its result.

    ctx: of MXNet one device or a list, of PyTorch the names as --ctx has them, or None.  parts: as in `train.fit`.
    """
    from gluon_cgd.train import fit

    split, where = load_data(experiment, data), folder(runs, experiment, seed)
    other = {} if engine == MXNET else dict(zip(("engine", "precision", "deterministic"), engine))
    return fit(experiment, split, where, seed, ctx, weights, progress=progress, parts=parts, **other)
