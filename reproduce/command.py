"""`python -m reproduce`: list the paper's tables, train what they need, and print the published numbers beside ours.

Exit status: 0 complete and within tolerance (mini: complete), 1 complete but a cell differs (or --report on an
incomplete table), 2 could not run, with one sentence why.
"""

import functools
import json
import logging
import sys

from tqdm.contrib.logging import logging_redirect_tqdm

from gluon_cgd import datasets
from gluon_cgd.commands.options import name as nonempty
from gluon_cgd.commands.parser import Parser
from gluon_cgd.machine import devices, facts, process
from reproduce import efficiency, selection, store, student
from reproduce.documents import generated, record, summary
from reproduce.page import html
from reproduce.report import comparison, formats
from reproduce.tables import EVERYTHING, FIGURE3, FIGURE4, TABLES
from reproduce.training import backends, costs, plan
from reproduce.verdicts.verdict import sentence

log = logging.getLogger("reproduce")


def parser():
    """The command line."""
    p = Parser(prog="python -m reproduce", description=__doc__.splitlines()[0])
    add, flag = p.add_argument, functools.partial(p.add_argument, action="store_true")
    every = "table1 ... table7, figure3, figure4, efficiency or report; without one, all tables are listed"
    add("tables", nargs="*", metavar="table", help=every)
    flag("--mini", help="use the embedded benchmark and small networks: minutes on two cores, no downloads")
    add("--seeds", type=int, help="number of runs of each row (default: as many as in the paper, 5 or 10; --mini: 1)")
    add("--rows", default="*", metavar="GLOB", help="train only the rows whose name matches this pattern")
    ctx = "device to train on: cpu, gpu0, ...; gpu0,gpu1 share each run (default: gpu0 if there is one, else cpu)"
    add("--ctx", help=ctx)
    add("--data", default=facts.PROJECT / "data", metavar="DIR", help="folder that holds a folder for each dataset")
    dataset = "for report: your pictures, a folder with a folder per class, or a .csv file"
    add("--dataset", type=nonempty, metavar="DIR", help=dataset)
    add("--runs", default=facts.PROJECT / "runs", metavar="DIR", help="folder of the runs and reports")
    add("--weights", metavar="FILE", help="file of the backbone's ImageNet parameters (default: the published ones)")
    parts = "compute each batch in N parts, when it does not fit into memory as a whole (default: 1)"
    add("--parts", type=int, default=1, metavar="N", help=parts)
    compare = "the evaluation of each run that counts: the last one, or the best one on the test set (default: last)"
    add("--compare", choices=("last", "best"), default="last", help=compare)
    add("--query", type=int, metavar="N", help="for figure4: a test picture's number (default: chosen as in the paper)")
    backend = "here: one run after another; local: one process for each device; slurm: one job for each run "
    add("--backend", choices=backends.BACKENDS, help=backend + "(default: local for --mini on a CPU, else here)")
    slurm = "options of the jobs of --backend slurm: partition=gpu gpus_per_job=1 ..."
    add("--slurm", nargs="*", default=(), metavar="KEY=VALUE", help=slurm)
    flag("--plan", help="do not train; print which runs are done, which are missing, and what the missing ones cost")
    flag("--measure", help="with --plan: first measure how long a training step takes on this machine")
    flag("--record", help="copy the finished runs from --runs into reproduce/results")
    flag("--html", help="write one page with all tables and the runs behind each number")
    flag("--report", help="do not train; print what the runs folder holds")
    flag("--json", help="do not train; print the tables as JSON")
    flag("--write", help="regenerate the generated parts of the documents")
    return p


def main(arguments=None):
    """Run the command line; returns the exit status."""
    options = parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    for package in ("reproduce", "gluon_cgd"):
        logging.getLogger(package).setLevel(logging.INFO)
    return process.exit_status(lambda: run(options))


def run(options):
    """Do what the command line says: list, train, print; returns the exit status."""
    check(options)
    if options.write:
        print(f"changed: {', '.join(generated.write(generated.DOCUMENTS, generated.PARTS)) or 'nothing'}")
        return 0
    tables = [find_table(name, options) for name in options.tables if name != "efficiency"]
    if options.plan:
        return show_plan(tables or EVERYTHING, options)
    if options.record:
        print(f"recorded: {', '.join(record.record(options.runs, tables or EVERYTHING)) or 'nothing new'}")
        return 0
    if options.html:
        return write_page(tables or EVERYTHING, options)
    if "efficiency" in options.tables:
        formats.reports(options.runs)  # refuses a folder that cannot be written before anything is measured
        ctx = devices.context(options.ctx)
        device = "cpu" if ctx.device_type == "cpu" else f"gpu{ctx.device_id}"
        print(efficiency.report(options.mini, device, options.runs))
        return 0
    if not tables and not options.json:
        print(formats.listing())
        return 0
    if FIGURE4 in tables:
        return draw_figure4(options)
    for table in tables:
        selection.rows_of(table, options.rows, options.mini)
    return print_tables(tables or list(TABLES.values()), options)


def check(options):
    """Raise ValueError for options that do not go together."""
    datasets.check_root(options.data)  # before weights are downloaded
    names, slurm = options.tables, " ".join(options.slurm)
    several, selects = len(names) > 1, options.json or options.rows != "*"
    if options.seeds is not None and not 1 <= options.seeds <= 1000:
        raise ValueError(f"--seeds {options.seeds} must be from 1 to 1000")
    if options.write and names:
        raise ValueError("--write regenerates the documents and takes no table: leave the table out")
    if "efficiency" in names and (several or options.report or selects):
        raise ValueError("efficiency is measured on its own: leave out other tables, --rows, --json and --report")
    if options.dataset and "report" not in names:
        raise ValueError(
            f"--dataset {options.dataset} works only with report: tables have their own datasets, leave it out"
        )
    if "report" in names and (several or options.html or options.record):
        raise ValueError("report is printed on its own: leave out other tables, --html and --record")
    draws = "figure4" in names and not (options.plan or options.record or options.html)
    if draws and (several or selects or options.seeds not in (None, 1)):
        remedy = "leave out other tables, --rows, --json and --seeds"
        raise ValueError(f"figure4 is drawn on its own, from one run of each row: {remedy}")
    if options.measure and not options.plan:
        raise ValueError("--measure works only with --plan: add --plan")
    if options.slurm and options.backend != "slurm":
        raise ValueError(f"--slurm {slurm} works only with --backend slurm: add it")


def find_table(name, options):
    """The table or figure `name`, or the report's tables. Raises ValueError for one that is not there."""
    if name == "report":
        base, lines = student.base_experiment(options.dataset, options.mini)
        for line in lines:
            log.info("%s", line)
        return student.table(base, options.mini)
    everything = {**TABLES, FIGURE3.name: FIGURE3, FIGURE4.name: FIGURE4}
    if name not in everything:
        raise ValueError(f"{name} is unknown: choose from {', '.join((*everything, 'efficiency', 'report'))}")
    return everything[name]


def print_tables(tables, options):
    """Train what is missing unless --report or --json, and print the tables; returns the exit status."""
    form, results = (student, student.results) if "report" in options.tables else (formats, store.results)
    trains, small, which = not options.report and not options.json, options.mini, options.compare
    if trains:
        train(tables, options)
    if trains and form is student:
        rows = selection.rows_of(tables[0], options.rows, small)
        experiments = dict.fromkeys(selection.experiment_of(row, small) for row in rows if row.experiment)
        seeds = seeds_of(tables[0], options)
        student.measure(experiments, seeds, options.runs, options.data, options.ctx, which)
    statuses, everything = [], []
    for table in tables:
        rows = entries_of(table, options, results)
        everything += rows
        statuses.append(comparison.status(rows, seeds_of(table, options), small, options.rows))
        if not options.json:
            print("\n" + form.as_text(table, rows, small, which) + "\n")
        if trains:
            print(f"Written: {form.write(table, rows, small, which, options.runs)}")
    if options.json:
        print(json.dumps([row.as_dict() for row in everything], indent=1, ensure_ascii=False))
        return 0
    return max(statuses)


def seeds_of(table, options):
    """The number of runs of each row of `table`."""
    return options.seeds or (1 if options.mini else table.seeds)


def entries_of(table, options, results=store.results):
    """The entries of `table` from the runs that are stored."""
    seeds = seeds_of(table, options)
    return comparison.entries(table, lambda one: results(options.runs, one, seeds), options.mini, options.compare)


def write_page(tables, options):
    """Write the page of `tables` with their runs, and say where; returns the exit status."""
    file = formats.reports(options.runs) / f"reproduction{'-mini' * options.mini}.html"
    sentences = {
        (table.name, row.row, column): sentence(verdict)
        for table in tables
        for row in entries_of(table, options)
        for column, verdict in row.verdicts.items()
    }
    every = functools.partial(store.every, options.runs)
    html.write(file, tables, every, options.mini, options.compare, sentences, options.seeds)
    print(f"Written: {file}")
    return 0


def show_plan(tables, options):
    """Print the distinct runs behind `tables`, and what the missing ones cost; returns the exit status."""
    if options.measure:
        missing = {run.experiment for run in plan.wanted(tables, options.seeds, options.mini, options.runs)}
        ctx = devices.context(options.ctx)
        costs.measure(missing, f"{ctx.device_type}{ctx.device_id}", options.runs)
    print(plan.as_text(tables, options.seeds, options.mini, options.runs))
    return 0


def draw_figure4(options):
    """Train what Figure 4 needs, unless --report, draw it, and print what it shows; returns the exit status."""
    from reproduce import figure4

    if not options.report:
        train([FIGURE4], options, seeds=1)
    experiments = {row.name: selection.experiment_of(row, options.mini) for row in FIGURE4.rows}
    folders = {name: store.folder(options.runs, experiment, 0) for name, experiment in experiments.items()}
    split = store.load_data(experiments["SM"], options.data)
    stem = formats.reports(options.runs) / f"figure4{'-mini' * options.mini}"
    sentences = figure4.draw(folders, split, devices.contexts(options.ctx)[0], options.query, stem)
    mini = "\nMINI: on the embedded benchmark (glyphs), with small networks from random parameters." * options.mini
    print("\n".join([f"Figure 4. {FIGURE4.title}.{mini}", "", *sentences]))
    print(f"\nWritten: {stem}.png, {stem.name}-spread.png")
    return 0


def train(tables, options, seeds=None):
    """Say what there is to do, then train every run that rows of `tables` like --rows need and that is not there."""
    rows = [row for table in tables for row in selection.rows_of(table, options.rows, options.mini) if row.experiment]
    names = ", ".join(table.name for table in tables)
    if not rows and "report" in options.tables:
        remedy = f"leave out --mini, or take {student.BASELINE}"
        raise ValueError(f"the rows like {options.rows!r} have no mini form: {remedy}")
    if not rows:
        remedy = "choose rows of the paper's own method"
        raise ValueError(f"the rows of {names} like {options.rows!r} are other people's work: {remedy}")
    runs = plan.wanted(tables, seeds or options.seeds, options.mini, options.runs, options.rows, options.weights)
    todo = [run for run in runs if not run.done]
    log.info("%s%s: %d runs, %d already done", names, " --mini" * options.mini, len(runs), len(runs) - len(todo))
    if not todo:
        return
    devices.contexts(options.ctx)  # refuses a device that is not there
    missing = store.missing_parts({run.experiment for run in todo}, options.data, options.weights)
    if missing:
        sentences = "".join(f"\n  - {lack}" for lack in missing)
        raise ValueError(f"{names} cannot be trained here (--mini needs neither data nor weights):{sentences}")
    for line in () if options.mini else costs.costs(todo, options.runs):
        log.info("%s", line)
    minutes = summary.recorded_minutes(todo, facts.cores()) if options.mini else None
    if minutes is not None:
        log.info("about %s on %d cores, as the recorded runs took", summary.duration(minutes), facts.cores())
    waiting = [(" = ".join(run.names), run.experiment, run.seed) for run in todo]
    where = dict(data=options.data, ctx=options.ctx, weights=options.weights, parts=options.parts)
    with logging_redirect_tqdm():  # log lines go above the bars
        backends.train(waiting, options.backend, options.mini, options.runs, slurm=options.slurm, **where)
