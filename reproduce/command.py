"""`python -m reproduce`: list the paper's tables, train what they need, and print the published numbers beside ours.

Exit status: 0 complete and the table is reproduced (mini: complete), 1 complete but not reproduced or undecided (or
--report on an incomplete table), 2 could not run, with one sentence why.
"""

import difflib
import json
import logging

from gluon_cgd.commands.output import say
from gluon_cgd.engines.choice import MXNET
from gluon_cgd.machine import devices, facts, process
from reproduce import averaging, efficiency, pretrain, selection, small, store, student
from reproduce.documents import agreement, attestation, generated, pictures, record, summary
from reproduce.flags import check, engine_of, parser
from reproduce.page import html
from reproduce.page.details import counted
from reproduce.report import comparison, formats, trained_by
from reproduce.report.data import as_data
from reproduce.tables import EVERYTHING, FIGURE4, TABLES, from_scratch
from reproduce.training import backends, costs, plan
from reproduce.verdicts.verdict import sentence

log = logging.getLogger("reproduce")


def main(arguments=None):
    """Run the command line; returns the exit status."""
    options = parser(__doc__.splitlines()[0], __doc__.partition("\n\n")[2]).parse_args(arguments)
    with process.shown(" ".join(options.tables) or "reproduce", "reproduce", "gluon_cgd"):
        return process.exit_status(lambda: run(options))


def run(options):
    """Do what the command line says: list, train, print; returns the exit status."""
    options.trained_by, options.base = engine_of(options), options.runs
    options.runs = store.of_engine(options.base, options.trained_by)  # each engine's runs have a store of their own
    check(options)
    if options.write:
        say(f"changed: {', '.join(generated.write(generated.DOCUMENTS, generated.PARTS)) or 'nothing'}")
        return 0
    if options.figures:
        say("\n".join(pictures.draw(options.runs, pictures.FOLDER)))
        say(f"Drawn: {', '.join(pictures.NAMES)} in {pictures.FOLDER}")
        return 0
    if "pretrain" in options.tables:
        say(f"Written: {', '.join(map(str, pretrain.run()))}")
        return 0
    tables = [find_table(name, options) for name in options.tables if name != "efficiency"]
    every = small.small_tables(EVERYTHING) if options.small else EVERYTHING
    if options.plan:
        return show_plan(tables or every, options)
    if options.attest:
        file = attestation.write(options.runs, tables or EVERYTHING, options.by)
        say(f"Written: {file}")
        return 0
    if getattr(options, "from"):
        name = attestation.keep(getattr(options, "from"))
        say(f"recorded: {name or 'nothing new'}")
        return 0
    if options.parity:
        say("\n".join(agreement.record(options.base, tables or every, is_reduced(options))))
        return 0
    if options.record:
        say(f"recorded: {', '.join(record.record(options.runs, tables or record.everything())) or 'nothing new'}")
        return 0
    if options.html:
        return write_page(tables or EVERYTHING, options)
    if "efficiency" in options.tables:
        ctx = devices.context(options.ctx)
        formats.reports(options.runs)  # refuses a folder that cannot be written before anything is measured
        device = "cpu" if ctx.device_type == "cpu" else f"gpu{ctx.device_id}"
        say(efficiency.report(options.mini, device, options.runs))
        return 0
    if not tables and not options.json and not options.report:
        say(formats.listing())
        return 0
    if FIGURE4.name in options.tables:
        return draw_figure4(options)
    for table in tables:
        selection.rows_of(table, options.rows, is_reduced(options))
    return print_tables(tables or [table for table in every if table.name in TABLES], options)


def is_reduced(options):
    """Whether the tables are in the mini or the small form, not in the paper's."""
    return options.mini or options.small


def find_table(name, options):
    """The table or figure `name`, or the report's tables. Raises ValueError for one that is not there."""
    if name == "report":
        base, lines = student.base_experiment(options.dataset, options.mini)
        for line in lines:
            log.info("%s", line)
        return student.table(base, options.mini)
    everything = {**TABLES, **{table.name: table for table in (*EVERYTHING[len(TABLES) :], FIGURE4)}}
    if name not in everything:
        known = (*everything, "efficiency", "pretrain", "report")
        near = "".join(f"; did you mean {word}?" for word in difflib.get_close_matches(name.lower(), known, 1))
        raise ValueError(f"{name or repr(name)} is unknown: choose from {', '.join(known)}{near}")
    form = small.small_table if options.small else from_scratch if options.from_scratch else lambda table: table
    return form(everything[name])


def print_tables(tables, options):
    """Train what is missing unless --report or --json, and print the tables; returns the exit status."""
    form, results = (student, student.results) if "report" in options.tables else (formats, store.results)
    trains, reduced, which = not options.report and not options.json, is_reduced(options), options.compare
    if trains:
        train(tables, options)
    if trains and form is student:
        rows = selection.rows_of(tables[0], options.rows, reduced)
        experiments = dict.fromkeys(selection.experiment_of(row, reduced) for row in rows if row.experiment)
        seeds = seeds_of(tables[0], options)
        student.measure(experiments, seeds, options.runs, options.data, mxnets(options), which)
    statuses, everything = [], []
    for table in tables:
        rows = entries_of(table, options, results)
        everything += as_data(table, rows, reduced)
        statuses.append(comparison.status(table, rows, seeds_of(table, options), reduced, options.rows))
        if not options.json:
            say("\n" + form.as_text(table, rows, reduced, which) + "\n")
        if trains:
            say(f"Written: {form.write(table, rows, reduced, which, options.runs)}")
    if options.json:
        print(json.dumps(everything, indent=1))
        return 0
    return max(statuses)


def mxnets(options):
    """The devices that --ctx names, for what MXNet computes of a finished run; it takes none of PyTorch's."""
    return options.ctx if options.trained_by == MXNET else "cpu"


def seeds_of(table, options):
    """The number of runs of each row of `table`."""
    return selection.seeds_of(table, is_reduced(options), options.seeds)


def entries_of(table, options, results=store.results):
    """The entries of `table` from the runs that are stored."""
    seeds = seeds_of(table, options)

    def results_of(experiment):
        return averaging.results(options.base, experiment, seeds, options.trained_by, results)

    def ranks_of(experiment):
        return averaging.ranks_of(options.base, experiment, results_of(experiment))

    def left_out_of(experiment):
        return averaging.left_out(options.base, experiment, seeds, options.trained_by)

    return comparison.entries(table, results_of, is_reduced(options), options.compare, ranks_of, left_out_of)


def write_page(tables, options):
    """Write the page of `tables` with their runs, and say where; returns the exit status."""
    file = formats.reports(options.runs) / f"reproduction{'-mini' * options.mini}.html"
    rows = [row for table in tables for row in entries_of(table, options)]
    sentences = {
        (row.table, row.row, name): sentence(verdict) for row in rows for name, verdict in row.verdicts.items()
    }

    def every(experiment):
        return averaging.every(options.base, experiment, options.trained_by)

    def ranks_of(experiment):
        return averaging.ranks_of(options.base, experiment, every(experiment))

    others = trained_by.left_out(rows)
    added = "" if options.trained_by == MXNET else f" --engine {options.trained_by.name}"
    added += f" --precision {options.trained_by.precision}" if options.trained_by.precision != "float32" else ""
    added += " --from-scratch" * options.from_scratch
    added += "" if options.base == facts.PROJECT / "runs" else f" --runs {facts.quoted(options.base)}"
    html.write(file, tables, every, options.mini, options.compare, sentences, options.seeds, ranks_of, others, added)
    say(f"Written: {file}")
    return 0


def show_plan(tables, options):
    """Print the distinct runs behind `tables`, and what the missing ones cost; returns the exit status."""
    engine, form = options.trained_by, (options.seeds, is_reduced(options), options.runs)
    runs = plan.with_averaged(plan.wanted(tables, *form), options.base, engine)
    missing = {run.experiment for run in runs if not run.done}
    if options.measure:
        costs.measure(missing, backends.devices_of(options.ctx, engine)[0], options.runs, engine)
    elif engine != MXNET and not options.mini:
        costs.measure_here(missing, options.runs, engine)
    say(plan.as_text(tables, runs, *form[1:], engine))
    return 0


def draw_figure4(options):
    """Train what Figure 4 needs, unless --report, draw it, and print what it shows; returns the exit status."""
    from reproduce import figure4

    table = find_table(FIGURE4.name, options)
    if not options.report:
        train([table], options, seeds=1)
    experiments = {row.name: selection.experiment_of(row, options.mini) for row in table.rows}
    folders = {name: store.folder(options.runs, experiment, 0) for name, experiment in experiments.items()}
    missing = [str(folder) for folder in folders.values() if not (folder / "result.json").is_file()]
    if missing:  # told before the data are prepared
        raise FileNotFoundError(f"{missing[0]} holds no finished run: leave out --report, and it is trained")
    split = store.load_data(experiments["SM"], options.data)
    stem = formats.reports(options.runs) / "-".join(["figure4", *["mini"] * options.mini, *filter(None, [table.form])])
    sentences = figure4.draw(folders, split, devices.contexts(mxnets(options))[0], options.query, stem, options.weights)
    mini = ["MINI: on the embedded benchmark (glyphs), with small networks that were pretrained on other letters."]
    say("\n".join([f"Figure 4. {FIGURE4.title}.", *mini * options.mini, "", *sentences]))
    say(f"\nWritten: {stem}.png, {stem.name}-spread.png")
    return 0


def train(tables, options, seeds=None):
    """Say what there is to do, then train every run that rows of `tables` like --rows need and that is not there."""
    reduced = is_reduced(options)
    rows = [row for table in tables for row in selection.rows_of(table, options.rows, reduced) if row.experiment]
    names = ", ".join(table.name for table in tables)
    if not rows and "report" in options.tables:
        remedy = f"leave out --mini, or take {student.BASELINE}"
        raise ValueError(f"the rows like {options.rows!r} have no mini form: {remedy}")
    if not rows:
        remedy = "choose rows of the paper's own method"
        raise ValueError(f"the rows of {names} like {options.rows!r} are other people's work: {remedy}")
    needed = FIGURE4.name in options.tables or "report" in options.tables  # they read the parameters too
    seeds = seeds or options.seeds
    runs = plan.wanted(tables, seeds, reduced, options.runs, options.rows, options.weights, needed)
    todo = averaging.missing(options.base, runs, options.trained_by, needed)
    form = f" --{tables[0].reduced}" * reduced
    log.info("%s%s: %s, %d already done", names, form, counted(len(runs), "run"), len(runs) - len(todo))
    if not todo:
        return
    backends.check(options.backend, options.slurm, options.parts, options.trained_by)
    if options.backend != "slurm":
        backends.devices_of(options.ctx, options.trained_by)  # refuses a device that is not there
    for run in todo:
        devices.check_batch(run.experiment.batch_size, options.parts, "parts")
    missing = store.missing_parts({run.experiment for run in todo}, options.data, options.weights)
    if missing:
        sentences = "".join(f"\n  - {lack}" for lack in missing)
        raise ValueError(f"{names} cannot be trained here (--mini needs neither data nor weights):{sentences}")
    for line in () if options.mini else costs.costs(todo, options.runs, options.trained_by):
        log.info("%s", line)
    ours = reduced and options.trained_by == MXNET
    minutes = summary.recorded_minutes(todo, facts.cores()) if ours else None
    if minutes is not None:
        busy = summary.duration(costs.BUSY * minutes)  # "3 minutes"
        line = "%d to %s on %d cores, as the recorded runs took; the longer time if other programs use them"
        log.info(line, summary.whole(minutes), busy, facts.cores())
    waiting = [(" = ".join(run.names), run.experiment, run.seed) for run in todo]
    where = {name: getattr(options, name) for name in ("data", "ctx", "weights", "parts", "slurm")}
    backends.train(waiting, options.backend, reduced, options.runs, engine=options.trained_by, **where)
