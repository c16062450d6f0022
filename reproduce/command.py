"""`python -m reproduce`: list the paper's tables, train what they need, print them with ours beside.

Exit status: 0 complete and within tolerance (mini: complete), 1 complete but a cell differs (or --report on an
incomplete table), 2 could not run, with one sentence why.
"""

import argparse
import functools
import json
import logging
import sys

import numpy as np
from tqdm.contrib.logging import logging_redirect_tqdm

from gluon_cgd.machine import devices, facts, process
from reproduce import efficiency, selection, store, student
from reproduce.documents import generated, record, summary
from reproduce.page import html
from reproduce.report import comparison, formats
from reproduce.tables import FIGURE3, FIGURE4, TABLES
from reproduce.training import backends, costs, plan
from reproduce.verdicts import verdict

EVERYTHING = (*TABLES.values(), FIGURE3)
log = logging.getLogger("reproduce")


def parser():
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m reproduce", description=__doc__.splitlines()[0])
    every = "table1 ... table7, figure3, figure4, efficiency, report; none: list all"
    p.add_argument("tables", nargs="*", metavar="table", help=every)
    p.add_argument("--mini", action="store_true", help="on the embedded benchmark: minutes on two cores, no downloads")
    p.add_argument("--seeds", type=int, help="runs of each row (default: as many as the paper, 5 or 10; with --mini 1)")
    p.add_argument("--rows", default="*", metavar="GLOB", help="train only the rows whose name matches")
    p.add_argument(
        "--ctx",
        help="where to train: cpu, gpu0, ..., or several for each run, gpu0,gpu1 (default: gpu0 where there is one)",
    )
    p.add_argument("--data", default=facts.PROJECT / "data", metavar="DIR", help="holds a folder for each dataset")
    p.add_argument("--dataset", metavar="DIR", help="of report: your pictures, a folder a class, or a .csv file")
    p.add_argument("--runs", default=facts.PROJECT / "runs", metavar="DIR", help="where runs and reports are kept")
    p.add_argument("--weights", metavar="FILE", help="the backbone's ImageNet parameters, if not the published ones")
    help_text = "learn from each batch in N parts, where it does not fit into memory whole (default 1)"
    p.add_argument("--parts", type=int, default=1, metavar="N", help=help_text)
    p.add_argument(
        "--compare", choices=("last", "best"), default="last", help="last evaluation, or best on the test set"
    )
    p.add_argument(
        "--query", type=int, metavar="N", help="of figure4: a test picture (default: chosen as in the paper)"
    )
    p.add_argument(
        "--backend",
        choices=backends.BACKENDS,
        help="here: one run after the other; local: one on each device at once; slurm: a job each "
        "(default: local for --mini on a CPU, else here)",
    )
    p.add_argument(
        "--slurm",
        nargs="*",
        default=(),
        metavar="KEY=VALUE",
        help="of --backend slurm: partition=gpu gpus_per_job=1 ...",
    )
    p.add_argument(
        "--plan", action="store_true", help="no training: the distinct runs, done and missing, and their cost"
    )
    p.add_argument("--measure", action="store_true", help="with --plan: time steps on this machine first")
    p.add_argument("--record", action="store_true", help="copy finished runs from --runs into reproduce/results")
    p.add_argument("--html", action="store_true", help="write one page of all tables with the runs behind each cell")
    p.add_argument("--report", action="store_true", help="no training: print what the runs folder holds")
    p.add_argument("--json", action="store_true", help="print the tables as JSON, without training")
    p.add_argument("--write", action="store_true", help="make the generated parts of the documents anew")
    return p


def main(arguments=None):
    """Run the command line; returns the exit status."""
    given = parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    for package in ("reproduce", "gluon_cgd"):
        logging.getLogger(package).setLevel(logging.INFO)
    return process.exit_status(lambda: run(given))


def run(given):
    """Do what the command line asks for: list, train, print; returns the exit status."""
    if given.seeds is not None and not 1 <= given.seeds <= 1000:
        raise ValueError(f"--seeds {given.seeds} must be from 1 to 1000")
    if given.write and given.tables:
        raise ValueError("--write makes the documents anew and takes no table: leave the table out")
    if given.write:
        print(f"changed: {', '.join(generated.write(generated.DOCUMENTS, generated.PARTS)) or 'nothing'}")
        return 0
    if "efficiency" in given.tables and (len(given.tables) > 1 or given.json or given.report or given.rows != "*"):
        raise ValueError("efficiency is measured on its own: leave out other tables, --rows, --json and --report")
    if given.dataset and "report" not in given.tables:
        raise ValueError("--dataset is for report: the paper's tables have datasets of their own")
    if "report" in given.tables and (len(given.tables) > 1 or given.html or given.record):
        raise ValueError("report is printed on its own: leave out other tables, --html and --record")
    tables = [known(name, given) for name in given.tables if name != "efficiency"]
    if given.measure and not given.plan:
        raise ValueError("--measure is for --plan: name both")
    if given.slurm and given.backend != "slurm":
        raise ValueError(f"--slurm {' '.join(given.slurm)} is for --backend slurm: name both")
    if given.plan:
        return show_plan(tables or EVERYTHING, given)
    if given.record:
        print(f"recorded: {', '.join(record.record(given.runs, tables or EVERYTHING)) or 'nothing new'}")
        return 0
    if given.html:
        return write_page(tables or EVERYTHING, given)
    if "efficiency" in given.tables:
        formats.reports(given.runs)  # a place that cannot be written is known before, not after
        ctx = devices.context(given.ctx)
        device = "cpu" if ctx.device_type == "cpu" else f"gpu{ctx.device_id}"
        print(efficiency.report(given.mini, device, given.runs))
        return 0
    if not tables and not given.json:
        print(formats.listing())
        return 0
    if FIGURE4 in tables:
        if len(tables) > 1 or given.json or given.rows != "*" or given.seeds not in (None, 1):
            raise ValueError(
                "figure4 is drawn on its own, of one run each: leave out other tables, --rows, --json, --seeds"
            )
        return draw_figure4(given)
    if "report" in given.tables:
        return student.command(tables[0], given, seeds_of(tables[0], given), train)
    trains = not given.report and not given.json
    for table in tables:
        selection.rows_of(table, given.rows, given.mini)
    if trains:
        train(tables, given)
    statuses, told = [], []
    for table in tables or TABLES.values():
        seeds = seeds_of(table, given)
        rows = comparison.entries(table, stored(given.runs, seeds), given.mini, given.compare)
        told += rows
        statuses.append(comparison.status(rows, seeds, given.mini, given.rows))
        if not given.json:
            print("\n" + formats.as_text(table, rows, given.mini, given.compare) + "\n")
        if trains:
            stem = formats.write(table, rows, given.mini, given.compare, given.runs)
            print(f"Written: {stem}.md, .json, .png")
    if given.json:
        print(json.dumps([row.as_dict() for row in told], indent=1, ensure_ascii=False))
        return 0
    return max(statuses)


def write_page(tables, given):
    """Write the page of `tables` with their runs, and say where; returns the exit status."""
    file = formats.reports(given.runs) / f"reproduction{'-mini' * given.mini}.html"
    said = {}
    for table in tables:
        rows = comparison.entries(table, stored(given.runs, seeds_of(table, given)), given.mini, given.compare)
        said.update(
            {(table.name, row.row, c): verdict.sentence(one) for row in rows for c, one in row.verdicts.items()}
        )
    every = functools.partial(store.every, given.runs)
    html.write(file, tables, every, given.mini, given.compare, said, given.seeds)
    print(f"Written: {file}")
    return 0


def seeds_of(table, given):
    """Runs of each row of `table` that the command line asks for."""
    return given.seeds or (1 if given.mini else table.seeds)


def stored(runs, seeds):
    """A function that gives the results of an experiment's first `seeds` runs in the store `runs`."""
    return lambda experiment: store.results(runs, experiment, seeds)


def show_plan(tables, given):
    """Print the distinct runs behind `tables`, and what those that are missing take; returns the exit status."""
    if given.measure:
        missing = {run.experiment for run in plan.wanted(tables, given.seeds, given.mini, given.runs)}
        ctx = devices.context(given.ctx)
        costs.measure(missing, f"{ctx.device_type}{ctx.device_id}", given.runs)
    print(plan.as_text(tables, given.seeds, given.mini, given.runs))
    return 0


def draw_figure4(given):
    """Train what Figure 4 needs, unless --report, draw it, and print what it shows; returns the exit status."""
    from reproduce import figure4
    from visualize.figure4 import draw_grid, draw_spreads

    if not given.report:
        train([FIGURE4], given, seeds=1)
    experiments = {row.name: selection.experiment_of(row, given.mini) for row in FIGURE4.rows}
    folders = {name: store.folder(given.runs, experiment, 0) for name, experiment in experiments.items()}
    split = store.load_data(experiments["SM"], given.data)
    lines, found, sentences = figure4.make(folders, split, devices.contexts(given.ctx)[0], given.query)
    stem = formats.reports(given.runs) / f"figure4{'-mini' * given.mini}"
    draw_grid(lines, f"{stem}.png")
    draw_spreads(found, f"{stem}-spread.png")
    mini = "\nMINI: on the embedded benchmark (glyphs), with small networks from random parameters." * given.mini
    print("\n".join([f"Figure 4. {FIGURE4.title}.{mini}", "", *sentences]))
    print(f"\nWritten: {stem}.png, {stem.name}-spread.png")
    return 0


def known(name, given):
    """The table or figure `name`, or the report's tables. Raises ValueError for one that is not there."""
    if name == "report":
        base, lines = student.base_experiment(given.dataset, given.mini)
        for line in lines:
            log.info("%s", line)
        return student.table(base, given.mini)
    everything = {**TABLES, FIGURE3.name: FIGURE3, FIGURE4.name: FIGURE4}
    if name not in everything:
        raise ValueError(f"{name} is unknown: choose from {', '.join((*everything, 'efficiency', 'report'))}")
    return everything[name]


def train(tables, given, seeds=None):
    """Say what there is to do, then do it: every run that rows of `tables` like --rows need and that is not there."""
    own = [row for table in tables for row in selection.rows_of(table, given.rows, given.mini) if row.experiment]
    if not own:
        names = ", ".join(table.name for table in tables)
        raise ValueError(f"the rows of {names} like {given.rows!r} are other people's work: they are only printed")
    runs = plan.wanted(tables, seeds or given.seeds, given.mini, given.runs, given.rows, given.weights)
    todo = [run for run in runs if not run.done]
    names = ", ".join(table.name for table in tables)
    log.info("%s%s: %d runs, %d already there", names, " --mini" * given.mini, len(runs), len(runs) - len(todo))
    if not todo:
        return
    devices.contexts(given.ctx)
    missing = store.missing_parts({run.experiment for run in todo}, given.data, given.weights)
    if missing:
        sentences = "".join(f"\n  - {sentence}" for sentence in missing)
        raise ValueError(f"{names} cannot be trained here (--mini needs neither data nor weights):{sentences}")
    for sentence in () if given.mini else costs.costs(todo, given.runs):
        log.info("%s", sentence)
    minutes = summary.recorded_minutes(todo, facts.cores()) if given.mini else None
    if minutes is not None:
        log.info("about %.0f minutes on %d cores, by what the recorded runs took", np.ceil(minutes), facts.cores())
    named = [(" = ".join(run.names), run.experiment, run.seed) for run in todo]
    where = dict(data=given.data, ctx=given.ctx, weights=given.weights, parts=given.parts)
    with logging_redirect_tqdm():  # log lines go above the bars
        backends.train(named, given.backend, given.mini, given.runs, slurm=given.slurm, **where)
