"""Tables of text, for a terminal and for documents: a grid is lines of cells, its head first."""

import re


def as_text(grid):
    """The lines of a terminal's table: every column as wide as its widest cell."""
    widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in grid]


def as_markdown(grid):
    """The same as Markdown. A | in a cell is escaped where it is not yet."""
    head, *body = [[re.sub(r"(?<!\\)\|", r"\\|", str(cell)) for cell in line] for line in grid]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *body))


def escaped(text):
    """`text` so that Markdown shows it as it is, on one line."""
    printable = "".join(c if c.isprintable() else " " for c in str(text))
    return re.sub(r"([\\`*_\[\]<>|#~&$])", r"\\\1", printable)
