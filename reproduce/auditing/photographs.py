"""The section of REPRODUCE.md on the small form of the tables: real photographs, a smaller pretrained network."""

from reproduce.auditing import blocks, claims
from reproduce.auditing.samples import entries

ON_PHOTOGRAPHS = (
    "Real photographs, half of CARS196, with SqueezeNet 1.1 at 128 pixels: [how it was chosen, before these "
    "runs](docs/real-photographs.md). Its orderings are those of this network on this half; only the paper's form is "
    "compared with the paper's numbers."
)


def section(small_tables, evidence):
    """The section of the small form: each table that has runs of all rows, as one family; Figure 3 if it has any.

    One empty line without any.
    small_tables: as `declared.small` gives them.
    """
    lines = []
    for table in small_tables:
        found = entries(table, evidence, True)
        recorded = [blocks.runs_in([entry]) > 0 for entry in found]
        if all(recorded) or (table.name == "figure3" and any(recorded)):
            title = f"### {table.label}, the small form. {table.title}"
            own = claims.of_table(table, found, True)
            lines += [f'<a id="{table.name}-small"></a>', "", title, "", *blocks.body(table, found, own, True), ""]
    return ["## The small form", "", ON_PHOTOGRAPHS, "", *lines[:-1]] if lines else [""]
