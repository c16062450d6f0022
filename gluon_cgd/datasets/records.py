"""The parts of a dataset, and the checks that every dataset has to pass."""

import contextlib
import logging
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Iterable, List, NamedTuple, Optional, Tuple, Union

log = logging.getLogger(__name__)
PathLike = Union[str, Path]
Box = Tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels; x2 and y2 exclusive


class Record(NamedTuple):
    """One picture: its file, its class, and the box of it that is used, None for all of it.

    The box is in pixels of the picture as a person sees it, after a sideways photo has been turned upright.
    """

    path: str
    label: int
    box: Optional[Box] = None


class Split(NamedTuple):
    """The records to train on, to search with, and to search in. `gallery` is None if the query is its own gallery."""

    train: List[Record]
    query: List[Record]
    gallery: Optional[List[Record]] = None


def parts_of(split: Split) -> List[Tuple[str, List[Record]]]:
    """[(name, records), ...] of the parts of `split`."""
    names = ("training", "query", "gallery") if split.gallery else ("training", "test")
    return list(zip(names, (part for part in split if part is not None)))


def counted(split: Split) -> str:
    """The counts of `split` in words: 8,054 training pictures of 98 classes and 8,131 test pictures of 98."""
    parts = [(name, part, {record.label for record in part}) for name, part in parts_of(split)]
    *words, last = [f"{len(part):,} {name} pictures of {len(labels):,} classes" for name, part, labels in parts]
    return ", ".join(words) + " and " + last


def is_by_images(split: Split) -> bool:
    """Whether the test pictures are of the training classes, and have no gallery of their own.

    Then there are two numbers: the recall among the test pictures, and that among all pictures, as a search has them.
    """
    trained = {record.label for record in split.train}
    return split.gallery is None and any(record.label in trained for record in split.query)


def is_searched_in_training(split: Split) -> bool:
    """Whether the gallery is the training part: classes of two or three pictures have no other (`folders.divide`)."""
    return split.gallery is not None and split.gallery == split.train


def join(folder: PathLike, name: str, source: object, remedy: str = "get the file again") -> str:
    """`folder`/`name`, whose parts may be separated by backslashes, as Windows does.

    Raises ValueError, naming its `source` and the `remedy`, for a `name` that leads out of `folder`.
    """
    if ("\\" in name or name[1:2] == ":") and not os.path.lexists(os.path.join(str(folder), name)):
        if re.match(r"[A-Za-z]:[/\\]|\\\\", name):
            relative = f"write it relative to {folder}, and get the pictures there"
            raise ValueError(
                f"{source} names the picture {name!r}, which is on a disk of a Windows machine: {relative}"
            )
        name = name.replace("\\", "/")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"{source} names the picture {name!r}, which is not inside {folder}: {remedy}")
    return os.path.join(str(folder), *path.parts)


def check(split: Split, remedy: str = "get the annotations again") -> None:
    """Raise ValueError, with the `remedy`, for a picture listed twice with the same box, or whose box is empty."""
    once = split._replace(gallery=None) if split.gallery is split.train else split  # searched in what is trained on
    records = [record for _, part in parts_of(once) for record in part]
    times = Counter((os.path.normpath(record.path), record.box) for record in records)
    twice = [path for (path, _), count in times.items() if count > 1]
    if twice:
        more = f" ({len(twice):,} pictures are)" * (len(twice) > 1)
        raise ValueError(f"{twice[0]} is listed twice{more}: {remedy}")
    for record in records:
        if record.box and (record.box[2] <= record.box[0] or record.box[3] <= record.box[1]):
            raise ValueError(f"the box {record.box} of {record.path} has no area: {remedy}")


def findable(split: Split) -> int:
    """How many queries have another picture of their class to find; the others lower Recall@K whatever the model."""
    counts = Counter(record.label for record in (split.query if split.gallery is None else split.gallery))
    needed = 2 if split.gallery is None else 1
    return sum(counts[record.label] >= needed for record in split.query)


def ceiling(split: Split) -> str:
    """The highest Recall@K that any model can reach on `split`, in words; "" if that is 100 %."""
    found, total = findable(split), len(split.query)
    if found == total:
        return ""
    missing = f"{total - found:,} of {total:,} test pictures have no other picture of their class to be found"
    return f"no Recall@K can be above {100 * found / total:.2f} %: {missing}"


def limits(split: Split, ks: Iterable[int]) -> List[str]:
    """`ceiling` and `certainty` of `split`, those that are not empty."""
    return [sentence for sentence in (ceiling(split), certainty(split, ks)) if sentence]


def certainty(split: Split, ks: Iterable[int]) -> str:
    """Which of the Recall@K of `ks` any model reaches on `split`, in words; "" if there is none.

    With few test pictures, fewer than K are of other classes, and so a picture of the query's class is among K results.
    """
    items = split.query if split.gallery is None else split.gallery
    counts = Counter(record.label for record in items)
    others = max(len(items) - counts[record.label] for record in split.query)
    sure = [f"R@{k}" for k in ks if k > others]
    few = f"at most {others:,} pictures are of other classes and could come first"
    return f"{' and '.join(sure)} {'say' if len(sure) > 1 else 'says'} nothing of a model: {few}" if sure else ""


def _files(folder):
    """Yield the paths in `folder`, without links to nothing."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_symlink() or os.path.exists(entry.path):
                yield entry.path


def _written_otherwise(path: str) -> str:
    """What to say if there is a file that differs from `path` only in case or in Unicode's form; "" for none."""
    there = ""
    for part in Path(path).parts:
        place = os.path.join(there, part)
        if not os.path.lexists(place):
            names: List[str] = []
            with contextlib.suppress(OSError):
                names = os.listdir(there or ".")
            place = next((os.path.join(there, name) for name in names if _folded(name) == _folded(part)), "")
        if not place:
            return ""
        there = place
    same = there == os.fspath(Path(path))
    return "" if same else f" (there is {ascii(there)}, in another case or another form of Unicode: write it so)"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def present(split: Split, allow_partial: bool) -> Split:
    """`split` without the records whose file is missing.

    Raises FileNotFoundError with their number and the first of them; with `allow_partial` it logs a warning instead.
    """
    folders = {os.path.dirname(r.path) for _, part in parts_of(split) for r in part}
    there = {path for folder in folders if os.path.isdir(folder) for path in _files(folder)}
    missing = []
    for name, part in parts_of(split):
        gone = [record.path for record in part if record.path not in there]
        if gone:
            first = f"the first is {gone[0]}{_written_otherwise(gone[0])}"
            missing.append(f"{len(gone):,} of {len(part):,} {name} pictures are missing, {first}")
    if not missing:
        return split
    if not allow_partial:
        remedy = "complete the copy, or say --allow-partial to go on without them"
        raise FileNotFoundError(f"{'; '.join(missing)}: {remedy}")
    log.warning("%s; going on without them, as allow_partial says", "; ".join(missing))
    return Split._make(part and [record for record in part if record.path in there] for part in split)
