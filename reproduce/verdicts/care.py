"""Orderings and effects that rest on runs that say little: that collapsed, got worse, or never left their margin."""

from gluon_cgd.files import stand_in
from gluon_cgd.runs import regime

WORDS = {  # of the findings that count, see `runs.findings`; a run that left late has still learned by its ranking loss
    "worse than untrained": "worse than untrained",
    "collapsed to nearly one point": "collapsed",
    "perhaps collapsed (the ranking loss ended at its margin)": "perhaps collapsed",
    regime.NEVER: "never off the margin",
}


def is_rehearsal(rows):
    """Whether a run of `rows` learned from made-up pictures, or from made-up parameters: then nothing is judged."""
    return any(stand_in.FINDING in row.findings for row in rows)


def care(rows):
    """ "read with care: Rank (10 of 10 collapsed)": which of `rows`, the sides of an ordering, have such runs.

    "" if none has. rows: `comparison.Entry`s; each is named once.
    """
    told = []
    for row in {row.row: row for row in rows}.values():
        found = [f"{row.findings[name]} of {row.runs()} {word}" for name, word in WORDS.items() if name in row.findings]
        if found:
            told.append(f"{row.row} ({', '.join(found)})")
    return f"read with care: {'; '.join(told)}" if told else ""
