"""What the fields of an Experiment may hold: the check of a value's type, and the sentence that refuses it."""

import math
import re
from dataclasses import field
from numbers import Integral, Real
from typing import Any, Callable, Dict, Tuple

LIBRARIES = ("gluoncv", "gluoncv2", "onnx")  # whose networks can be named as a backbone: LIBRARY:NAME


def is_number(value: Any) -> bool:
    """Whether `value` is a number that a float holds: finite, and not a bool."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond 1e308
        return False


def is_whole(value: Any) -> bool:
    """Whether `value` is a whole number, and not a bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def shown(value: Any) -> str:
    """`value` as an error message shows it: as Python writes it, shortened if it is long."""
    try:
        written = repr(value)
    except (ValueError, RecursionError):  # Python refuses to write numbers of thousands of digits
        written = f"a {type(value).__name__} that is too long to show"
    return written if len(written) <= 120 else f"{written[:80]}... ({len(written):,} characters)"


TYPES: Dict[type, Tuple[str, Callable[[Any], bool]]] = {  # type of a field's default: what its values must be
    float: ("a finite number", is_number),
    int: ("a whole number", is_whole),
    bool: ("True or False", lambda value: isinstance(value, bool)),
    str: (
        "a word of at most 4096 characters",
        lambda value: isinstance(value, str) and len(value) <= 4096 and "\0" not in value,
    ),
    tuple: ("a list of finite numbers", lambda v: isinstance(v, (tuple, list)) and all(map(is_number, v))),
    type(None): ("True, False or None", lambda value: value is None or isinstance(value, bool)),
}


def choice(
    default: Any, meaning: str, holds: Callable[[Any], bool] = lambda value: True, rule: str = "", remedy: Any = ""
) -> Any:
    """A field: its default, its `meaning` for the command line's help, and what its values must obey.

    holds: whether a value obeys; rule, remedy: what the error says of one that does not (remedy: or what returns it).
    """
    return field(default=default, metadata={"meaning": meaning, "holds": holds, "rule": rule, "remedy": remedy})


def one_of(allowed: Callable[[], Tuple[str, ...]]) -> Tuple[Callable[[Any], bool], str, Callable[[], str]]:
    """The (holds, rule, remedy) of a field whose values are `allowed()`, asked at each check: users add some."""
    return lambda value: value in allowed(), "is unknown", lambda: f"choose one of {', '.join(allowed())}"


def refuse(name: str, value: Any, rule: str, remedy: str) -> None:
    """Raise ValueError for field `name`."""
    raise ValueError(f"{name} {shown(value)} {rule}: {remedy}")


def is_backbone(name: str) -> bool:
    """Whether `name` has the form of a backbone's: without a colon, or LIBRARY:NAME. Building it finds unknown ones."""
    library, colon, of_library = name.partition(":")
    plain = library == "onnx" or re.fullmatch(r"[\w.-]+", of_library) is not None
    return not colon or (library in LIBRARIES and of_library.strip() != "" and plain)


def word_of(backbone: str) -> str:
    """A backbone as a part of a file's name: "gluoncv2-densenet121", of onnx:folder/Net.onnx "onnx-Net"."""
    library, colon, name = backbone.partition(":")
    if library == "onnx":
        name = re.split(r"[/\\]", name)[-1]
        name = name[: -len(".onnx")] if name.endswith(".onnx") else name
    return f"{library}-{re.sub('[^A-Za-z0-9_.-]+', '-', name)[:60]}" if colon else backbone
