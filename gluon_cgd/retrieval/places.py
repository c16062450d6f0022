"""Pictures of an index as people know them: by their name, and their folder's path below the indexed one."""

import os
from typing import Dict, NamedTuple, Sequence


class Place(NamedTuple):
    """Where a picture is. folder: below the folder that was indexed, "." for that itself.  name: of its file."""

    folder: str
    name: str


def place_of(path: str, roots: Dict[str, str]) -> Place:
    """The Place of the picture `path`. roots: as `prefixes` returns them."""
    folder, name = os.path.split(path)
    return Place(folder_of(folder, roots), name)


def prefixes(roots: Sequence[str]) -> Dict[str, str]:
    """{indexed folder: how the names of the folders in it begin}: "" for a single one, else a name of its own."""
    if len(roots) == 1:
        return {roots[0]: ""}
    last = [os.path.basename(root) for root in roots]
    return {root: name if name and last.count(name) == 1 else root.strip("/") for root, name in zip(roots, last)}


def folder_of(folder: str, roots: Dict[str, str]) -> str:
    """How people know `folder`, an absolute path; one that is in no indexed folder keeps its whole path."""
    inside = [root for root in roots if folder == root or folder.startswith(os.path.join(root, ""))]
    if not inside:
        return folder
    root = max(inside, key=len)
    below = os.path.relpath(folder, root)
    return "/".join(part for part in (roots[root], "" if below == "." else below) if part) or "."


def is_sorted_into(folder: str, roots: Dict[str, str]) -> bool:
    """Whether `folder`, an absolute path, is below an indexed folder: then its name says what its pictures show."""
    return any(folder.startswith(os.path.join(root, "")) for root in roots)
