"""People's own pictures: a folder of folders, one a class, or a CSV file; and how they are split."""

import csv
import logging
import os
from pathlib import Path

import numpy as np

from .records import Record, Split, join

log = logging.getLogger(__name__)

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jfif"}
PARTS = {"train": 0, "test": 1, "query": 1, "gallery": 2}
SPLITS = ("classes", "images")


def load_folder(root, split="classes", held_out=0.5, seed=0):
    """The pictures in `root`/CLASS/..., split as `divide` says; or as given, where `root` is train/ and test/
    (or train/, query/ and gallery/) with the classes in each.

    Files that are not pictures are left out with a warning. Raises ValueError for a folder without two classes.
    """
    root = Path(root)
    tops = {entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")}
    if "train" in tops and tops <= set(PARTS):
        found = [(part, label, path) for part in sorted(tops) for label, path in _pictures(root / part)]
        return given(found, root)
    found = _pictures(root)
    return divide([(label, path, None) for label, path in found], split, held_out, seed, root)


def _pictures(root):
    """[(class name, path), ...] in order of the names."""
    found, others = [], []
    for folder, folders, files in os.walk(root):
        folders.sort()
        for file in sorted(files):
            path = os.path.join(folder, file)
            top = Path(path).relative_to(root).parts[0]
            is_picture = Path(file).suffix.lower() in PICTURES and not file.startswith(".") and folder != str(root)
            (found if is_picture else others).append((top, path))
    if others:
        log.warning(
            "%s: %s files are no pictures of a class and are left out, the first is %s",
            root,
            f"{len(others):,}",
            others[0][1],
        )
    return found


def load_csv(file, split="classes", held_out=0.5, seed=0):
    """The pictures that a CSV file lists under the header path,label[,x1,y1,x2,y2][,split].

    Paths are relative to the file; split is train, test, query or gallery, and without that column `divide` decides.
    Raises ValueError naming the line that is wrong.
    """
    file = Path(file)
    rows = []
    try:
        with open(file, newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle, strict=True)
            columns = reader.fieldnames or []
            corners = [c for c in ("x1", "y1", "x2", "y2") if c in columns]
            known = {"path", "label", "x1", "y1", "x2", "y2", "split"}
            if (
                not {"path", "label"} <= set(columns) <= known
                or len(corners) not in (0, 4)
                or len(set(columns)) < len(columns)
            ):
                raise ValueError(
                    f"{file} starts with {','.join(columns)!r}: its header must be path,label[,x1,y1,x2,y2][,split]"
                )
            for row in reader:
                rows.append(_row(file, reader.line_num, row, corners))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not a CSV file in UTF-8 ({error}): save it as one") from error
    if "split" in columns:
        found = [(row["split"], row["label"], path, box) for row, path, box in rows]
        return given(found, file)
    return divide([(row["label"], path, box) for row, path, box in rows], split, held_out, seed, file)


def _row(file, line, row, corners):
    """(row, path, box) of one line of a CSV file."""
    if None in row or None in row.values():
        raise ValueError(f"{file} line {line} has not as many fields as the header: mend the line")
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
    return row, path, box


def given(found, source):
    """The Split that (part, class name, path[, box]) say themselves. Classes are numbered over all parts."""
    numbers = {name: i for i, name in enumerate(sorted({label for _, label, *_ in found}))}
    parts = ([], [], [])
    for part, label, path, *box in found:
        parts[PARTS[part]].append(Record(path, numbers[label], *box))
    if not parts[0] or not parts[1]:
        raise ValueError(f"{source} has {len(parts[0])} pictures to train and {len(parts[1])} to test: both are needed")
    return Split(parts[0], parts[1], parts[2] or None)


def divide(found, split, held_out, seed, source):
    """The Split of [(class name, path, box), ...] by a rule drawn with `seed`.

    split="classes": the share `held_out` of the classes is to test, as in the paper's benchmarks. split="images": of
    each class that share of its pictures, two at least, for a collection whose classes stay the same.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown: choose one of {', '.join(SPLITS)}")
    names = sorted({label for label, *_ in found})
    numbers = {name: number for number, name in enumerate(names)}
    records = [Record(path, numbers[label], box) for label, path, box in found]
    needed = 4 if split == "classes" else 2
    if len(names) < needed:
        raise ValueError(f"{source} has {len(names)} classes with pictures: a split by {split} needs {needed} at least")
    rng = np.random.default_rng(seed)
    if split == "classes":
        tested = min(max(2, round(held_out * len(names))), len(names) - 2)
        held = set(rng.permutation(len(names))[:tested].tolist())
        return Split([r for r in records if r.label not in held], [r for r in records if r.label in held])
    held, small = set(), []
    for label, name in enumerate(names):
        members = [i for i, record in enumerate(records) if record.label == label]
        if len(members) < 4:
            small.append(name)
        else:
            tested = min(max(2, round(held_out * len(members))), len(members) - 2)
            held.update(rng.permutation(members)[:tested].tolist())
    if small:
        log.warning(
            "%s: %d classes have fewer than 4 pictures and are only trained on, the first is %s",
            source,
            len(small),
            small[0],
        )
    if not held:
        raise ValueError(f"{source} has no class of 4 pictures or more: nothing can be held out")
    return Split([r for i, r in enumerate(records) if i not in held], [r for i, r in enumerate(records) if i in held])
