"""The section of REPRODUCE.md on what is not in the paper: what helps and what does not, from the recorded runs."""

from gluon_cgd.files.grid import as_markdown
from reproduce import recorded
from reproduce.documents import summary
from reproduce.tables import EXTENSIONS, number
from reproduce.training import costs
from reproduce.verdicts import effects

COMMAND = "`bash reproduce/extensions.sh --mini --seeds 10`"
GROUPS = {  # what an Ordering of `effects.judged` says of a row -> how the section begins the list of such rows
    "holds": "Helps",
    "does not hold": "Harms",
    "undecided": "Neither is shown",
    "not run": "Not run",
}
HEAD = ("", "against", "R@1", "difference (95 % interval)", "verdict")
COSTS = ("parameters", "seconds a run")


def as_markdown_text():
    """What helps, what harms and what is undecided; then a line for each row of the table, with its costs.

    The parameters are those of the mini form, whose network has been run; seconds are those of the recorded runs, some
    of which were made while others ran.
    """
    rows = {row.row: row for row in summary.entries(EXTENSIONS.name, True)}
    found, told = effects.judged(EXTENSIONS, list(rows.values())), {}
    if all(ordering.outcome == "not run" for ordering in found.values()):
        return f"Not run yet: {COMMAND}."
    for name, ordering in found.items():
        apart = "" if ordering.difference is None else f" ({ordering.difference:+.1f})"
        told.setdefault(ordering.outcome, []).append(f"{name}{apart}")
    lines = [f"- **{head}**: {', '.join(told[outcome])}." for outcome, head in GROUPS.items() if outcome in told]
    singles = [row.name for row in EXTENSIONS.rows if not row.against]
    grid = [(*HEAD, *(f"- {name}" for name in singles), *COSTS)]
    for row in EXTENSIONS.rows:
        grid.append(line(row, rows, found.get(row.name), singles))
    return "\n".join([*lines, "", f"{effects.correction(found)}.", "", as_markdown(grid)])


def line(row, rows, ordering, singles):
    """The cells of a `row`. rows: {name: its entry}.  ordering: of `effects.judged`, None for a row of the paper."""
    entry, ours = rows[row.name], effects.by_seed(rows[row.name].ours.get("R@1"))
    cells = [row.name, row.against or "-", number(entry.ours.get("R@1"))]
    if ordering is None:
        cells += ["-", "-"]
    else:
        pair = effects.by_seed(rows[row.against].ours.get("R@1"))
        cells += [effects.interval(ours, pair), effects.outcome(ordering)]
    for name in singles:
        cells.append(effects.apart(ours, effects.by_seed(rows[name].ours.get("R@1"))) if name != row.name else "-")
    seconds = recorded.seconds(entry.experiment)
    return (*cells, f"{costs.parameters(entry.experiment):,}", "-" if seconds is None else f"{seconds:.0f}")
