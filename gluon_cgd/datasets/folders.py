"""People's own pictures: a folder with one folder per class, or a CSV file, and how they are split."""

import logging
import os
from pathlib import Path
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from gluon_cgd.datasets import labels, lists, parts, tree
from gluon_cgd.datasets.records import PathLike, Record, Split

log = logging.getLogger(__name__)

SPLITS = ("classes", "images")


class Listing(NamedTuple):
    """The contents of a folder or a list before they are split.

    pictures: [(class name, path, box, part), ...].  classes: the class names in order of their labels.  parted: whether
    the source itself divides the pictures into parts, 0 to train, 1 to test, 2 to search in; else every part is None.
    notes: what a person should know of them, in lines.  left_out: what else is in the folder.
    """

    pictures: List[tuple]
    classes: List[str]
    parted: bool
    notes: List[str]
    left_out: tree.LeftOut


def listed(source: PathLike, allow_partial: bool = False) -> Listing:
    """The Listing of a folder or a list (.csv, .tsv).

    allow_partial: leave out folders that cannot be read. Raises OSError for them otherwise, and ValueError that names a
    wrong line of a list, split folders that are not complete, or classes whose names look alike.
    """
    file = Path(source)
    return _in_folder(file, allow_partial) if file.is_dir() else _in_list(file)


def class_names(source: PathLike) -> List[str]:
    """The class names of a folder or a list; a class's label is its place here."""
    return listed(source, allow_partial=True).classes


def load_split(
    source: PathLike, split: str = "classes", held_out: float = 0.5, seed: int = 0, allow_partial: bool = False
) -> Split:
    """The Split of a folder or a list: its own parts, or those that `divide` draws.

    A folder holds its pictures in `source`/CLASS/..., or it holds train/ and test/ (or val/, or query/ and gallery/)
    with the classes in each. A list has the columns path,label[,x1,y1,x2,y2][,split]: path relative to the file; split
    is a name of those folders. What is left out is logged. Raises ValueError for pictures that cannot be split, and as
    `listed` does.
    """
    listing = listed(source, allow_partial)
    for note in listing.notes:
        log.warning("%s: %s", source, note)
    return split_by_part(listing, source) if listing.parted else divide(listing, split, held_out, seed, source)


def _in_folder(root, allow_partial):
    uses, left_out = parts.of_folder(root), tree.LeftOut()
    depth, start, unused = 2 if uses else 1, len(os.path.join(root, "")), 0
    inside = set()  # (folder of a class, folder in it or None)
    found = []  # ([folder of the part, folder of the class] or [folder of the class], path)
    for path in tree.walk(root, left_out, allow_partial, "--allow-partial"):
        above = path[start:].split(os.sep)[:-1]
        place = above[:depth]
        inside.update([(*above, None)[:2]] * (not uses and bool(above)))
        if len(place) < depth:
            left_out.loose += 1
            left_out.first = left_out.first or path
        elif uses and uses[place[0]] is None:
            unused += 1
        else:
            found.append((place, path))
    _refuse_shared(left_out.again, start, depth)
    found.sort(key=lambda one: one[0])  # classes that are links came last
    left_out.empty = _empty(root, uses, {tuple(place) for place, _ in found}, left_out)
    classes, name_of, notes = labels.numbered((place[-1] for place, _ in found), root)
    pictures = [(name_of[place[-1]], path, None, uses and uses[place[0]]) for place, path in found]
    said = (parts.described(uses or {}, unused), parts.in_classes(inside), left_out.line("of a class"))
    notes += [note for note in said if note]
    return Listing(pictures, classes, bool(uses), notes, left_out)


def _refuse_shared(again, start, depth):
    """Raise ValueError for a link to the folder of another class or part: its pictures would be in both."""
    for link, first in again:
        if link[start:].split(os.sep)[:depth] != first[start:].split(os.sep)[:depth]:
            raise ValueError(
                f"{link} and {first} are one folder (a link): its pictures would be in two classes or parts; remove one"
            )


def _empty(root, uses, filled, left_out):
    """The paths of class folders without pictures, except those that are left out for another reason."""
    tops = [(name,) for name in tree.subfolders(root)] if not uses else []
    for part in uses or ():
        tops += [(part, name) for name in tree.subfolders(os.path.join(root, part)) if uses[part] is not None]
    other = {*left_out.unreadable, *left_out.around, *(link for link, _ in left_out.again)}
    paths = {os.path.join(root, *place) for place in tops if place not in filled}
    return sorted(paths - other)


def _in_list(file):
    rows, parted = lists.pictures_of(file)
    uses = parts.assign({role for *_, role in rows}) if parted else {None: None}
    used = [(*row, uses[role]) for *row, role in rows if not parted or uses[role] is not None]
    classes, name_of, notes = labels.numbered((label for label, *_ in used), file)
    use = parts.described(uses, len(rows) - len(used)) if parted else ""
    pictures = [(name_of[label], *rest) for label, *rest in used]
    return Listing(pictures, classes, parted, notes + [use] * bool(use), tree.LeftOut())


def split_by_part(listing: Listing, source: PathLike) -> Split:
    """The Split by the part of each picture of `listing`. Classes are numbered over all parts."""
    numbers = {name: i for i, name in enumerate(listing.classes)}
    split: Tuple[List[Record], ...] = ([], [], [])
    for label, path, box, part in listing.pictures:
        split[part].append(Record(path, numbers[label], box))
    if not split[0] or not split[1]:
        count = listing.left_out.loose
        loose = f"; {count:,} pictures are in no class folder: put them into PART/CLASS/" * bool(count)
        raise ValueError(
            f"{source} has {len(split[0])} pictures to train and {len(split[1])} to test: both are needed{loose}"
        )
    if len({record.label for part in split[1:] for record in part}) == 1:
        log.warning("%s: all test pictures are of one class, so that each Recall@K is 100 %%", source)
    return Split(split[0], split[1], split[2] or None)


def divide(listing: Listing, split: str, held_out: float, seed: int, source: PathLike) -> Split:
    """The Split of the pictures of `listing` that is drawn with `seed`.

    split="classes": the share `held_out` of the classes is the test part, as in the paper's benchmarks. split="images":
    of each class that share of its pictures, at least two, for a collection whose classes stay the same. Where no class
    has the four pictures that this needs, one picture of each class is searched in those that are trained on.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown: choose one of {', '.join(SPLITS)}")
    names = listing.classes
    numbers = {name: number for number, name in enumerate(names)}
    records = [Record(path, numbers[label], box) for label, path, box, _ in listing.pictures]
    needed = 4 if split == "classes" else 2
    if len(names) < needed:
        raise ValueError(_too_few(listing, split, needed, source))
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
        if len(small) == len(names):
            return _one_of_each(records, members, rng, source)
        if small:
            message = "%s: %d classes have fewer than 4 pictures and are only trained on, the first is %s"
            log.warning(message, source, len(small), small[0])
        held = {i for own in members if len(own) >= 4 for i in draw(own)}
    return Split([r for i, r in enumerate(records) if i not in held], [r for i, r in enumerate(records) if i in held])


def _one_of_each(records, members, rng, source):
    """One picture of each class is searched in those that are trained on."""
    held = {rng.permutation(own)[0] for own in members if len(own) > 1}
    if not held:
        raise ValueError(f"{source} has no class of 2 pictures or more: nothing can be held out")
    message = "%s: no class has 4 pictures; one of each is searched in the pictures that are trained on"
    log.warning(message, source)
    train = [record for i, record in enumerate(records) if i not in held]
    return Split(train, [records[i] for i in sorted(held)], train)


def _too_few(listing, split, needed, source):
    count, loose, kinds = len(listing.classes), listing.left_out.loose, listing.left_out.kinds()
    if not count and loose:
        return (
            f"{source} holds {loose:,} pictures and no folders of classes: to search in them as they are, index them "
            f"(python -m gluon_cgd index --images {source}); to train on them, sort them into a folder for each class"
        )
    message = f"{source} has {count} classes with pictures: a split by {split} needs {needed} at least"
    if not count and kinds:
        message += f"; it holds {kinds}"
    if count == 1:
        inside = os.path.join(source, listing.classes[0])
        while len(tree.subfolders(inside)) == 1:  # an archive is often unpacked into folders of its own name
            inside = os.path.join(inside, *tree.subfolders(inside))
        deeper = len(tree.subfolders(inside)) > 1
        message += f"; if the classes are the folders in {inside}, name that" if deeper else ""
    return message


def check_pictures(folder: PathLike, flag: str = "--images") -> None:
    """Raise ValueError, naming the `flag`, unless `folder` is a folder with a picture in it.

    Raises OSError if the only ones may be in folders that cannot be read.
    """
    if not os.path.isdir(folder):
        raise ValueError(f"{folder} is not a folder: {flag} must name the folder of pictures")
    left_out = tree.LeftOut()
    if next(tree.walk(folder, left_out, skip_bad=True), None) is None:
        list(tree.walk(folder))  # refuses a folder that cannot be read: it may hold pictures
        kinds, there = ", *".join(sorted(tree.endings())), left_out.kinds()
        there = f", but {there}" if there else ""
        raise ValueError(f"{folder} holds no pictures (files named *{kinds}){there}: check {flag}")


def pictures_in(folder: PathLike, flag: str = "--images", skip_bad: Optional[bool] = None) -> List[str]:
    """The sorted paths of the pictures in `folder` and its subfolders; logs what is left out.

    skip_bad: whether folders that cannot be read are left out too; None if there is no such choice.
    Raises ValueError, naming the `flag`, if there are none or if a path has a line break, and as `tree.walk` does.
    """
    check_pictures(folder, flag)
    left_out = tree.LeftOut()
    paths = sorted(tree.walk(folder, left_out, bool(skip_bad), "" if skip_bad is None else "--skip-bad"))
    for path in paths:
        if "\n" in path:
            raise ValueError(
                f"the picture {path!r} has a line break in its name: rename it, the list has one path a line"
            )
    if left_out.line():
        log.warning("%s: %s", folder, left_out.line())
    return paths
