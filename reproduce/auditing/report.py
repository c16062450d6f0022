"""The section of REPRODUCE.md on the findings of a student report, a second time."""

from reproduce.auditing import blocks, claims, declared
from reproduce.auditing.samples import entries

PAIRS = 3  # of networks: the last claims


def part(evidence):
    """The lines of the section."""
    table = declared.report()
    found = entries(table, evidence, True)
    if not blocks.runs_in(found):
        return ["Not run yet: `bash reproduce/report.sh --mini --seeds 10`."]
    own = claims.of_table(table, found, True)
    lines = [
        line.replace("The paper's orderings", "The report's findings").replace("in the paper's", "in the report's")
        for line in blocks.body(table, found, own, True)
    ]
    differ = sum(claim.outcome in ("holds", "does not hold") for claim in own[-PAIRS:])
    told = f"{differ} of {PAIRS} pairs of small networks differ (the report has no order of these)"
    return [*lines, f"- The backbone matters: {told}"]
