"""The folders of an index as people know them: by their path below the folder that was indexed."""

import os

import numpy as np

from gluon_cgd.files.printable import printable


class Places:
    """Which folder each row of a snapshot is in.

    names: of the folders, each once, sorted.  numbers (N,): the place in `names` of each row's folder.
    A name is the path below the indexed folder, "." for that folder itself; with several indexed folders it begins
    with the name of the one it is in.
    """

    def __init__(self, snapshot, before=None):
        first = before.count if before and before.goes_on_as(snapshot) else 0
        self._snapshot, self.count = snapshot, snapshot.count
        self._ids = dict(before._ids) if first else {}
        of_rows = [self._ids.setdefault(path.rpartition(b"/")[0], len(self._ids)) for path in snapshot.paths(first)]
        self._numbers = np.append(before._numbers if first else np.empty(0, np.int64), of_rows).astype(np.int64)
        roots = prefixes(snapshot.manifest.get("folders") or [_shared([os.fsdecode(folder) for folder in self._ids])])
        names = [name_of(os.fsdecode(folder), roots) for folder in self._ids]
        self.names = sorted(set(names))
        place = {name: number for number, name in enumerate(self.names)}
        self.numbers = np.array([place[name] for name in names], np.int64)[self._numbers]

    def goes_on_as(self, snapshot):
        """Whether the rows of `snapshot` begin with those that are known here."""
        old, new = self._snapshot.manifest, snapshot.manifest
        return all(old[key] == new[key] for key in ("id", "generation")) and self.count <= snapshot.count

    def name(self, row):
        """The name of the folder of `row`."""
        return self.names[self.numbers[row]]

    def inside(self, folder):
        """bool (N,): which rows are in `folder`, a name, or below it. Raises KeyError for one that is not there."""
        wanted = [name == folder or name.startswith(f"{folder}/") for name in self.names]
        if not any(wanted):
            raise KeyError(folder)
        return np.array(wanted)[self.numbers]

    def counted(self, live):
        """[(name, how many of the rows `live` are in it)], with every folder that only holds folders, sorted."""
        counts = {}
        for name, count in zip(self.names, np.bincount(self.numbers[live], minlength=len(self.names)).tolist()):
            parts = name.split("/")
            for end in range(1, len(parts) + 1) if count else ():
                above = "/".join(parts[:end])
                counts[above] = counts.get(above, 0) + count
        return sorted(counts.items())


def _shared(folders):
    """The deepest folder that all of `folders` are in."""
    return os.path.commonpath(folders) if folders else "/"


def prefixes(roots):
    """{indexed folder: how the names of the folders in it begin}: "" for a single one, else a name of its own."""
    if len(roots) == 1:
        return {roots[0]: ""}
    short = {root: os.path.basename(root) for root in roots}
    return {
        root: name if name and list(short.values()).count(name) == 1 else root.strip("/")
        for root, name in short.items()
    }


def name_of(folder, roots):
    """How people know `folder`, an absolute path. roots: as `prefixes` returns them."""
    inside = [root for root in roots if folder == root or folder.startswith(os.path.join(root, ""))]
    if not inside:
        return printable(folder.strip("/")) or "."
    root = max(inside, key=len)
    below = os.path.relpath(folder, root)
    parts = [part for part in (roots[root], "" if below == "." else below) if part]
    return printable("/".join(parts)) or "."
