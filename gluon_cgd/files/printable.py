"""Text from outside, such as names of files, made safe to print on a terminal."""

import re

LINES = "\\t\\n"
# The other C0 and the C1 controls (an ESC begins commands to a terminal), line separators, signs that turn the
# direction of writing, invisible ones, and halves of characters: Python's form of bytes in a name that are not UTF-8
UNSAFE = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
)


def printable(text: object, lines: bool = False) -> str:
    """`text` with each character that is invisible or controls a terminal as its escape, ESC as \\x1b.

    lines: whether line ends and tabs are kept, as in a message of several lines.
    """
    return re.sub(f"[{UNSAFE}{'' if lines else LINES}]", lambda match: _escape(match[0]), str(text))


def _escape(character):
    if "\udc80" <= character <= "\udcff":  # a byte of a file's name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()
