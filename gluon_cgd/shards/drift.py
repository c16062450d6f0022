"""What has changed in a folder or a list since its pictures were listed."""

import os
from typing import NamedTuple

import numpy as np

from gluon_cgd.machine.progress import task
from gluon_cgd.retrieval import collection, sources
from gluon_cgd.retrieval.finding import stamp_of


class Drift(NamedTuple):
    """Pictures that are new, that were replaced (size or time differ), and that are gone; first: the path of one."""

    added: int
    replaced: int
    gone: int
    first: str


def compare(snapshot, source, left_out=(), skip_bad=False):
    """The Drift of the folder or the list `source`, compared with an index of it.

    left_out: paths that the index lacks, as they cannot be read. It looks at each file.
    """
    finder, known = collection.Finder(snapshot), set(left_out)
    seen, added, replaced, first = np.zeros(snapshot.count, bool), 0, 0, ""
    with task("comparing with the files", len(snapshot), "img") as bar:
        for path in sources.pictures_of(source, skip_bad):
            row = finder.row(path)
            bar.update()
            if row < 0 and path in known:
                continue
            try:
                stat = os.stat(path)
            except OSError:
                continue  # a list names what is gone, too: it counts as that, if the index has it
            if row < 0:
                added += 1
                first = first or path
                continue
            seen[row] = True
            if finder.stamp(row) != stamp_of(stat):
                replaced += 1
                first = first or path
    missing = np.flatnonzero(snapshot.live & ~seen)
    if len(missing):
        first = first or snapshot.path(missing[0])
    return Drift(added, replaced, len(missing), first)
