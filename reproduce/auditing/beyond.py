"""The section of REPRODUCE.md on what is not in the paper, a second time: what helps and what does not."""

import numpy as np

from reproduce.auditing import effects
from reproduce.auditing.declared import DECLARED
from reproduce.auditing.plain import mean_seconds
from reproduce.auditing.samples import entries, markdown, shown

GROUPS = (
    ("holds", "Helps"),
    ("does not hold", "Harms"),
    ("undecided", "Neither is shown"),
    ("not run", "Not run"),
)


def part(tables, evidence):
    """The lines of the section. tables: as `declared.tables` gives them."""
    table = next(table for table in tables if table.name == "extensions")
    found = entries(table, evidence, True)
    by_row, claims = {entry.row.name: entry for entry in found}, effects.family(table, found)
    if {claim.outcome for claim in claims.values()} == {"not run"}:
        return ["Not run yet: `bash reproduce/extensions.sh --mini --seeds 10`."]
    lines = []
    for outcome, head in GROUPS:
        rows = [name + by(claim) for name, claim in claims.items() if claim.outcome == outcome]
        lines += [f"- **{head}**: {', '.join(rows)}."] if rows else []
    own = [name for name in by_row if name not in table.against]
    grid = [("", "against", "R@1", "difference (95 % interval)", "verdict", *(f"- {name}" for name in own))]
    grid[0] += ("parameters", "seconds a run")
    for name, entry in by_row.items():
        against, ours = table.against.get(name, "-"), effects.values(entry)
        cells = ["-", "-"]
        if name in claims:
            cells = [interval(ours, effects.values(by_row[against])), effects.verdict(claims[name])]
        cells += ["-" if name == other else apart(ours, effects.values(by_row[other])) for other in own]
        seconds = mean_seconds(evidence.get(entry.row.key))
        cells += [f"{parameters(entry.row.experiment):,}", "-" if seconds is None else f"{seconds:.0f}"]
        grid.append((name, against, shown(entry.ours.get("R@1")), *cells))
    return [*lines, "", f"{effects.correction(table, found)}.", "", *markdown(grid)]


def by(claim):
    """The difference of a row behind its name."""
    return "" if claim.difference is None else f" ({claim.difference:+.1f})"


def apart(own, other):
    """The mean difference at equal seeds."""
    pairs = sorted(set(own) & set(other))
    return f"{np.mean([own[seed] - other[seed] for seed in pairs]):+.1f}" if pairs else "-"


def interval(own, other):
    """That, with Student's interval where there are two pairs or more."""
    found = effects.effect(own, other)
    inside = found[found.index("interval ") + 9 : found.index(";")] if "interval " in found else ""
    return apart(own, other) + (f" ({inside})" if inside else "")


def parameters(experiment):
    """How many numbers training changes in a mini network, and its whitening learns: the parts of `DECLARED`, added."""
    sizes = DECLARED["mini parts"]
    channels, letters, dim = sizes["channels"], experiment["descriptors"], experiment["dim"]
    count = sizes["backbone"] + dim // len(letters) * len(letters) * channels  # FC layers without bias
    count += 2 * channels + sizes["classes"] * channels  # batch norm, classifier
    cosines = experiment["classification_loss"] in ("normalised_softmax", "cosface", "arcface")
    count += 0 if cosines else sizes["classes"]  # its bias
    count += sum({"P": 1, "Q": channels, "A": channels}.get(letter, 0) for letter in letters)
    count += sizes["classes"] * dim if experiment["loss"] == "proxy_anchor" else 0
    count += sizes[experiment["attention"]]
    axes = min(256, dim)
    return count + (dim + axes * dim + axes if experiment["whiten"] else 0)
