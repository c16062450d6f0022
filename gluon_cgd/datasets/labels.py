"""Names of classes as people write them: blanks around them are dropped, and names that look alike are refused."""

import unicodedata
from typing import Dict, Iterable, List, Tuple

from gluon_cgd.datasets.records import PathLike


def canonical(name: str) -> str:
    """`name` without blanks around it, accents in one character each (Unicode's form NFC)."""
    return unicodedata.normalize("NFC", name.strip())


def numbered(names: Iterable[str], source: PathLike) -> Tuple[List[str], Dict[str, str], List[str]]:
    """(the names of the classes, in order of their labels; {name as written: name of its class}; notes).

    Classes are in the order of the names as they are written in `source`, which are ordered by their characters. Names
    that differ only in blanks around them are one class, which a note says. Raises ValueError for an empty name, and
    for two names that differ only in case, in the form of their characters or in blanks: they would be two classes.
    """
    written = sorted(set(names))
    classes = {name: canonical(name) for name in written}
    notes: List[str] = []
    first: Dict[str, str] = {}  # what remains of a name -> the first name as written
    for name in written:
        if not classes[name]:
            raise ValueError(f"{source} has a class whose name is {name!r}: give it a name")
        other = first.setdefault(_alike(name), name)
        if other.strip() != name.strip():
            both, differ = f"{ascii(other)} and {ascii(name)}", _difference(other, name)
            remedy = "rename one if they are two classes, else merge them"
            raise ValueError(f"{source} has the classes {both}, which differ only in {differ}: {remedy}")
        if other != name:
            notes.append(f"{other!r} and {name!r} are one class, {classes[name]}")
    return list(dict.fromkeys(classes.values())), classes, notes


def _alike(name):
    """`name` without what a reader may overlook: case, kind of blanks, invisible characters, Unicode's forms."""
    shown = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFKC", " ".join(shown.split()).casefold())


def _difference(one, other):
    if canonical(one) == canonical(other):
        return "the form of their characters (Unicode)"
    return "case" if canonical(one).casefold() == canonical(other).casefold() else "their blanks or special characters"
