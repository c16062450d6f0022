"""All tables and Figure 3 beside ours as one page of HTML, with the runs behind each number. It needs no other file."""

import functools
from collections import Counter
from html import escape
from pathlib import Path

from gluon_cgd.files.whole import write_text
from reproduce.page import details, sections
from reproduce.page.details import counted, plain, wide
from reproduce.report import comparison

STYLE = Path(__file__).with_name("page.css")
PAPER = "https://arxiv.org/abs/1903.10663"


def page(tables, results, small, which="last", verdicts=None, seeds=None):
    """The page as a text: HTML with its style and plots in it. Equal runs give an equal page.

    tables: `reproduce.tables.Table`s.
    results: results(experiment) gives the result of each finished run, as `train.fit` returns them.
    small: on the embedded benchmark.  which: what counts of each run, its "last" evaluation or its "best" one.
    verdicts: {(table's name, row, column): a short sentence to show in that cell}.
    seeds: runs of each row that count (default: as many as the paper's; on the embedded benchmark all that are there).
    """

    @functools.lru_cache(None)
    def stored(experiment):
        return sorted(results(experiment), key=lambda one: one["seed"])

    shown = [sections.Section(table, stored, small, which, verdicts or {}, seeds) for table in tables]
    behind = {}  # an experiment: the rows that it is behind, and the runs that it should have
    for one in shown:
        for entry, experiment in one.own():
            names, wanted = behind.get(experiment, ([], 0))
            behind[experiment] = [*names, f"{one.title} {entry.row}"], max(wanted, one.seeds)
    runs = [(experiment, names, stored(experiment), wanted) for experiment, (names, wanted) in behind.items()]
    title = "CGD regenerated" + ", on the embedded benchmark" * small
    run_parts = [details.section(*one, which) for one in runs if one[2]] or ["<p>No run is there yet.</p>"]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>",
            f'<body id="top">\n<main>\n<h1>{title}</h1>',
            head(runs, small, which),
            contents(shown, small),
            *(one.html() for one in shown),
            '<section id="runs"><h2>The runs behind the numbers</h2>',
            *run_parts,
            "</section>\n</main>\n</body>\n</html>\n",
        ]
    )


def write(file, *arguments, **options):
    """Write the `page` of these arguments to `file`."""
    write_text(file, page(*arguments, **options))


def head(runs, small, which):
    """What the page is, what counts, and what the runs say of themselves."""
    results = [result for _, _, found, _ in runs for result in found]
    wanted = sum(wanted for *_, wanted in runs)
    done = sum(min(len(found), wanted) for _, _, found, wanted in runs)
    more = f", and {len(results) - done:,} more" if len(results) > done else ""
    hours = sum(result.get("seconds", 0) for result in results) / 3600
    chosen = "its highest Recall@1 on the test set" if which == "best" else "never chosen by its recall"
    facts = {
        "Runs": f"{done:,} of {wanted:,} done{more}; {hours:.1f} hours of training",
        "What counts": f"the {which} evaluation of each run, {chosen}",
    }
    for name, key in (("On", "device"), ("Machines", "machine"), ("With", "versions"), ("Commits", "commit")):
        said = Counter(plain(result[key]) for result in results if result.get(key))
        if said:
            facts[name] = "; ".join(f"{what} ({counted(count, 'run')})" for what, count in sorted(said.items()))
    told = "".join(f"<dt>{name}</dt><dd>{escape(what)}</dd>" for name, what in facts.items())
    about = "retrained in miniature" if small else "as published and as they come out here"
    text = (
        f'<p>The tables of <a href="{PAPER}">Combination of Multiple Global Descriptors for Image Retrieval</a>, '
        f"{about}. Recall@K in %. A number of ours leads to its runs. Equal rows of different tables are one "
        "experiment, trained once.</p>"
    )
    if small:
        text += (
            '\n<p class="warning"><strong>MINI:</strong> another dataset than the paper\'s, the embedded benchmark '
            "(glyphs, 100 unseen letters), and a small network (Table 7: the paper's own, which fall to chance in so "
            "few steps) from random parameters. The numbers are not comparable with the published ones, only their "
            "orderings are. <em>untrained</em> is the first moment of each run.</p>"
        )
    else:
        text += f"\n<p>A difference of more than {comparison.TOLERANCE:g} point is marked <em>differs</em>.</p>"
    return f"<header>{text}\n<dl>{told}</dl></header>"


def contents(shown, small):
    """The list of contents: each table with its runs and, of those that ran, its cells and orderings."""
    lines = []
    for one in shown:
        done, wanted, within, cells, held, orderings = one.counts()
        numbers = [f"{done} of {wanted}", *([] if small else [f"{within} of {cells}"]), f"{held} of {orderings}"]
        told = "".join(f"<td>{'-' if number.endswith(' 0') else number}</td>" for number in numbers)
        link = f'<a href="#{one.table.name}">{escape(f"{one.title}. {one.table.title}")}</a>'
        lines.append(f'<tr><th scope="row">{link}</th>{told}</tr>')
    heads = ["", "runs done", *([] if small else [f"within {comparison.TOLERANCE:g} point"]), "orderings hold"]
    line = "".join(f"<td>{one}</td>" if not one else f'<th scope="col">{one}</th>' for one in heads)
    lines.append(
        f'<tr><th scope="row" colspan="{len(heads)}"><a href="#runs">The runs behind the numbers</a></th></tr>'
    )
    table = f"<table><thead><tr>{line}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'<nav aria-label="Contents">{wide(table, "Contents")}</nav>'
