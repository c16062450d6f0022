"""What there is to learn from: a Split of records (path, label, box), checked against the official counts."""

import logging
import os
from pathlib import Path
from typing import List, NamedTuple, Optional, Tuple

from . import glyphs, runtime

log = logging.getLogger(__name__)


class Record(NamedTuple):
    """One picture: its file, its class, and the part to look at as (x1, y1, x2, y2) in pixels, x2 and y2 exclusive."""

    path: str
    label: int
    box: Optional[Tuple[int, int, int, int]] = None


class Split(NamedTuple):
    """Records to train on, to search with and to search in. `gallery` is None where the query is its own gallery."""

    train: List[Record]
    query: List[Record]
    gallery: Optional[List[Record]] = None


def load(name, root=None, allow_partial=False):
    """The Split of dataset `name` under the folder `root`.

    glyphs is rendered there on first use (root None: the cache folder). Of the others a copy that differs from the
    official counts is refused, or with `allow_partial` taken as it is, less the pictures that are missing, with a
    warning.
    Raises ValueError for an unknown name and for wrong contents, FileNotFoundError for a copy that is not there.
    """
    if name not in LOADERS:
        raise ValueError(f"dataset {name!r} is unknown: choose one of {', '.join(LOADERS)}")
    if name == "glyphs":
        return load_glyphs(root)
    if root is None:
        raise ValueError(f"dataset {name} needs the folder that holds it: --data DIR")
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"data folder {root} does not exist: --data names the folder that holds {name}")
    loader, official = LOADERS[name]
    split = _present(loader(root), root, allow_partial)
    counts = (len(split.train), len(split.query), len(split.gallery or ()))
    if counts != official:
        found = f"{root} holds {_counts(counts)} where {name} has {_counts(official)}"
        if not allow_partial:
            raise ValueError(f"{found}: complete the copy, or say --allow-partial to go on with an incomplete one")
        log.warning("%s; going on, as allow_partial says", found)
    if not split.train or not split.query:
        raise ValueError(f"{root} holds {_counts(counts)}: both are needed")
    return split


def recall_ks(name):
    """The K of Recall@K that the paper reports for dataset `name` (Table 7)."""
    return RECALL_KS.get(name, (1, 2, 4, 8))


def load_glyphs(root=None):
    """The embedded benchmark (see `glyphs`): 100 classes to train, 100 others to test, as CUB200-2011 has."""
    train, test = glyphs.write(Path(root or runtime.cache_folder()) / "glyphs-1")
    return Split([Record(*r) for r in train], [Record(*r) for r in test])


def load_cars196(root):
    """CARS196 as `car_ims/` and `cars_annos.mat`: classes 1-98 to train, 99-196 to test, the `test` flag unused."""
    file = root / "cars_annos.mat"
    rows = _read_mat(file)
    missing = [
        field
        for field in ("relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class")
        if field not in (rows.dtype.names or ())
    ]
    if missing:
        raise ValueError(f"{file} has no field {missing[0]}: get the cars_annos.mat that belongs to car_ims.tgz")
    records = []
    for row in rows.ravel():
        # Every number is a 1 x 1 array of uint8 or uint16: made an int before anyone subtracts
        box = tuple(int(row[f"bbox_{corner}"].item()) for corner in ("x1", "y1", "x2", "y2"))
        records.append(Record(str(root / row["relative_im_path"].item()), int(row["class"].item()) - 1, box))
    return Split([r for r in records if r.label < 98], [r for r in records if r.label >= 98])


def _read_mat(file):
    from scipy.io import loadmat

    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist: the folder given with --data must hold it and car_ims/")
    try:
        return loadmat(str(file))["annotations"]
    except Exception as error:  # scipy raises many kinds for a broken file, IndexError and zlib.error among them
        raise ValueError(
            f"{file} cannot be read as CARS196's annotations ({type(error).__name__}): get it again"
        ) from error


def _present(split, root, allow_partial):
    """`split` without the records whose file is missing; ValueError naming the first of them unless `allow_partial`."""
    folders = {os.path.dirname(r.path) for part in split for r in part or ()}
    there = {os.path.join(folder, name) for folder in folders if os.path.isdir(folder) for name in os.listdir(folder)}
    everything = [r for part in split for r in part or ()]
    missing = [r.path for r in everything if r.path not in there]
    if not missing:
        return split
    found = f"{len(missing):,} of {len(everything):,} pictures are missing under {root}, the first is {missing[0]}"
    if not allow_partial:
        raise FileNotFoundError(f"{found}: complete the copy, or say --allow-partial to go on without them")
    log.warning("%s; going on without them, as allow_partial says", found)
    return Split(*(part and [r for r in part if r.path in there] for part in split))


def _counts(counts):
    train, query, gallery = counts
    return f"{train:,} training and {query:,} test pictures" + (f" with a gallery of {gallery:,}" if gallery else "")


LOADERS = {"glyphs": (load_glyphs, None), "cars196": (load_cars196, (8054, 8131, 0))}
RECALL_KS = {"sop": (1, 10, 100, 1000), "inshop": (1, 10, 20, 30, 40, 50)}  # the others: 1, 2, 4, 8
