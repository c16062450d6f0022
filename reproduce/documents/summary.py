"""What the recorded runs say, for the documents: the state of every table, its numbers, its claims, what it costs."""

import functools
import math
from collections import Counter

from gluon_cgd.files.grid import as_markdown
from gluon_cgd.runs import findings
from reproduce import recorded
from reproduce.documents import findings as findings_of_report
from reproduce.report import comparison, formats, trained_by
from reproduce.small import small_table, small_tables
from reproduce.tables import EVERYTHING, FIGURE3, SMALL_FORM, number
from reproduce.training import plan
from reproduce.training.costs import known, total
from reproduce.verdicts import figure3 as figure3_verdicts
from reproduce.verdicts import orderings, queries
from reproduce.verdicts.care import care

WHICH = "last"  # evaluation that counts
OUTCOMES = ("within a point", "higher", "lower", "undecided")
ON_PHOTOGRAPHS = (
    "Real photographs, half of CARS196, with SqueezeNet 1.1 at 128 pixels: [how it was chosen, before these "
    "runs](docs/real-photographs.md). Its orderings are those of this network on this half; only the paper's form is "
    "compared with the paper's numbers."
)
PLURALS = {
    "holds": "hold",
    "does not hold": "are opposite here",
    "undecided": "are undecided",
    "not run": "have not run",
}


@functools.lru_cache(maxsize=None)
def entries(name, form):
    """The entries of table or figure `name` from the recorded runs. form: True mini, False the paper's, or "small"."""
    table = {table.name: table for table in EVERYTHING}[name]
    table = small_table(table) if form == SMALL_FORM else table
    return comparison.entries(table, recorded.read, bool(form), WHICH, recorded.read_ranks)


def ordering_claims(table):
    """The orderings that the paper's numbers in `table` show, tested on the mini form."""
    return orderings.claims(table, entries(table.name, True), True)


def runs_in(rows):
    """The number of recorded runs behind the entries `rows`; rows of one experiment share their runs."""
    return sum({row.experiment: row.runs() for row in rows if row.experiment}.values())


def doubts_in(rows):
    """ ", of which 21 are worse than untrained": what is wrong with recorded runs behind the entries `rows`."""
    counts = Counter()
    for found in {row.experiment: row.findings for row in rows if row.experiment}.values():
        counts.update(found)
    return "".join(f", of which {count} {findings.predicate(finding)}" for finding, count in counts.items())


def wanted(tables, small, seeds=None):
    """The distinct runs behind `tables`, in the mini form where `small`."""
    return plan.wanted(tables, seeds, small, recorded.FOLDER)


def status():
    """A line a table: recorded runs of the paper's form and of the mini form, and what they say."""
    mini = ("runs of the mini form", "orderings in the mini form")
    lines = [("table", "runs as in the paper", "its numbers", "the table is", *mini)]
    for table in EVERYTHING:
        real, small = entries(table.name, False), entries(table.name, True)
        outcomes = Counter(verdict.outcome for row in real for verdict in row.verdicts.values())
        counts = [f"{outcomes[name]} {name}" for name in (*OUTCOMES, "not run") if outcomes[name]]
        numbers = ", ".join(counts) or ("a figure" if table is FIGURE3 else "none published")
        done = runs_in(real)
        runs = f"{done} of {len(wanted([table], False))}" if done else f"not run: `bash reproduce/{table.name}.sh`"
        held = "see there" if table.name == FIGURE3.name or table.baseline else outcomes_of(table)
        minis = f"{runs_in(small)}{doubts_in(small)}" if runs_in(small) else "not run"
        verdict = comparison.table_verdict(table, real)
        outcome = verdict.outcome if verdict else "-"
        lines.append((f"[{table.label}](#{table.name})", runs, numbers, outcome, minis, held))
    return as_markdown(lines)


def outcomes_of(table):
    """How many of the orderings hold in the mini form: "1 holds, 3 undecided"."""
    told = orderings.counted(ordering_claims(table))
    careful = with_care(ordering_claims(table))
    return f"{told}; {careful} to be read with care" if careful else told


def with_care(found):
    """How many of the claims `found` are decided, or not, by runs that say little: they are marked where they stand."""
    return sum(bool(claim.care) and claim.ordering.outcome not in ("not run", "no mini form") for claim in found)


def claims():
    """Every ordering that the paper's numbers show: published, ours of the mini form, and whether it holds there."""
    verdict = "verdict on the mini form (Holm's correction over each table, 5 % on each side)"
    apart = "difference at the same queries in points (95 % CI over classes)"
    lines = [("", "the paper's ordering", "published", "mini form", verdict, apart)]
    for table in EVERYTHING:
        for claim in ordering_claims(table):
            printed = " / ".join(f"{cell.mean:.1f}" if cell else "-" for cell in claim.published)
            none = claim.ordering.outcome in ("not run", "no mini form")
            ours = "" if none else " / ".join(map(number, claim.sides)) + claim.unit
            compared = " / ".join(map(queries.cell, claim.by_query)) or "-"
            lines.append((table.label, claim.name, printed, ours, claim.outcome(), compared))
    return as_markdown(lines)


@functools.lru_cache(maxsize=None)
def everything_tested():
    """[(title, claim), ...] of everything in the mini form, as one family: p are corrected over all of them."""
    found = orderings.together([(table, entries(table.name, True)) for table in EVERYTHING], True)
    return [(table.label, claim) for table in EVERYTHING for claim in found[table.name]]


def counted():
    """Sentences: how many of the paper's orderings the mini form shows, and with which correction."""
    claims = [claim for _, claim in everything_tested()]
    counts = Counter(claim.ordering.outcome for claim in claims)
    outcomes = ", ".join(f"{counts[name]} {words}" for name, words in PLURALS.items() if counts[name])
    without = counts["no mini form"]
    text = f"Of {len(claims) - without} orderings that rendered letters can show: {outcomes}"
    text += f" ({orderings.correction(claims)})."
    if with_care(claims):
        text += f" {with_care(claims)} of them rest on runs that collapsed, got worse or never left the margin."
    return text + (f" {without} more compare with earlier work and have no mini form." if without else "")


def digest():
    """Those sentences, and each ordering that is decided."""
    decided = ("holds", "does not hold")
    lines = [
        f"- {name}: {claim.sentence()}" for name, claim in everything_tested() if claim.ordering.outcome in decided
    ]
    return "\n".join([counted(), "", *lines, figure3()])


def figure3():
    """The two claims of section 4.4.1 on the embedded benchmark."""
    panels = figure3_verdicts.by_seed(entries("figure3", True)).values()
    lines = [line for results in panels for line in figure3_verdicts.sentences(results, True)]
    doubts = care(row for row in entries("figure3", True) if row.experiment)
    lines += [f"Figure 3 is to be {doubts}"] if lines and doubts else []
    return "\n".join(f"- {line}" for line in lines or ["not run: `bash reproduce/figure3.sh --mini`"])


def tables():
    """Every table in its mini form, and in the paper's as far as it has run."""
    text = []
    for table in EVERYTHING:
        text += [f'<a id="{table.name}"></a>', "", f"### {table.label}. {table.title}", ""]
        for small, form in ((False, "As in the paper"), (True, "On the embedded benchmark")):
            rows = entries(table.name, small)
            if runs_in(rows):
                text += [f"{form}:", "", formats.body(table, rows, small), ""]
            else:
                text += [f"{form}: not run, `bash reproduce/{table.name}.sh{' --mini' * small}`.", ""]
    return "\n".join(text).strip()


def photographs():
    """The section of the small form: each table that is recorded whole, and Figure 3, which says what is missing.

    "" without any.
    """
    text = []
    for table in small_tables(EVERYTHING):
        rows = entries(table.name, SMALL_FORM)
        if all(row.ours for row in rows) or (table.name == FIGURE3.name and runs_in(rows)):
            title = f'<a id="{table.name}-small"></a>', "", f"### {table.label}, the small form. {table.title}", ""
            text += [*title, formats.body(table, rows, True), ""]
    return "\n".join(["## The small form", "", ON_PHOTOGRAPHS, "", *text]).strip() if text else ""


def costs():
    """A line a script: its runs, and how long they take on each machine that was measured."""
    machines = known(recorded.FOLDER)
    lines = [("command", "runs", *(f"hours on {name}" for name in machines), "`--mini`: runs", "minutes, as recorded")]
    for table in EVERYTHING:
        real, small = wanted([table], False), wanted([table], True)
        seconds = [total(real, measured) for measured in machines.values()]
        hours = ["-" if each is None else f"{each / 3600:,.0f}" for each in seconds]
        minutes = recorded_minutes(small)
        minutes = "-" if minutes is None else math.ceil(minutes)
        lines.append((f"`bash reproduce/{table.name}.sh`", len(real), *hours, len(small), minutes))
    return as_markdown(lines)


def recorded_minutes(runs, at_once=2):
    """What `runs`, [plan.Wanted, ...], took as recorded, `at_once` at a time; None where one was not recorded."""
    seconds = [recorded.seconds(run.experiment) for run in runs]
    return None if None in seconds else sum(seconds) / at_once / 60


def origins():
    """Where the recorded runs were made."""
    groups = {}
    minis = (*EVERYTHING, findings_of_report.table())
    for tables, small in ((EVERYTHING, False), (minis, True), (small_tables(EVERYTHING), True)):
        for run in (run for each in wanted(tables, small, seeds=1) for run in recorded.read(each.experiment)):
            origin = (run.get("machine"), run.get("threads"), trained_by.versions(run), run.get("commit"))
            groups.setdefault(origin, []).append(run.get("seconds", 0))
    lines = [("runs", "machine", "threads a run", "Python, MXNet, NumPy", "commit", "hours of training")]
    for (machine, threads, versions, commit), seconds in groups.items():
        lines.append((len(seconds), machine, threads, versions, f"`{str(commit)[:10]}`", f"{sum(seconds) / 3600:.1f}"))
    return as_markdown(lines)


def whole(minutes):
    """`minutes` as a whole number, at least 1."""
    return max(1, math.ceil(minutes))


def duration(minutes):
    """ "2 minutes" for 1.3, in whole minutes and at least one."""
    count = whole(minutes)
    return f"{count} minute{'s' * (count > 1)}"
