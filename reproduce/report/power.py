"""The chances of each table for the plan and REPRODUCE.md: with the paper's seeds, and with those that it needs."""

from gluon_cgd.files import grid
from reproduce.tables import TABLES
from reproduce.verdicts import power

HEAD = ("table", "seeds", "no trick works", "one trick does not", "as published", "printed numbers drawn too")


def as_markdown():
    """A line for each table and number of seeds: the chances that it is called reproduced."""
    lines = [HEAD]
    for table in TABLES.values():
        needed = power.recommended(table.name)
        for seeds, whose in ((table.seeds, "paper's"), (needed, "needed")):
            if seeds is None or (whose == "needed" and seeds == table.seeds):
                continue
            own = power.power(table.name, seeds)
            whose = "the paper's, enough" if needed == table.seeds else f"{whose}"
            lines.append((table.label, f"{seeds} ({whose})", *map(percent, own[1:])))
        if needed is None:
            lines.append((table.label, f"more than {power.TRIED} (needed)", "-", "-", "-", "-"))
    return grid.as_markdown(lines)


def plan_lines(tables):
    """The lines of `--plan`: how many seeds each of `tables` needs, and its chances; [] without such tables."""
    lines = [("", "seeds as in the paper", "a table as published passes", "seeds that it needs", "it passes")]
    for table in tables:
        if table.name in TABLES:
            needed = power.recommended(table.name)
            own = power.power(table.name, table.seeds)
            with_needed = percent(power.power(table.name, needed).perfect) if needed else "-"
            needs = str(needed or f"more than {power.TRIED}")
            lines.append((table.name, str(table.seeds), percent(own.perfect), needs, with_needed))
    if len(lines) == 1:
        return []
    foot = "A table in which no trick works passes in at most 5 % (REPRODUCE.md, 'What counts'). Choose --seeds before."
    return [*grid.as_text(lines), foot]


def percent(chance):
    """ "91 %"; below half a percent "< 1 %", and never more certain than "> 99 %"."""
    if chance < 0.005:
        return "< 1 %"
    return "> 99 %" if chance > 0.995 else f"{100 * chance:.0f} %"
