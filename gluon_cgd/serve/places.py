"""The folders of an index as people know them: by their path below the folder that was indexed."""

import os

import numpy as np

from gluon_cgd.files.printable import printable
from gluon_cgd.retrieval.places import folder_of, prefixes


class Places:
    """Which folder each row of a snapshot is in.

    names: of the folders, each once, sorted.  numbers (N,): the place in `names` of each row's folder.
    A name is as `retrieval.places` says, without what cannot be shown.
    """

    def __init__(self, snapshot, before=None):
        first = before.count if before and before.goes_on_as(snapshot) else 0
        self._snapshot, self.count = snapshot, snapshot.count
        self._ids = dict(before._ids) if first else {}
        of_rows = (self._ids.setdefault(path.rpartition(b"/")[0], len(self._ids)) for path in snapshot.paths(first))
        added = np.fromiter(of_rows, np.int64)
        self._numbers = np.append(before._numbers, added) if first else added
        roots = prefixes(snapshot.manifest.get("folders") or [_shared([os.fsdecode(folder) for folder in self._ids])])
        names = [printable(folder_of(os.fsdecode(folder), roots).strip("/")) or "." for folder in self._ids]
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
