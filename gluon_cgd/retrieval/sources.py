"""The pictures that an index is made of: those in a folder and its subfolders, or those that a list names.

A list is a .txt file with a path a line, of which one line at a time is read, or a .csv or .tsv file with the columns
path,label. Paths are relative to the list, or absolute.
"""

import os
from array import array
from pathlib import Path

import numpy as np

from gluon_cgd.datasets import folders, lists, tree
from gluon_cgd.files.regular import open_regular
from gluon_cgd.machine.progress import task
from gluon_cgd.retrieval.collection import key_of

LONGEST = 16_384  # bytes of a line; a path has 4,096 at most


def is_list(source):
    """Whether `source` is a list of pictures and not a folder."""
    return str(source).lower().endswith((".txt", *lists.SUFFIXES)) and not os.path.isdir(source)


def pictures_of(source, skip_bad=False, left_out=None):
    """Yield the absolute path of every picture in the folder or the list `source`, always in the same order.

    skip_bad, left_out: see `tree.walk`; of a list nothing is left out.
    """
    if is_list(source):
        return _in_text(source) if str(source).lower().endswith(".txt") else iter(_in_table(source))
    return tree.walk(os.path.abspath(source), left_out, skip_bad, "--skip-bad")


def check(source, flag="--images"):
    """Raise ValueError, naming the `flag`, unless `source` holds a picture, and if a list names one twice."""
    if not is_list(source):
        folders.check_pictures(source, flag)
        return
    keys = array("Q")
    with task("reading the list", None, "pictures") as doing:
        for path in pictures_of(source):
            keys.append(key_of(path))
            doing.update()
    if not keys:
        raise ValueError(f"{source} names no pictures: write one path a line into it")
    ordered = np.sort(np.frombuffer(keys, np.uint64))
    twice = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    seen = set()
    for path in pictures_of(source) if twice else ():
        if path in seen:
            raise ValueError(f"{source} names {path} twice: leave it in once")
        if key_of(path) in twice:
            seen.add(path)


def _in_text(file):
    """Yield the paths in a list that has one a line, in constant memory."""
    base = os.path.dirname(os.path.abspath(file))
    with open_regular(file) as lines:
        for number, line in enumerate(iter(lambda: lines.readline(LONGEST), b""), 1):
            if number == 1 and line.startswith(b"\xef\xbb\xbf"):
                line = line[3:]
            if b"\0" in line or len(line) == LONGEST:
                raise ValueError(f"{file} line {number} is no path (or no UTF-8): save it as a text of one path a line")
            line = line.rstrip(b"\r\n")
            if line.strip():
                yield os.path.normpath(os.path.join(base, os.fsdecode(line)))


def _in_table(file):
    """The paths in a list with columns."""
    rows, _ = lists.pictures_of(Path(file))
    if any(box for _, _, box, _ in rows):
        raise ValueError(f"{file} has boxes, and an index holds whole pictures: leave the columns x1,y1,x2,y2 out")
    base = os.getcwd()
    return [os.path.normpath(os.path.join(base, path)) for _, path, _, _ in rows]
