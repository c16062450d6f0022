"""What the recorded runs say, for the documents: the state of every table, its numbers, its claims, what it costs."""

import functools
import math
from collections import Counter

from gluon_cgd.files.grid import as_markdown
from reproduce import recorded
from reproduce.report import comparison, formats
from reproduce.tables import FIGURE3, TABLES, number
from reproduce.training import plan
from reproduce.training.costs import known, total
from reproduce.verdicts import orderings
from reproduce.verdicts.figure3 import claims as figure3_claims
from reproduce.verdicts.figure3 import panels

EVERYTHING = (*TABLES.values(), FIGURE3)
WHICH = "last"  # evaluation that counts
OUTCOMES = ("reproduced", "higher", "lower", "undecided")


@functools.lru_cache(maxsize=None)
def entries(name, small):
    """The entries of table or figure `name` from the recorded runs."""
    return comparison.entries({one.name: one for one in EVERYTHING}[name], recorded.read, small, WHICH)


def runs_in(rows):
    """How many recorded runs are behind the entries `rows`, each experiment once."""
    return sum({row.experiment: row.runs() for row in rows if row.experiment}.values())


def status():
    """A line a table: recorded runs of the paper's form and of the mini form, and what they say."""
    lines = [("table", "runs as in the paper", "its numbers", "runs of the mini form", "the paper's orderings there")]
    for table in EVERYTHING:
        real, small = entries(table.name, False), entries(table.name, True)
        wanted = len(plan.wanted([table], None, False, recorded.FOLDER))
        outcomes = Counter(found.outcome for row in real for found in row.verdicts.values())
        numbers = ", ".join(f"{outcomes[name]} {name}" for name in OUTCOMES if outcomes[name])
        missing = outcomes["not run"]
        numbers = numbers + f", {missing} not run" if numbers else f"{missing} not run" if missing else "a figure"
        done = runs_in(real)
        real_runs = f"{done} of {wanted}" if done else f"not run: `bash reproduce/{table.name}.sh`"
        lines.append((f"[{title(table)}](#{table.name})", real_runs, numbers, runs_in(small) or "not run", told(table)))
    return as_markdown(lines)


def title(table):
    """Table 1, Figure 3."""
    return f"{table.name[:-1].capitalize()} {table.name[-1]}"


def told(table):
    """How many of the orderings hold in the mini form: "1 holds, 3 undecided"."""
    if table is FIGURE3:
        return "see there"
    count = Counter(claim.found.outcome for claim in orderings.claims(table, entries(table.name, True)))
    return ", ".join(f"{number} {name}" for name, number in count.items())


def claims():
    """Every ordering that the paper's numbers show: published, ours of the mini form, and whether it holds there."""
    lines = [("", "the paper's ordering", "published", "mini form", "there it")]
    for table in EVERYTHING:
        for claim in orderings.claims(table, entries(table.name, True)):
            printed = " / ".join(f"{cell.mean:.1f}" if cell else "-" for cell in claim.published)
            own = "" if claim.found.outcome == "not run" else " / ".join(map(number, claim.sides))
            lines.append((title(table), claim.name, printed, own, claim.outcome()))
    return as_markdown(lines)


def digest():
    """How many of those orderings the mini form shows, and each that is decided; Table 7's says nothing."""
    found = [
        (title(table), claim)
        for table in EVERYTHING
        if table.name != "table7"
        for claim in orderings.claims(table, entries(table.name, True))
    ]
    count = Counter(claim.found.outcome for _, claim in found)
    several = {"holds": "hold", "does not hold": "do not hold", "undecided": "are undecided", "not run": "have not run"}
    counts = ", ".join(f"{count[name]} {words}" for name, words in several.items() if count[name])
    decided = [
        f"- {name}: {claim.sentence()}" for name, claim in found if claim.found.outcome in ("holds", "does not hold")
    ]
    return "\n".join([f"Of {len(found)} orderings of Tables 1 to 6: {counts}.", "", *decided, figure3()])


def figure3():
    """The two claims of section 4.4.1 on the embedded benchmark."""
    results_of = panels(entries("figure3", True))
    lines = [line for found in results_of.values() for line in figure3_claims(found)]
    return "\n".join(f"- {line}" for line in lines or ["not run: `bash reproduce/figure3.sh --mini`"])


def tables():
    """Every table in its mini form, and in the paper's as far as it has run."""
    text = []
    for table in EVERYTHING:
        text += [f'<a id="{table.name}"></a>', "", f"### {title(table)}. {table.title}", ""]
        for small in (False, True):
            rows = entries(table.name, small)
            form = "On the embedded benchmark" if small else "As in the paper"
            if not runs_in(rows):
                text += [f"{form}: not run, `bash reproduce/{table.name}.sh{' --mini' * small}`.", ""]
                continue
            text += [f"{form}:", "", formats.body(table, rows, small), ""]
    return "\n".join(text).strip()


def costs():
    """A line a script: its runs, and how long they take on each machine that was measured."""
    machines = known(recorded.FOLDER)
    lines = [("command", "runs", *(f"hours on {name}" for name in machines), "`--mini`: runs", "minutes")]
    for table in EVERYTHING:
        real = plan.wanted([table], None, False, recorded.FOLDER)
        small = plan.wanted([table], None, True, recorded.FOLDER)
        hours = [total(real, measured) for measured in machines.values()]
        minutes = recorded_minutes(small)
        lines.append(
            (
                f"`bash reproduce/{table.name}.sh`",
                len(real),
                *(f"{one / 3600:,.0f}" if one is not None else "-" for one in hours),
                len(small),
                "-" if minutes is None else math.ceil(minutes),
            )
        )
    return as_markdown(lines)


def recorded_minutes(runs, at_once=2):
    """What `runs`, [plan.Wanted, ...], took as recorded, `at_once` at a time; None where one was not recorded."""
    seconds = [recorded.seconds(run.experiment) for run in runs]
    return None if None in seconds else sum(seconds) / at_once / 60


def origins():
    """Where the recorded runs were made."""
    runs = [
        run
        for small in (False, True)
        for wanted in [plan.wanted(EVERYTHING, 1, small, recorded.FOLDER)]
        for one in wanted
        for run in recorded.read(one.experiment)
    ]
    lines = [("runs", "machine", "threads a run", "Python, MXNet, NumPy", "commit", "hours of training")]
    groups = {}
    for run in runs:
        versions = ", ".join(run["versions"].values())
        groups.setdefault((run["machine"], run["threads"], versions, run["commit"]), []).append(run["seconds"])
    for (machine, threads, versions, commit), seconds in groups.items():
        lines.append((len(seconds), machine, threads, versions, f"`{str(commit)[:10]}`", f"{sum(seconds) / 3600:.1f}"))
    return as_markdown(lines)
