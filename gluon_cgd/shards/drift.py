"""What has changed in a folder or a list since its pictures were listed."""

import os
from typing import NamedTuple

import numpy as np

from gluon_cgd.machine.progress import task
from gluon_cgd.retrieval import collection, sources


class Drift(NamedTuple):
    """Pictures that are new, that were replaced (size or time differ), and that are gone; first: the path of one."""

    added: int
    replaced: int
    gone: int
    first: str


def compare(snapshot, source, left_out=(), skip_bad=False):
    """The Drift of the folder or the list `source`, compared with an index of it.

    left_out: paths that the index lacks, though they were listed. It looks at each file.
    """
    finder, known = collection.Finder(snapshot), set(left_out)
    seen, added, replaced, first = np.zeros(snapshot.count, bool), 0, 0, ""
    with task("comparing with the files", len(snapshot), "img") as bar:
        for path in sources.pictures_of(source, skip_bad):
            row = finder.row(path)
            bar.update()
            if row < 0:
                added += path not in known
                first = first or path * (path not in known)
                continue
            try:
                stat = os.stat(path)
            except OSError:
                continue  # a list names what is gone, too: it counts as that
            seen[row] = True
            if finder.stamp(row) != (stat.st_size, stat.st_mtime_ns):
                replaced += 1
                first = first or path
    missing = np.flatnonzero(snapshot.live & ~seen)
    if len(missing):
        first = first or snapshot.path(missing[0])
    return Drift(added, replaced, len(missing), first)
