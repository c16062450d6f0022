"""Writes a table, published beside ours, as text, Markdown, JSON and a plot. Nothing here trains."""

from pathlib import Path

from gluon_cgd.files import grid
from gluon_cgd.files.whole import write_json, write_text
from reproduce.report import trained_by
from reproduce.report.comparison import TOLERANCE, doubtful, parts, table_verdict
from reproduce.report.data import as_data
from reproduce.report.plot import plot
from reproduce.tables import EVERYTHING, SCRATCH, SMALL_FORM, number
from reproduce.verdicts import effects, figure3, orderings
from reproduce.verdicts.care import is_rehearsal
from reproduce.verdicts.table import sentence as sentence_of_table
from reproduce.verdicts.verdict import WITHIN, sentence

DOUBT = "To be read with care (docs/training.md, 'When training makes it worse'):"


def difference(published, our):
    """ "+0.4": ours minus published, in points; "-" where one is missing."""
    return "-" if our is None or published is None else f"{our.mean - published.mean:+.1f}"


REHEARSAL = (
    "REHEARSAL, no result: made-up pictures, or made-up ImageNet parameters, took the place of the real ones, to see\n"
    "that everything runs. The numbers say nothing about the paper, and nothing is judged by them."
)


def header(table, small, which, rehearsal=False):
    """(title, note) of a table: what its numbers are, and what they can be compared with."""
    if rehearsal:
        return f"{table.label}, REHEARSAL. {table.title}. Recall@K in %.", REHEARSAL
    title = f"{table.label}. {table.title}. Recall@K in %."
    note = (
        f"'ours' is the {which} evaluation of each run. The verdict is 'within a point' if ours is shown to be less\n"
        f"than {TOLERANCE:g} point from the published number, 'higher' or 'lower' if it is shown to differ, else\n"
        "'undecided'. A table is reproduced when all its numbers are within a point and all its claims hold."
    )
    if not table.has_published:
        note = f"'ours' is the {which} evaluation of each run; the paper has no number of it."
    if small and table.form == SMALL_FORM:
        note = (
            f"'small' is the {which} evaluation of each run, 'untrained' the evaluation before training.\n"
            "SMALL: real photographs, half of CARS196, with a smaller pretrained network. Do not compare its numbers\n"
            "with the published ones; its orderings are those of this network on this half (docs/real-photographs.md)."
        )
    elif small:
        start = "from random parameters" if table.form == SCRATCH else "pretrained on other letters"
        note = (
            f"'mini' is the {which} evaluation of each run, 'untrained' the evaluation before training.\n"
            "MINI: a working model of the experiment, on the embedded benchmark (glyphs, 100 unseen letters) with a\n"
            f"small network {start}. Do not compare its numbers with the published ones, and\n"
            "take its orderings as no evidence for or against the paper's."
        )
        if table.name == "table7":
            note += "\nEach row trains a small network of the same family, with an eighth of the dimensions."
    return title, note


def grids(table, rows, small):
    """The table as lists of cells, its head first; one such table for each benchmark."""
    for columns, shown in parts(rows, small):
        form = "made up" if is_rehearsal(rows) else small and table.reduced
        body = [line for row in shown for line in row_lines(row, columns, form, table.has_published)]
        yield [[table.name.capitalize(), "", *columns], *body]


def row_lines(row, columns, reduced, has_published):
    """The lines of one row: published, and for rows of the paper's own method also ours and what to compare it with.

    reduced: what its form is called, "mini" or "small", or "made up" in a rehearsal; False for the paper's.
    has_published: whether its table has published numbers; else there is no line for them.
    """
    if has_published:
        yield [row.row, "published", *(number(row.published.get(c)) for c in columns)]
    name = "" if has_published else row.row
    if row.experiment and reduced:
        yield [name, reduced, *(number(row.ours.get(c)) for c in columns)]
        yield ["", "untrained", *(number(row.untrained.get(c)) for c in columns)]
    elif row.experiment:
        yield [name, "ours", *(number(row.ours.get(c)) for c in columns)]
    if row.experiment and has_published and not reduced:
        yield ["", "difference", *(difference(row.published.get(c), row.ours.get(c)) for c in columns)]
        yield ["", "verdict", *(row.verdicts[c].outcome if c in row.verdicts else "-" for c in columns)]


def apart(table, rows):
    """The verdict on the table, how many numbers are shown to be within the margin, and a line on each that is not."""
    verdicts = [
        (f"{row.row} {column}", verdict)
        for row in rows
        for column, verdict in row.verdicts.items()
        if verdict.outcome != "not run"
    ]
    lines = [f"{place}: {sentence(verdict)}; {verdict.how}" for place, verdict in verdicts if verdict.outcome != WITHIN]
    count = f"{len(verdicts) - len(lines)} of {len(verdicts)} published numbers are within a point of ours."
    if not verdicts or is_rehearsal(rows):
        return []
    return [sentence_of_table(table.label, table_verdict(table, rows)), count, *lines]


def as_text(table, rows, small, which):
    """The report of a table for a terminal."""
    text, made = [*header(table, small, which, is_rehearsal(rows))], trained_by.sentences(rows)
    made = ["", trained_by.HEAD, *made] if made else []
    if table.name == "figure3":
        return "\n".join([*text, figure3.as_text(rows, small), *([""] * bool(doubtful(rows))), *doubtful(rows), *made])
    for lines in grids(table, rows, small):
        text += ["", *grid.as_text(lines)]
    differing = apart(table, rows)
    if differing:
        text += ["", *differing]
    if doubtful(rows):
        text += ["", DOUBT, *doubtful(rows)]
    claims = claim_lines(table, rows, small)
    if claims:
        text += ["", *claims]
    if table.baseline:
        text += ["", *effects.sentences(table, rows)]
    return "\n".join(text + made)


def claim_lines(table, rows, small):
    """A heading and a line for each of the paper's orderings; [] of a table without one."""
    found = orderings.claims(table, rows, small)
    head = f"The paper's orderings, in our numbers ({orderings.correction(found)}):"
    return [head, *(claim.sentence() for claim in found)] if found else []


def body(table, rows, small):
    """The numbers of a table in Markdown, and below them the verdicts and orderings."""
    if table.name == "figure3":
        marks = [f"- {line}" for line in doubtful(rows)]
        return "\n".join(["```", figure3.as_text(rows, small).strip(), "```", *([""] * bool(marks)), *marks])
    text = []
    for lines in grids(table, rows, small):
        text += [grid.as_markdown(lines), ""]
    claims = claim_lines(table, rows, small)
    lines = (*apart(table, rows), *doubtful(rows), *claims, *effects.sentences(table, rows))
    return "\n".join(text + [f"- {line}" for line in lines])


def write(table, rows, small, which, runs):
    """Write the report under `runs`/reports as .md, .json and .png; returns the names of the files."""
    title, note = header(table, small, which, is_rehearsal(rows))
    made = [f"- {line}" for line in trained_by.sentences(rows)]
    text = "\n".join([f"# {title}", "", note, "", body(table, rows, small), *made]) + "\n"
    stem = write_files(table, rows, small, which, runs, text)
    plot(table, rows, small, f"{stem}.png")
    return f"{stem}.md, .json, .png"


def write_files(table, rows, small, which, runs, text):
    """Write the Markdown `text` and the JSON of `rows` under `runs`/reports; returns the files without their ending."""
    form = "rehearsal" if is_rehearsal(rows) else ""
    forms = dict.fromkeys([*[table.reduced] * small, table.form])  # "mini", "mini-from-scratch", "small"
    parts_of_name = [table.name, *filter(None, (*forms, form)), *["best"] * (which == "best")]
    stem = reports(runs) / "-".join(parts_of_name)
    write_text(f"{stem}.md", text)
    write_json(f"{stem}.json", as_data(table, rows, small))
    return stem


def listing():
    """All tables, and of each row how its experiment differs from the paper's defaults."""
    text = ["Each row shows how its experiment differs from the defaults of gluon_cgd.experiment.Experiment."]
    for table in EVERYTHING:
        text += ["", f"{table.name}: {table.title}"]
        for row in table.rows:
            shown = "published only"
            if row.experiment:
                changes = {"dataset": row.experiment.dataset, **row.experiment.changes()}
                shown = ", ".join(f"{name}={value!r}" for name, value in changes.items())
            text.append(f"  {row.name:24} {shown}")
    return "\n".join(text)


def reports(runs):
    """The folder of the reports; it is made if needed. Raises ValueError where that is not possible."""
    folder = Path(runs) / "reports"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--runs {runs} cannot hold reports ({error.strerror}): name a folder to write to") from error
    return folder
