"""Text from outside in a Markdown document: names of classes and files, and what a result says, are shown unchanged.

Nothing of it becomes a tag, a link, a picture, a cell, or a command to a terminal that shows the file.
"""

import re
import shlex

from gluon_cgd.files.grid import escaped
from gluon_cgd.files.printable import printable

PLAIN = re.compile(r"[\w .,:;+/@%=()-]*")  # what a code span can hold without harm


class Markdown(str):
    """Text that is Markdown already; templates take it as it is."""

    def __html__(self):
        return self


def markdown(value):
    """`value` as Markdown that shows it, on one line, unless it is Markdown or safe already."""
    if hasattr(value, "__html__"):
        return value
    text = escaped(printable(value))
    text = text.replace(r"\<", "&lt;").replace(r"\>", "&gt;")  # also safe where a program reads it as HTML
    return Markdown(re.sub(r"(?<=\w)\\_(?=\w)", "_", text))  # in a word it begins nothing


def code(value):
    """`value` in a code span, or as text if it has characters that could end the span or the cell."""
    return Markdown(f"`{value}`") if PLAIN.fullmatch(str(value)) else markdown(value)


def shell(text):
    """`text` as a word of a command in a code block, quoted so that it has no line end, tag, or control character."""
    text = str(text)
    if text == printable(text) and not re.search("[<>`&]", text):
        return Markdown(shlex.quote(text))
    quoted = "".join(
        character
        if character == printable(character) and character not in "<>`&'\\"
        else "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
        for character in text
    )
    return Markdown(f"$'{quoted}'")
