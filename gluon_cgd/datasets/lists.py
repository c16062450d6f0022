"""People's own pictures in a list: a file of comma-separated values, as spreadsheets on any system write it."""

import codecs
import csv
import io
import os
import re
from pathlib import Path, PurePosixPath
from typing import List, Tuple

from gluon_cgd.datasets import parts
from gluon_cgd.datasets.records import PathLike, join
from gluon_cgd.files.regular import TEXT, read_bytes

SUFFIXES = (".csv", ".tsv")
CORNERS = ("x1", "y1", "x2", "y2")
COLUMNS = {"path", "label", "split", *CORNERS}
MARKS = {  # UTF-32 begins like UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def is_list(name: PathLike) -> bool:
    """Whether `name` ends like a list of pictures: .csv or .tsv, in any case."""
    return str(name).lower().endswith(SUFFIXES)


def text_of(file: PathLike) -> str:
    """The text of `file`, UTF-8 or, as Windows programs write it, UTF-16. Raises UnicodeDecodeError for others."""
    data = read_bytes(file, TEXT)
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            return data.decode(encoding)
    if b"\0" in data[:2]:  # UTF-16 without a mark: our texts begin with an ASCII character
        return data.decode("utf-16-be" if data[:1] == b"\0" else "utf-16-le")
    return data.decode("utf-8-sig")


def pictures_of(file: Path) -> Tuple[List[tuple], bool]:
    """([(class name as written, path, box, `parts.role` or None), ...], whether there is a split column).

    Fields are separated by commas, semicolons or tabs; the header decides. Raises ValueError that names a wrong line.
    """
    pictures = []
    try:
        text = text_of(file)
        if "\0" in text:
            reason = "it holds zero bytes, as a spreadsheet program's own files do"
            raise ValueError(f"{file} is not text ({reason}): save it as CSV in UTF-8")
        told = re.match(r"sep=.\r?\n", text)  # a line for Excel
        text = text[told.end() :] if told else text
        columns, separator = _header(file, text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        next(reader)
        for values in filter(None, reader):
            line = reader.line_num + bool(told)
            if len(values) != len(columns):
                raise ValueError(f"{file} line {line} has another number of fields than the header: mend the line")
            pictures.append(_row(file, line, dict(zip(columns, values))))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not a CSV file in UTF-8 ({error}): save it as one") from error
    return pictures, "split" in columns


def _header(file, text):
    """(the names of the columns, the separator of fields)."""
    first = []
    for separator in ",;\t":
        names = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True), [])
        columns = [name.strip().lower() for name in names]
        complete = {"path", "label"} <= set(columns) <= COLUMNS and len(set(columns) & set(CORNERS)) in (0, 4)
        if complete and len(set(columns)) == len(columns):
            return columns, separator
        first.append(names)
    # The separator that the author had in mind is the one that makes the most columns
    names = ",".join(max(first, key=len))[:200]
    raise ValueError(f"{file} starts with {names!r}: its header must be path,label[,x1,y1,x2,y2][,split]")


def _row(file, line, row):
    """(class name, path, box, role) of one line of a list."""
    if not row["path"].strip() or not row["label"].strip():
        raise ValueError(f"{file} line {line} has no path or no label: mend the line")
    role = parts.role(row.get("split", ""))
    if "split" in row and not role:
        names = ", ".join(sorted(parts.ROLES))
        raise ValueError(f"{file} line {line} has split {row['split']!r}: it must be one of {names}")
    box = None
    if any(row.get(corner, "").strip() for corner in CORNERS):
        try:
            box = tuple(int(float(row[corner])) for corner in CORNERS)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{file} line {line} has a box that is not four numbers: mend the line") from error
    return row["label"], _path(file, line, row["path"]), box, role


def _path(file, line, path):
    if path != path.strip() and not os.path.lexists(os.path.join(file.parent, path)):
        path = path.strip()
    if os.path.isabs(path):
        return str(PurePosixPath(path))  # without doubled slashes and ".", as `join` writes them
    remedy = "write its whole path, which begins with /, or put the list above the pictures"
    return join(file.parent, path, f"{file} line {line}", remedy)
