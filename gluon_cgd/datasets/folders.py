"""People's own pictures: a folder with one folder per class, or a CSV file, and how they are split."""

import csv
import logging
import os
from pathlib import Path
from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from gluon_cgd.datasets.records import PathLike, Record, Split, join

log = logging.getLogger(__name__)

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jfif"}
PARTS = {"train": 0, "test": 1, "query": 1, "gallery": 2}
SPLITS = ("classes", "images")


class Listing(NamedTuple):
    """The contents of a folder or a CSV file before they are split.

    pictures: [(class name, path, box, part), ...].  parted: whether the source itself divides them into parts to train
    and to test; else every part is None.  others: the paths of files that are no pictures of a class.
    """

    pictures: List[tuple]
    parted: bool
    others: List[str]


def listed(source: PathLike) -> Listing:
    """The Listing of a folder or a .csv file. Raises ValueError that names a wrong line of the file."""
    return _in_folder(Path(source)) if Path(source).is_dir() else _in_csv(Path(source))


def class_names(source: PathLike) -> List[str]:
    """The sorted class names of a folder or a .csv file; a class's label is its place in this list."""
    return sorted({label for label, *_ in listed(source).pictures})


def load_split(source: PathLike, split: str = "classes", held_out: float = 0.5, seed: int = 0) -> Split:
    """The Split of a folder or a .csv file: its own parts, or those that `divide` draws.

    A folder holds its pictures in `source`/CLASS/..., or it holds train/ and test/ (or train/, query/ and gallery/)
    with the classes in each. Files that are not pictures are left out with a warning. A CSV file lists the pictures
    under path,label[,x1,y1,x2,y2][,split]: path relative to the file; split is train, test, query or gallery.
    Raises ValueError for pictures that cannot be split, and as `listed` does.
    """
    pictures, parted, others = listed(source)
    if others:
        message = "%s: %s files are no pictures of a class and are left out, the first is %s"
        log.warning(message, source, f"{len(others):,}", others[0])
    return split_by_part(pictures, source) if parted else divide(pictures, split, held_out, seed, source)


def _in_folder(root):
    tops = {entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")}
    parted = "train" in tops and tops <= set(PARTS)
    pictures, others = [], []
    for part in sorted(tops) if parted else (None,):
        folder = root / part if part else root
        for path, is_picture in walk(folder, hidden=True):
            top, *below = Path(path).relative_to(folder).parts
            if is_picture and below:
                pictures.append((top, path, None, part))
            else:
                others.append(path)
    return Listing(pictures, parted, others)


def walk(
    folder: PathLike, hidden: bool = False, onerror: Optional[Callable[[OSError], object]] = None
) -> Iterator[Tuple[str, bool]]:
    """Yield (path, whether its name is a picture's) of every file in `folder` and its subfolders, in order of names.

    hidden: whether to enter folders whose name begins with a dot. A file with such a name does not count as a picture.
    onerror: is called with the OSError of a folder that cannot be listed; by default such folders are left out.
    """
    for place, folders, files in os.walk(folder, onerror=onerror):
        folders[:] = sorted(name for name in folders if hidden or not name.startswith("."))
        for name in sorted(files):
            is_picture = os.path.splitext(name)[1].lower() in PICTURES and not name.startswith(".")
            yield os.path.join(place, name), is_picture


def check_pictures(folder: PathLike, flag: str = "--images") -> None:
    """Raise ValueError, naming the `flag`, unless `folder` is a folder with a picture in it."""
    if not os.path.isdir(folder):
        raise ValueError(f"{folder} is not a folder: {flag} must name the folder of pictures")
    if not any(is_picture for _, is_picture in walk(folder)):
        raise ValueError(f"{folder} holds no pictures (files named *{', *'.join(sorted(PICTURES))}): check {flag}")


def _in_csv(file):
    pictures = []
    try:
        with open(file, newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle, strict=True)
            columns = reader.fieldnames or []
            corners = [c for c in ("x1", "y1", "x2", "y2") if c in columns]
            known = {"path", "label", "x1", "y1", "x2", "y2", "split"}
            complete = {"path", "label"} <= set(columns) <= known and len(corners) in (0, 4)
            if not complete or len(set(columns)) < len(columns):
                raise ValueError(
                    f"{file} starts with {','.join(columns)!r}: its header must be path,label[,x1,y1,x2,y2][,split]"
                )
            for row in reader:
                pictures.append(_row(file, reader.line_num, row, corners))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not a CSV file in UTF-8 ({error}): save it as one") from error
    return Listing(pictures, "split" in columns, [])


def _row(file, line, row, corners):
    """(class name, path, box, part) of one line of a CSV file."""
    if None in row or None in row.values():
        raise ValueError(f"{file} line {line} has another number of fields than the header: mend the line")
    if not row["path"] or not row["label"]:
        raise ValueError(f"{file} line {line} has no path or no label: mend the line")
    if "split" in row and row["split"] not in PARTS:
        raise ValueError(f"{file} line {line} has split {row['split']!r}: it must be one of {', '.join(PARTS)}")
    box = None
    if corners and any(row[corner] for corner in corners):
        try:
            box = tuple(int(float(row[corner])) for corner in corners)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{file} line {line} has a box that is not four numbers: mend the line") from error
    path = row["path"] if os.path.isabs(row["path"]) else join(file.parent, row["path"], f"{file} line {line}")
    return row["label"], path, box, row.get("split")


def split_by_part(pictures: Sequence[tuple], source: PathLike) -> Split:
    """The Split by the part in each (class name, path, box, part). Classes are numbered over all parts."""
    numbers = {name: i for i, name in enumerate(sorted({label for label, *_ in pictures}))}
    parts: Tuple[List[Record], ...] = ([], [], [])
    for label, path, box, part in pictures:
        parts[PARTS[part]].append(Record(path, numbers[label], box))
    if not parts[0] or not parts[1]:
        raise ValueError(f"{source} has {len(parts[0])} pictures to train and {len(parts[1])} to test: both are needed")
    return Split(parts[0], parts[1], parts[2] or None)


def divide(pictures: Sequence[tuple], split: str, held_out: float, seed: int, source: PathLike) -> Split:
    """The Split of [(class name, path, box, ...), ...] that is drawn with `seed`.

    split="classes": the share `held_out` of the classes is the test part, as in the paper's benchmarks. split="images":
    of each class that share of its pictures, at least two, for a collection whose classes stay the same.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown: choose one of {', '.join(SPLITS)}")
    names = sorted({label for label, *_ in pictures})
    numbers = {name: number for number, name in enumerate(names)}
    records = [Record(path, numbers[label], box) for label, path, box, *_ in pictures]
    needed = 4 if split == "classes" else 2
    if len(names) < needed:
        raise ValueError(f"{source} has {len(names)} classes with pictures: a split by {split} needs {needed} at least")
    rng = np.random.default_rng(seed)

    def draw(members):
        count = min(max(2, round(held_out * len(members))), len(members) - 2)
        return rng.permutation(members)[:count].tolist()

    if split == "classes":
        classes = set(draw(range(len(names))))
        held = {i for i, record in enumerate(records) if record.label in classes}
    else:
        members = [[i for i, record in enumerate(records) if record.label == label] for label in range(len(names))]
        small = [name for name, own in zip(names, members) if len(own) < 4]
        if small:
            message = "%s: %d classes have fewer than 4 pictures and are only trained on, the first is %s"
            log.warning(message, source, len(small), small[0])
        held = {i for own in members if len(own) >= 4 for i in draw(own)}
    if not held:
        raise ValueError(f"{source} has no class of 4 pictures or more: nothing can be held out")
    return Split([r for i, r in enumerate(records) if i not in held], [r for i, r in enumerate(records) if i in held])


def pictures_in(folder: PathLike, flag: str = "--images") -> List[str]:
    """The sorted paths of the pictures in `folder` and its subfolders.

    Raises ValueError, naming the `flag`, if there are none or if a path has a line break.
    """
    check_pictures(folder, flag)
    paths = sorted(path for path, is_picture in walk(folder) if is_picture)
    for path in paths:
        if "\n" in path:
            raise ValueError(
                f"the picture {path!r} has a line break in its name: rename it, the list has one path a line"
            )
    return paths
