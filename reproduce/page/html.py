"""All tables and Figure 3 beside ours as one page of HTML, with the runs behind each number. It needs no other file."""

import functools
from collections import Counter
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gluon_cgd.engines import choice
from gluon_cgd.engines.choice import MXNET
from gluon_cgd.experiment import REVISION
from gluon_cgd.files.printable import printable
from gluon_cgd.files.whole import write_text
from reproduce.page.details import Runs, anchor, counted, plain, runs_done
from reproduce.page.sections import Section, differs
from reproduce.report import comparison, formats
from reproduce.verdicts.care import is_rehearsal

TEMPLATES = Path(__file__).with_name("templates")
PAPER = "https://arxiv.org/abs/1903.10663"
BLOCKS = dict(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)


def visible(value):
    """`value` as the page shows it: of a text, characters that are invisible or control a terminal as escapes."""
    return printable(value, lines=True) if type(value) is str else value  # markup and numbers are as they are


ENVIRONMENT = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, finalize=visible, **BLOCKS)
ENVIRONMENT.filters["plain"] = plain
ENVIRONMENT.globals.update(
    anchor=anchor,
    benchmark_of=comparison.benchmark_of,
    difference=formats.difference,
    differs=differs,
    doubtful=comparison.doubtful,
    number=formats.number,
    parts=comparison.parts,
    runs_done=runs_done,
)


def page(
    tables,
    results,
    small,
    which="last",
    verdicts=None,
    seeds=None,
    ranks_of=comparison.no_ranks,
    others=(),
    added="",
):
    """The page as a text: HTML with its style and plots in it. Equal runs give an equal page.

    tables: `reproduce.tables.Table`s.
    results: a function that gives the result of each finished run of an experiment, as `train.fit` returns them.
    small: on the embedded benchmark.  which: the evaluation of each run that counts, "last" or "best".
    verdicts: {(table's name, row, column): a short sentence to show in that cell}.
    seeds: runs of each row that count (default: as many as the paper's; on the embedded benchmark all that are there).
    ranks_of: a function that gives the ranks of an experiment's runs, see `comparison.entries`.
    others: sentences on finished runs that do not count.  added: flags to the commands that train what is missing.
    """

    @functools.lru_cache(None)
    def stored(experiment):
        return sorted(results(experiment), key=lambda result: result["seed"])

    ranks = functools.lru_cache(None)(ranks_of)
    sections = [Section(table, stored, small, which, verdicts or {}, seeds, ranks, added) for table in tables]
    names, wanted = {}, {}  # of each experiment: the rows that it is behind, and the runs that it should have
    for section in sections:
        for entry in section.own():
            names.setdefault(entry.experiment, []).append(f"{section.table.label} {entry.row}")
            wanted[entry.experiment] = max(wanted.get(entry.experiment, 0), section.seeds)
    experiments = [Runs(key, names[key], stored(key), wanted[key], which) for key in names]
    return ENVIRONMENT.get_template("reproduction.html").render(
        experiments=experiments,
        facts={**facts(experiments, which), **({"Runs that do not count": "; ".join(others)} if others else {})},
        rehearsal=any(is_rehearsal(section.entries) for section in sections),
        paper=PAPER,
        revision=REVISION,
        sections=sections,
        small=small,
        tolerance=comparison.TOLERANCE,
    )


def write(file, *arguments, **options):
    """Write the `page` of these arguments to `file`."""
    write_text(file, page(*arguments, **options))


def facts(experiments, which):
    """{name: text}: how many runs there are, what counts, and where they were made. experiments: [Runs, ...]."""
    results = [result for runs in experiments for result in runs.results]
    wanted = sum(runs.wanted for runs in experiments)
    done = sum(min(len(runs.results), runs.wanted) for runs in experiments)
    more = f", and {len(results) - done:,} more" if len(results) > done else ""
    hours = sum(result.get("seconds", 0) for result in results) / 3600
    chosen = "its highest Recall@1 on the test set" if which == "best" else "whatever its recall"
    texts = {
        "Runs": f"{done:,} of {wanted:,} done{more}; {hours:.1f} hours of training",
        "What counts": f"the {which} evaluation of each run, {chosen}",
    }
    made = Counter(str(choice.of(result)) for result in results)
    if set(made) - {str(MXNET)}:
        texts["Trained by"] = "; ".join(f"{name} ({counted(count, 'run')})" for name, count in sorted(made.items()))
    for name, key in (("On", "device"), ("Machines", "machine"), ("With", "versions"), ("Commits", "commit")):
        counts = Counter(plain(result[key]) for result in results if result.get(key))
        if counts:
            texts[name] = "; ".join(f"{value} ({counted(count, 'run')})" for value, count in sorted(counts.items()))
    return texts
