"""What a run reads before it trains: its pictures and the backbone's ImageNet parameters."""

from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import numpy as np

from gluon_cgd import backbones
from gluon_cgd.datasets import training_part
from gluon_cgd.datasets.cache import cached, fingerprint
from gluon_cgd.datasets.records import PathLike, Split
from gluon_cgd.experiment import REVISION, Experiment
from gluon_cgd.fetch.loading import sha256_of


def checked(out: PathLike, seed: int, checkpoint_every: Optional[int]) -> Path:
    """The folder `out` of a run. Raises ValueError for a file, and for a seed or a number of steps that cannot be."""
    if not 0 <= seed < 2**31:
        raise ValueError(f"seed {seed} must be from 0 to 2147483647")
    if checkpoint_every is not None and checkpoint_every < 1:
        raise ValueError(f"checkpoint_every {checkpoint_every} must be at least 1")
    if Path(out).exists() and not Path(out).is_dir():
        raise ValueError(f"{out} is a file: name a folder for the run")
    return Path(out)


def identity(experiment: Experiment, split: Split, seed: int, weights: Optional[PathLike]) -> Dict[str, Any]:
    """What a stored run must share with one that is wanted. Raises ValueError for `weights` that are no file."""
    data = fingerprint([record for part in split for record in part or ()])
    run = {"experiment": experiment.to_dict(), "seed": int(seed), "revision": REVISION, "data": data}
    if weights:
        if not Path(weights).is_file():
            raise ValueError(f"{weights} does not exist or is no regular file: check --weights")
        run["weights"] = sha256_of(weights)
    return run


def weights_of(experiment: Experiment, weights: Optional[PathLike], progress: bool = False) -> Optional[PathLike]:
    """The file of the backbone's ImageNet parameters: `weights`, or the published one; None if there is none to be."""
    if experiment.pretrained and not weights:
        return Path(backbones.imagenet_file(experiment.backbone, progress=progress))
    return weights


class Material:
    """The pictures of a run, decoded when they are asked for. cache, progress: see `train.fit`."""

    def __init__(self, experiment: Experiment, split: Split, cache: Optional[PathLike] = None, progress: bool = False):
        self.experiment, self.split, self.cache, self.progress = experiment, split, cache, progress

    def training(self) -> Optional[Dict[str, Any]]:
        """What the result says of the training pictures, see `training_part.describe`."""
        return training_part.describe(self.split, self.experiment.dataset, self.progress)

    def pictures(self) -> Tuple[np.ndarray, np.ndarray, Optional[np.ndarray]]:
        """Those to train on (N, resize, resize, 3), of the queries and of the gallery, uint8."""

        def of(records, side):
            return cached(records, side, self.cache, self.progress)

        train, query, gallery = self.split
        side = self.experiment.input_size
        return of(train, self.experiment.resize), of(query, side), of(gallery, side) if gallery else None
