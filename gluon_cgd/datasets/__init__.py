"""Datasets: `load` returns a Split of records (path, label, box) that has been checked."""

import logging
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from gluon_cgd.datasets import folders, layouts, lists
from gluon_cgd.datasets.records import PathLike, Record, Split, check, counted, parts_of, present
from gluon_cgd.experiment import WITHOUT_FILES, Experiment
from gluon_cgd.machine import facts

log = logging.getLogger(__name__)


def load(
    name: str,
    root: Optional[PathLike] = None,
    allow_partial: bool = False,
    split: str = "classes",
    held_out: float = 0.5,
    split_seed: int = 0,
) -> Split:
    """The Split of the dataset `name`: a benchmark, glyphs, a folder of folders, or a .csv or .tsv file.

    A benchmark, or a part of one (see `PART_OF`), is in the folder `root` or in `root`/`name`. glyphs is rendered under
    `root` on first use (None: the cache folder). A benchmark that differs from its official counts is refused; with
    `allow_partial` there is a warning instead, and missing pictures are left out.
    split, held_out, split_seed: how people's own pictures are divided (see `folders.divide`).
    Raises ValueError for an unknown name and for wrong contents, FileNotFoundError for missing files.
    """
    if name in WITHOUT_FILES:
        return load_glyphs(root, name)
    if name in COUNTS:
        return load_benchmark(name, root, allow_partial)
    if name == "sop_mini":  # the smaller test set of Figure 3
        whole = load_benchmark("sop", root, allow_partial)
        assert root is not None  # `load_benchmark` has refused that
        drawn = layouts.sop_mini_products(located("sop", root))
        return Split(whole.train, [record for record in whole.query if record.label in drawn])
    if is_own(name):
        own = folders.load_split(name, split, held_out, split_seed, allow_partial)
        check(own, "mend the list")
        return present(own, allow_partial)
    remedy = f"choose {', '.join(NAMES)}, or an existing folder or .csv file"
    if name and Path(name).is_file():
        raise ValueError(f"dataset {name} is a file, but no .csv file: {remedy}")
    raise ValueError(f"dataset {name!r} is unknown: {remedy}")


def split_of(experiment: Experiment, root: Optional[PathLike] = None, allow_partial: bool = False) -> Split:
    """The Split of an Experiment. root, allow_partial: see `load`."""
    rule = (experiment.split, experiment.held_out, experiment.split_seed)
    return load(experiment.dataset, root, allow_partial, *rule)


def is_own(name: PathLike) -> bool:
    """Whether `name` is people's own pictures: an existing folder, or a .csv or .tsv file."""
    # An empty name is not one: as a path it would be the present folder
    return name not in ("", *NAMES) and (Path(name).is_dir() or (lists.is_list(name) and Path(name).is_file()))


def class_names(name: PathLike) -> Optional[List[str]]:
    """The class names of people's own pictures, in order of their labels; None for benchmarks."""
    return folders.class_names(name) if is_own(name) else None


def load_glyphs(root: Optional[PathLike] = None, name: str = "glyphs") -> Split:
    """The embedded benchmark (see `glyphs`): 100 classes to train and 100 others to test, as in CUB200-2011.

    name: of "glyphs_mini" the training classes have `glyphs.MINI_IMAGES` pictures each.
    """
    from gluon_cgd.datasets import glyphs  # it needs Pillow

    folder = Path(root or facts.cache_folder()) / "glyphs-1"
    if not folder.is_dir():
        facts.made(folder.parent)
        log.info("rendering the glyphs into %s", folder)
    train, test = glyphs.write(folder)
    images = glyphs.MINI_IMAGES if name == "glyphs_mini" else glyphs.TRAIN_IMAGES
    kept = [Record(*r) for k, r in enumerate(train) if k % glyphs.TRAIN_IMAGES < images]
    return Split(kept, [Record(*r) for r in test])


def located(name: str, root: PathLike) -> Path:
    """The folder of the benchmark `name`: `root`/`name` if it exists, else that of its whole, else `root`."""
    folders_of_it = (Path(root) / folder for folder in (name, whole_of(name)))
    return next((folder for folder in folders_of_it if folder.is_dir()), Path(root))


def whole_of(name: str) -> str:
    """The benchmark whose files the dataset `name` is read from: itself, unless it is a part of one."""
    return PART_OF.get(name, name)


def check_root(root: PathLike) -> None:
    """Raise ValueError if `root`, the folder of the datasets, is a file."""
    if Path(root).is_file():
        raise ValueError(f"{root} is a file: --data names the folder that holds the datasets")


def load_benchmark(name: str, root: Optional[PathLike], allow_partial: bool) -> Split:
    """The Split of one of the paper's benchmarks, after its counts were compared with the official ones."""
    if root is None:
        raise ValueError(f"dataset {name} needs the folder that holds it: --data DIR (python -m gluon_cgd data {name})")
    check_root(root)
    root = located(name, root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}, the folder of {name}, does not exist (python -m gluon_cgd data {name})")
    listed = getattr(layouts, name)(root)
    check(listed)
    split = present(listed, allow_partial)
    counts = tuple((len(part), len({r.label for r in part})) for _, part in parts_of(split))
    if counts != COUNTS[name]:
        official = " and ".join(f"{pictures:,} of {classes:,}" for pictures, classes in COUNTS[name])
        differs = f"{root} holds {counted(split)}, where {name} has {official}"
        if not allow_partial:
            raise ValueError(f"{differs}: complete the copy, or say --allow-partial to go on with an incomplete one")
        log.warning("%s; going on, as allow_partial says", differs)
    if not all(part for _, part in parts_of(split)):
        raise ValueError(f"{root} holds {counted(split)}: every part is needed")
    return split


def recall_ks(name: str) -> Tuple[int, ...]:
    """The K of Recall@K that the paper reports for dataset `name` (Table 7)."""
    return RECALL_KS.get(name, (1, 2, 4, 8))


# (pictures, classes) of the training and the test part; of In-shop: training, query and gallery
OFFICIAL = {
    "cub200": ((5864, 100), (5924, 100)),
    "cars196": ((8054, 98), (8131, 98)),
    "sop": ((59551, 11318), (60502, 11316)),
    "inshop": ((25882, 3997), (14218, 3985), (12612, 3985)),
}
PART_OF = {"sop_mini": "sop", "cars196_train_half": "cars196"}  # not the paper's, but of Figure 3 and of --small
COUNTS = {**OFFICIAL, "cars196_train_half": ((4052, 98), (4092, 98))}  # those of sop_mini follow from a drawing
NAMES = (*WITHOUT_FILES, *OFFICIAL, *PART_OF)
RECALL_KS: Dict[str, Tuple[int, ...]] = dict.fromkeys(("sop", "sop_mini"), (1, 10, 100, 1000))
RECALL_KS["inshop"] = (1, 10, 20, 30, 40, 50)  # the others: 1, 2, 4, 8
