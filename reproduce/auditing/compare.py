"""A document's generated parts, line by line beside what they should be."""

import difflib
import re

from reproduce.auditing.evidence import Finding

MARK = re.compile(r"<!-- (end of )?(.+?) -->")


def blocks(text):
    """({name: (line of its first line, [line, ...])}, [(line, what is wrong)]) of the marked parts of a document."""
    found, wrong, name, start = {}, [], None, 0
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        mark = MARK.fullmatch(line.strip())
        if not mark:
            continue
        ends, marked = bool(mark[1]), mark[2]
        if ends and marked == name:
            found[name] = (start + 1, lines[start : number - 1])
            name = None
        elif ends or name or marked in found:
            wrong.append((number, f"the mark {line.strip()} does not belong here: each part begins and ends once"))
        else:
            name, start = marked, number
    if name:
        wrong.append((start, f"the part {name!r} has no end"))
    return found, wrong


def document(file, text, expected):
    """Findings: how the marked parts of `text` differ from `expected`, {name: [line, ...]}; all must be there.

    Instead of lines there can be a function, which gives them for the printed ones: of simulated numbers.
    """
    found, wrong = blocks(text)
    for line, what in wrong:
        yield Finding(file, line, what)
    for name in sorted(set(expected) - set(found)):
        yield Finding(file, 1, f"the part {name!r} is missing")
    for name in sorted(set(found) - set(expected)):
        yield Finding(file, found[name][0], f"the audit does not know how to recompute the part {name!r}")
    for name in expected:
        if name in found:
            start, lines = found[name]
            right = expected[name](lines) if callable(expected[name]) else expected[name]
            yield from differences(file, start, lines, right)


def differences(file, start, lines, expected):
    """Findings: where `lines`, the first of which has the number `start`, are not the `expected` ones."""
    matcher = difflib.SequenceMatcher(None, lines, expected, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            continue
        for offset in range(max(b - a, d - c)):
            printed = lines[a + offset] if a + offset < b else None
            right = expected[c + offset] if c + offset < d else None
            yield Finding(file, start + min(a + offset, max(b - 1, a)), sentence(printed, right))


def sentence(printed, right):
    """What is wrong with a line: only the part that differs of a line that is nearly right."""
    if printed is None:
        return f"here should be the line {short(right)}"
    if right is None:
        return f"the line {short(printed)} should not be here"
    if printed.startswith("| ") and right.startswith("| "):
        cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in (printed, right)]
        if len(cells[0]) == len(cells[1]):
            pairs = [(a.strip(), b.strip()) for a, b in zip(*cells) if a != b]
            told = "; ".join(f"printed is {short(a)}, it should be {short(b)}" for a, b in pairs)
            name = cells[1][0].strip()
            return f"{name}: {told}" if name else told
    return f"printed is {short(printed)}, it should be {short(right)}"


def short(text):
    """`text` in quotes, and no more of it than a reader needs."""
    return repr(text if len(text) <= 300 else f"{text[:297]}...")
