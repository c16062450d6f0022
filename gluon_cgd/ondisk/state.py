"""What an engine on the disk consists of. state.json is replaced as a whole, and so says what counts of its files.

- trained-TOKEN.index: FAISS's own file of what was learned, sealed.
- codes-TOKEN.bin: of each row its cell and its code, in the order of the rows; it only grows.
- sums-TOKEN.bin: of each row the checksum of its vector, by which a vector is known again when rows were renumbered.
- lists-TOKEN.bin: the same codes by cell, as a search reads them. Made anew from the codes.
"""

import os
import secrets
import shutil
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional

from gluon_cgd.files.regular import read_json
from gluon_cgd.files.whole import write_json
from gluon_cgd.ondisk.choice import KINDS

NAME, FORMAT = "state.json", 1
LIMIT = 1 << 20  # bytes of state.json
SHARES = ("target", "recall", "recall_100")
COUNTS = ("generation", "numbers", "rows", "width", "lists", "dim", "crc")


class Lists(NamedTuple):
    """The file of the lists. rows: the first rows of the collection that it was made from, without the dead ones.

    dead: how many of the collection were dead then.  crc: of its bytes.
    """

    file: str
    rows: int
    dead: int
    size: int
    crc: int


class Tuned(NamedTuple):
    """How the lists are searched for up to 10 nearest, and for more, as for 100 nearest.

    probed: cells.  candidates: that are compared exactly.  target: the recall that was wanted.  recall: what `queries`
    held-out pictures reached when there were `rows` rows.
    """

    probed: int
    candidates: int
    recall: float
    probed_100: int
    candidates_100: int
    recall_100: float
    target: float
    queries: int
    rows: int


class Codes(NamedTuple):
    """The codes of an earlier state, whose `rows` have other numbers now. token, crc: as of the State."""

    token: str
    rows: int
    crc: int


class State(NamedTuple):
    """What counts.

    id, generation, numbers: of the collection, whose vectors have so many numbers.  token: in the names of the files of
    what was learned.  rows: that have a code.
    width: bytes of a row in the file of codes.  crc: of the codes.  lists, dim, kind: of the Shape.
    before: the Codes that are taken over, until all rows have a code.
    """

    id: str
    generation: int
    numbers: int
    kind: str
    token: str
    rows: int
    width: int
    lists: int
    dim: int
    crc: int
    merged: Optional[Lists] = None
    tuned: Optional[Tuned] = None
    before: Optional[Codes] = None


def folder_of(snapshot, kind: str) -> Path:
    """The folder of the engine `kind` of a collection."""
    return Path(snapshot.folder) / f"faiss-{kind}"


def new_token() -> str:
    """A name that no other file has."""
    return secrets.token_hex(8)


def trained_file(folder: Path, token: str) -> Path:
    """The file of what was learned."""
    return folder / f"trained-{token}.index"


def codes_file(folder: Path, token: str) -> Path:
    """The file of the codes."""
    return folder / f"codes-{token}.bin"


def sums_file(folder: Path, token: str) -> Path:
    """The file of the checksums of vectors."""
    return folder / f"sums-{token}.bin"


def unusable(folder: Path, problem: str) -> ValueError:
    """The error that says the `problem` of an engine in `folder`, and the remedy."""
    return ValueError(f"{problem}: delete {folder} and build it again")


def read_state(folder: Path) -> Optional[State]:
    """The State in `folder`, None without one. Raises ValueError for a damaged one."""
    file = folder / NAME
    if not os.path.lexists(file):
        return None
    try:
        values = read_json(file, LIMIT)
        if isinstance(values, dict):
            values.setdefault("before", None)  # earlier versions did not write it
        problem = _wrong(values)
        if problem:
            raise ValueError(problem)
        parts = {name: kind(**values[name]) for name, kind in PARTS.items() if values[name] is not None}
        return State(**{**{name: values[name] for name in State._fields}, **parts})
    except (ValueError, TypeError, OSError) as error:
        raise unusable(folder, f"{file} cannot be read ({error})") from error


def write_state(folder: Path, state: State) -> None:
    """Let `state` count."""
    parts = {name: value and value._asdict() for name, value in ((part, getattr(state, part)) for part in PARTS)}
    write_json(folder / NAME, dict(state._asdict(), **parts, format=FORMAT))


def delete_others(folder: Path, state: State) -> None:
    """Delete what does not belong to `state`: what killed processes and earlier states left. Call it with the lock."""
    kept = {NAME, "lock", *(place(folder, state.token).name for place in (trained_file, codes_file, sums_file))}
    if state.merged:
        kept.add(state.merged.file)
    for entry in folder.iterdir():
        if entry.name in kept:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


PARTS = dict(merged=Lists, tuned=Tuned, before=Codes)


def _wrong(values: Any) -> str:
    """What is wrong with what state.json says, in words; "" if nothing is."""
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        return "it is of another version"
    missing = [name for name in State._fields if name not in values]
    if missing:
        return f"{missing[0]} is missing"
    whole = [values[name] for name in COUNTS]
    for name, kind in PARTS.items():
        part: Dict[str, Any] = values[name] or {}
        if values[name] is not None and (not isinstance(part, dict) or set(part) != set(kind._fields)):
            return f"{name} is incomplete"
        whole += [value for key, value in part.items() if key not in ("file", "token", *SHARES)]
    if not all(type(value) is int and 0 <= value < 2**50 for value in whole):
        return "a count is none"
    names = [values["id"], values["token"], (values["before"] or values)["token"]]
    if not all(isinstance(name, str) and name.isalnum() and name.isascii() and len(name) <= 64 for name in names):
        return "a name is none"
    merged = values["merged"] or {}
    if values["kind"] not in KINDS or merged and Path(str(merged["file"])).name != merged["file"]:
        return "a name is none"
    tuned = values["tuned"] or {}
    if not all(isinstance(tuned.get(name, 0.5), (int, float)) for name in SHARES):
        return "a recall is none"
    return "" if min(values["lists"], values["width"], values["dim"]) > 0 else "a size is 0"
