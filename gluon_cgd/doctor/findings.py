"""The lines of the doctor's report: what was checked, its state, and the remedy; as text and for programs."""

from functools import partial
from typing import NamedTuple

MARKS = {"ok": "ok", "info": "", "note": "note", "wrong": "WRONG"}


class Line(NamedTuple):
    """One check: its state (a key of MARKS), its name, its result in words, and what to do about it.

    ok: as it should be.  info: neither right nor wrong.  note: an optional thing is missing, or something works but
    could work better.  wrong: training needs it and does not find it.
    """

    state: str
    name: str
    says: str
    remedy: str = ""


ok, info, note, wrong = (partial(Line, state) for state in MARKS)


def run_check(name, check, *arguments):
    """The lines of `check(*arguments)`; if it raises, a line that says so, so that the other checks still run."""
    try:
        return list(check(*arguments))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        return [note(name, f"could not be checked ({type(error).__name__}: {reason})", "fix what is WRONG")]


def ready(lines):
    """Whether no line is wrong, so that training can start."""
    return all(line.state != "wrong" for line in lines)


def text(lines):
    """The report for people: the lines, then whether the machine is ready."""
    width = max(len(line.name) for line in lines)
    shown = [
        f"{MARKS[line.state]:5}  {line.name:{width}}  {line.says}{': ' * bool(line.remedy)}{line.remedy}"
        for line in lines
    ]
    bad = [line.name for line in lines if line.state == "wrong"]
    last = f"not ready, fix first: {', '.join(bad)}" if bad else "ready: everything that training needs is there"
    return "\n".join([*shown, last])


def as_dict(lines):
    """The same for programs: {"ready": ..., "lines": [{"state", "name", "says", "remedy"}, ...]}."""
    return {"ready": ready(lines), "lines": [line._asdict() for line in lines]}
