"""The generated parts of README.md and REPRODUCE.md that say what the runs show."""

from collections import Counter

from reproduce.auditing import cells, claims, effects, figure3, queries, regime
from reproduce.auditing.samples import entries, markdown, parts, shown

DECIDED = ("holds", "does not hold")
PLURALS = (
    ("holds", "hold"),
    ("does not hold", "are opposite here"),
    ("undecided", "are undecided"),
    ("not run", "have not run"),
)


class Mini:
    """The mini form of all tables: entries and claims, as one family for each table and as one over all."""

    def __init__(self, tables, evidence):
        self.tables = tables
        self.entries = {table.name: entries(table, evidence, True) for table in tables}
        self.claims = {table.name: claims.of_table(table, self.entries[table.name], True) for table in tables}
        family = [(t.label, claim) for t in tables for claim in claims.alone(t, self.entries[t.name], True)]
        self.together = list(zip((label for label, _ in family), claims.corrected(family)))


def runs_in(found):
    """The number of distinct runs behind entries."""
    return sum({e.row.key: e.count() for e in found if e.row.experiment}.values())


def doubts(found):
    """{finding: {row: count}} of entries, in the order of the rows."""
    told = {}
    for entry in found:
        if entry.row.experiment:
            counts = Counter(name for run in entry.runs for name in regime.findings(entry.row.experiment, run))
            for name, count in counts.items():
                told.setdefault(name, {})[entry.row.name, entry.row.key] = count
    return told


def doubtful(found):
    """Sentences: which rows have runs that say little."""
    counts = {entry.row.name: entry.count() for entry in found}
    return [
        f"runs that {regime.predicate(name)}: "
        + ", ".join(f"{row} ({count} of {counts[row]})" for (row, _), count in rows.items())
        for name, rows in doubts(found).items()
    ]


def status(mini, paper):
    """A line a table. paper: {table: entries of the paper's form}."""
    here = ("runs of the mini form", "orderings in the mini form")
    grid = [("table", "runs as in the paper", "its numbers", "the table is", *here)]
    for table in mini.tables:
        real, small = paper[table.name], mini.entries[table.name]
        done, wanted = runs_in(real), len({e.row.key for e in real if e.row.experiment}) * table.seeds
        runs = f"{done} of {wanted}" if done else f"not run: `bash reproduce/{table.name}.sh`"
        verdicts = cells.of_table(table, real)
        outcomes = Counter(verdict.outcome for verdict in verdicts.values())
        names = (cells.WITHIN, "higher", "lower", "undecided", "not run")
        told = ", ".join(f"{outcomes[name]} {name}" for name in names if outcomes[name])
        told = told or ("a figure" if table.name == "figure3" else "none published")
        whole = cells.whole(table, real, verdicts, claims.of_table(table, real, False))
        whole, here = whole.outcome if whole else "-", "not run"
        if runs_in(small):
            totals = Counter()
            for name, rows in doubts(small).items():
                totals[name] = sum({key: count for (_, key), count in rows.items()}.values())
            here = f"{runs_in(small)}" + "".join(
                f", of which {count} {regime.predicate(name)}" for name, count in totals.items()
            )
        words = Counter(claim.word() for claim in mini.claims[table.name])
        plural = {"holds": "hold"}
        held = ", ".join(f"{count} {plural.get(word, word) if count > 1 else word}" for word, count in words.items())
        careful = with_care(mini.claims[table.name])
        held += f"; {careful} to be read with care" if careful else ""
        held = "see there" if table.name == "figure3" or table.baseline else held
        grid.append((f"[{table.label}](#{table.name})", runs, told, whole, here, held))
    return markdown(grid)


def with_care(found):
    """How many claims rest on runs that say little."""
    return sum(bool(claim.care) and claim.outcome not in (claims.NOT_RUN, claims.NO_MINI) for claim in found)


def claim_table(mini):
    """Every ordering with the published and our numbers."""
    verdict = "verdict on the mini form (Holm's correction over each table, 5 % on each side)"
    apart = "difference at the same queries in points (95 % CI over classes)"
    grid = [("", "the paper's ordering", "published", "mini form", verdict, apart)]
    for table in mini.tables:
        for claim in mini.claims[table.name]:
            printed = " / ".join(f"{cell.mean:.1f}" if cell else "-" for cell in claim.published)
            none = claim.outcome in (claims.NOT_RUN, claims.NO_MINI)
            ours = "" if none else " / ".join(map(shown, claim.sides)) + claim.unit
            by_query = " / ".join(map(queries.cell, claim.by_query)) or "-"
            grid.append((table.label, claim.name, printed, ours, claim.told(), by_query))
    return markdown(grid)


def counted(mini):
    """How many orderings the mini form shows."""
    found = [claim for _, claim in mini.together]
    counts = Counter(claim.outcome for claim in found)
    told = ", ".join(f"{counts[name]} {words}" for name, words in PLURALS if counts[name])
    without = counts[claims.NO_MINI]
    line = f"Of {len(found) - without} orderings that rendered letters can show: {told} ({claims.correction(found)})."
    if with_care(found):
        line += f" {with_care(found)} of them rest on runs that collapsed, got worse or never left the margin."
    return [line + (f" {without} more compare with earlier work and have no mini form." if without else "")]


def digest(mini):
    """That, and each ordering that is decided."""
    lines = [f"- {label}: {claim.sentence()}" for label, claim in mini.together if claim.outcome in DECIDED]
    return [*counted(mini), "", *lines, *figure3_claims(mini)]


def figure3_claims(mini):
    """The two claims of section 4.4.1."""
    lines = [
        line for values in figure3.panels(mini.entries["figure3"]).values() for line in figure3.sentences(values, True)
    ]
    doubts = regime.care(entry for entry in mini.entries["figure3"] if entry.row.experiment)
    lines += [f"Figure 3 is to be {doubts}"] if lines and doubts else []
    return [f"- {line}" for line in lines or ["not run: `bash reproduce/figure3.sh --mini`"]]


def tables(mini, paper):
    """Every table in both forms."""
    lines = []
    for table in mini.tables:
        lines += [f'<a id="{table.name}"></a>', "", f"### {table.label}. {table.title}", ""]
        for small, form in ((False, "As in the paper"), (True, "On the embedded benchmark")):
            found = mini.entries[table.name] if small else paper[table.name]
            if runs_in(found):
                own = mini.claims[table.name] if small else claims.of_table(table, found, False)
                lines += [f"{form}:", "", *body(table, found, own, small), ""]
            else:
                lines += [f"{form}: not run, `bash reproduce/{table.name}.sh{' --mini' if small else ''}`.", ""]
    return lines[:-1]


def body(table, found, own, small):
    """The numbers of a table and the sentences below."""
    if table.name == "figure3":
        marks = [f"- {line}" for line in doubtful(found)]
        return ["```", *figure3.lines(found, small), "```", *([""] if marks else []), *marks]
    lines = []
    for columns, some in parts(found, small):
        grid = [(table.name.capitalize(), "", *columns)]
        for entry in some:
            grid += row_lines(table, entry, columns, small, {} if small else cells.of_table(table, found))
        lines += [*markdown(grid), ""]
    verdicts = {} if small else cells.of_table(table, found)
    told = cells.told(verdicts)
    if told:
        told.insert(0, cells.whole(table, found, verdicts, own).sentence)
    told += doubtful(found)
    if own:
        told += [f"The paper's orderings, in our numbers ({claims.correction(own)}):"]
        told += [claim.sentence() for claim in own]
    return lines + [f"- {line}" for line in [*told, *effects.sentences(table, found)]]


def row_lines(table, entry, columns, small, verdicts):
    """The lines of one row. verdicts: of the numbers of the paper's form."""
    name = entry.row.name
    if table.has_published:
        yield (name, "published", *(shown(entry.row.published.get(column)) for column in columns))
        name = ""
    if entry.row.experiment:
        kinds = ((table.reduced, entry.ours), ("untrained", entry.untrained)) if small else (("ours", entry.ours),)
        for kind, samples in kinds:
            yield (name, kind, *(shown(samples.get(column)) for column in columns))
            name = ""
        if table.has_published and not small:
            yield ("", "difference", *(difference(entry, column) for column in columns))
            outcomes = [verdicts.get((entry.row.name, column)) for column in columns]
            yield (
                "",
                "verdict",
                *(
                    one.outcome if one and column in entry.row.published else "-"
                    for one, column in zip(outcomes, columns)
                ),
            )


def difference(entry, column):
    """Ours minus published, as it is printed."""
    if column not in entry.ours or column not in entry.row.published:
        return "-"
    return f"{entry.ours[column].middle - entry.row.published[column].mean:+.1f}"
