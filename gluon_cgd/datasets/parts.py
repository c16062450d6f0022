"""Which part of a split the folders train/, val/, test/ and so on are, and the values of a list's split column."""

import re
from typing import Dict, Iterable, Optional, Set, Tuple

from gluon_cgd.datasets import tree
from gluon_cgd.datasets.records import PathLike

ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("query", "queries"), "query"),
    "gallery": "gallery",
}
USES = ("for training", "for the test", "to search in")  # by their place in a Split


def role(name: str) -> Optional[str]:
    """ "train", "val", "test", "query" or "gallery" if `name` is one of their names, in any case; else None."""
    return ROLES.get(name.strip().casefold())


def assign(names: Iterable[str]) -> Dict[str, Optional[int]]:
    """{name: its place in a Split, or None if it is not used} of names that have a `role`.

    train is trained on; test or query are the test part, and are searched in gallery where that exists. val is the test
    part where there is no other; else it is not used.
    """
    roles = {name: role(name) for name in names}
    tested = set(roles.values()) & {"test", "query"}
    places = {"train": 0, "val": None if tested else 1, "test": 1, "query": 1, "gallery": 2}
    return {name: places[own] for name, own in roles.items() if own}


def described(assigned: Dict[str, Optional[int]], unused: int) -> str:
    """What the names are used for: "Train for training, test for the test, val not used (20 pictures)".

    unused: the number of pictures that are not used. Returns "" unless one of the names is val.
    """
    words = [f"{name} {USES[place]}" for name, place in sorted(assigned.items()) if place is not None]
    words += [f"{name} not used ({unused:,} pictures)" for name, place in assigned.items() if place is None]
    return ", ".join(words) if "val" in map(role, assigned) else ""


def in_classes(folders: Iterable[Tuple[str, Optional[str]]]) -> str:
    """A sentence if there are split folders inside classes, or if the classes may be inside folders; "" otherwise.

    folders: (class folder, folder in it with pictures, or None for pictures right in the class folder).
    """
    inside: Dict[str, Set[Optional[str]]] = {}
    for name, below in sorted(folders, key=str):
        inside.setdefault(name, set()).add(below)
    roles = {name: {role(below or "") for below in own} for name, own in inside.items()}
    split = [name for name, own in roles.items() if "train" in own and len(own - {None}) > 1]
    if split:
        words = f"{len(split):,} classes hold train/ and other split folders, which are not used as such, the first is"
        return f"{words} {split[0]}: put the classes into train/ and test/ to use them"
    same, *others = [own - {None} if None not in own else set() for own in inside.values()] or [set()]
    if others and len(same) > 1 and all(own == same for own in others):
        names = ", ".join(f"{name}/" for name in sorted(map(str, same))[:3]) + ", ..." * (len(same) > 3)
        words = (
            f"each of the {len(inside):,} classes, {', '.join(list(inside)[:3])}{', ...' * (len(inside) > 3)}, holds"
        )
        return f"{words} the folders {names}: if those are the classes, put them into train/ and test/"
    return ""


def of_folder(root: PathLike) -> Optional[Dict[str, Optional[int]]]:
    """{name of a folder in `root`: its place in a Split, or None if unused}; None if its folders are classes.

    Raises ValueError for split folders that are not complete, are there twice, or have other folders beside them.
    """
    tops = tree.subfolders(root)
    split = [name for name in tops if role(name)]
    beside = [name for name in tops if not role(name)]
    holds_classes = any(tree.subfolders(f"{root}/{name}") for name in split)
    if not split or (len({role(name) for name in split}) == 1 and not holds_classes):
        _refuse_lookalikes(root, tops)
        return None  # one folder "train" with pictures right in it is a class, as "bus" beside it
    listed = " and ".join(f"{name}/" for name in split)
    if beside:
        more = ", ".join(f"{name}/" for name in beside[:5]) + f" and {len(beside) - 5:,} more" * (len(beside) > 5)
        other = f"; if {split[0]}/ is a class, rename it" * (len(split) == 1)
        raise ValueError(
            f"{root} holds {listed}, which split it into parts, and beside them {more}: move {more} into the part that "
            f"it belongs to, or out of {root}{other}"
        )
    _refuse_incomplete(root, split, listed)
    return assign(split)


def _refuse_incomplete(root, split, listed):
    roles = {}
    for name in split:
        kind = "test" if role(name) == "query" else role(name)
        if kind in roles:
            raise ValueError(f"{root} holds {roles[kind]}/ and {name}/, which are the same part: merge the two folders")
        roles[kind] = name
    if "train" not in roles or len(roles) == 1 or set(roles) == {"train", "gallery"}:
        absent = "a folder to test on (test/ or val/)" if "train" in roles else "train/"
        classes = "" if len(roles) > 1 else f"; or name {root}/{split[0]}, to let its pictures be divided"
        raise ValueError(f"{root} holds {listed} and lacks {absent}: add the folder{classes}")


def _refuse_lookalikes(root, tops):
    """Raise ValueError for folders like train_images/ and testA/: if they are all, or if class folders are in them."""
    alike = {name: kind for name in tops for kind in [_role_in(name)] if kind}
    if len(alike) < len(tops):
        alike = {name: kind for name, kind in alike.items() if tree.subfolders(f"{root}/{name}")}
    if "train" in alike.values() and len(set(alike.values())) > 1:
        names = " and ".join(f"{name}/" for name in alike)
        right = " and ".join(f"{kind}/" for kind in dict.fromkeys(alike.values()))
        raise ValueError(
            f"{root} holds {names}, which look like parts of a split: rename them to {right}, with a folder for each "
            "class in each of them"
        )


def _role_in(name):
    """The role that a word of `name` has: train in seg_train, trainA, TrainSet, trainset and train2017; else None."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    return next((kind for kind in (role(re.sub(r"(set|data)$", "", word.lower())) for word in words) if kind), None)
