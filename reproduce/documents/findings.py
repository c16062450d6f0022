"""The section of REPRODUCE.md on the findings of a student report, in the mini form: see `student`."""

from gluon_cgd.experiment import Experiment
from reproduce import recorded, student
from reproduce.report import comparison, formats
from reproduce.tables import UNPUBLISHED, Table

TITLE = "The findings of a student report, in the mini form"
WHICH = "last"  # evaluation that counts


def table():
    """The rows of the report's mini form with all recalls, and what they are to show: runs of it are recorded."""
    rows = [row._replace(published=UNPUBLISHED) for row in student.table(Experiment(), True).rows if row.mini]
    rows = [row for row in rows if row.name not in student.BACKBONES]  # SG 512 is one of these too
    return Table("report", TITLE, tuple(rows), (*student.FINDINGS, *student.PAIRS), judged=False)


def section():
    """The table and its claims from the recorded runs, as Markdown; what has not run says so."""
    found = table()
    rows = comparison.entries(found, recorded.read, True, WHICH, recorded.read_ranks)
    if not any(row.ours for row in rows):
        return "Not run yet: `bash reproduce/report.sh --mini --seeds 10`."
    text = student.of_report(formats.body(found, rows, True))
    return "\n".join([text, *(f"- {line}" for line in student.backbones_matter(found, rows))])
