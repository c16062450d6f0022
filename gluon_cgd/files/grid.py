"""Tables as text, for terminals and documents. A grid is a list of rows of cells; the first row is the head."""

import re


def as_text(grid):
    """The lines of `grid` for a terminal; every column is as wide as its widest cell."""
    widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in grid]


def as_markdown(grid):
    """`grid` as a Markdown table; a | in a cell is escaped unless it already is."""
    head, *body = [[re.sub(r"(?<!\\)\|", r"\\|", str(cell)) for cell in line] for line in grid]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *body))


def escaped(text):
    """`text` on one line, escaped so that Markdown shows it unchanged."""
    printable = "".join(c if c.isprintable() else " " for c in str(text))
    return re.sub(r"([\\`*_\[\]<>|#~&$])", r"\\\1", printable)
