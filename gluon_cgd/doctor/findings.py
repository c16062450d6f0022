"""What a look at this machine found: lines, each with what to do where something is wrong, as text and for programs."""

from typing import NamedTuple

MARKS = {"ok": "ok", "info": "", "note": "note", "wrong": "WRONG"}


class Line(NamedTuple):
    """One thing looked at: its name, its state (a key of MARKS), what was found, and what to do about it.

    note: an optional thing is missing, or something works and could work better.  wrong: training needs it mended.
    """

    name: str
    state: str
    says: str
    remedy: str = ""


def ok(name, says):
    """A line for what is as it should be."""
    return Line(name, "ok", says)


def info(name, says):
    """A line for what is neither right nor wrong."""
    return Line(name, "info", says)


def note(name, says, remedy):
    """A line for what is optional, with what to do for those who want it."""
    return Line(name, "note", says, remedy)


def wrong(name, says, remedy):
    """A line for what training needs and does not find."""
    return Line(name, "wrong", says, remedy)


def looked(name, check, *arguments):
    """The lines of `check(*arguments)`; where it fails, one that says so: one broken thing must not hide the others."""
    try:
        return list(check(*arguments))
    except Exception as error:
        return [note(name, f"could not be looked at ({type(error).__name__}: {_short(error)})", "mend what is WRONG")]


def _short(error):
    return " ".join(str(error).split())[:200]


def ready(lines):
    """Whether nothing that training needs is wrong."""
    return all(line.state != "wrong" for line in lines)


def text(lines):
    """The report for people: a line each, and the sum at the end."""
    width = max(len(line.name) for line in lines)
    shown = [
        f"{MARKS[line.state]:5}  {line.name:{width}}  {line.says}{': ' * bool(line.remedy)}{line.remedy}"
        for line in lines
    ]
    bad = [line.name for line in lines if line.state == "wrong"]
    last = f"not ready, mend first: {', '.join(bad)}" if bad else "ready: everything that training needs is there"
    return "\n".join([*shown, last])


def as_dict(lines):
    """The same for programs: {"ready": ..., "lines": [{"name", "state", "says", "remedy"}, ...]}."""
    return {"ready": ready(lines), "lines": [dict(line._asdict()) for line in lines]}
