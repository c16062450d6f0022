"""The flags of `python -m reproduce`, and which of them do not go together."""

import functools
import os
from pathlib import Path

from gluon_cgd import datasets
from gluon_cgd.commands import effects
from gluon_cgd.commands.options import name as nonempty
from gluon_cgd.commands.parser import Parser
from gluon_cgd.engines import choice
from gluon_cgd.engines.choice import MXNET
from gluon_cgd.machine import facts
from reproduce import store
from reproduce.training import backends

# What is done instead of training; one at a time
MODES = ("write", "figures", "plan", "record", "attest", "parity", "html", "report", "json")
ENGINE = {"engine", "precision"}
STORED = {"mini", "from_scratch", "seeds", "runs", "compare"} | ENGINE  # the page of --html has no small form
TRAINING = {"mini", "small", "from_scratch", "seeds", "runs", "ctx", "data", "weights", "parts", "backend", "slurm"}
TRAINING |= ENGINE | {"deterministic"}
# What is done -> the flags that have an effect on it; the others are refused
EFFECTIVE = {
    "write": set(),
    "figures": {"runs"},
    "plan": {"mini", "small", "from_scratch", "seeds", "runs", "measure", "dataset"} | ENGINE,
    "plan --measure": {"mini", "small", "from_scratch", "seeds", "runs", "measure", "dataset", "ctx"} | ENGINE,
    "record": {"runs"} | ENGINE,
    "record --from": {"from"},
    "attest": {"runs", "by"} | ENGINE,
    "parity": {"mini", "small", "runs"},
    "html": STORED,
    "report": STORED | {"small", "rows", "dataset"},
    "json": STORED | {"small", "rows", "dataset"},
    "efficiency": {"mini", "ctx", "runs"},
    "figure4": TRAINING - {"small"} | {"query"},
    "figure4 --report": {"mini", "from_scratch", "seeds", "runs", "ctx", "data", "query"} | ENGINE,
    "training": TRAINING | {"compare", "rows", "dataset"},
    "pretrain": set(),
    "listing": set(),
}


def parser(description, end=None):
    """The command line; its help begins with `description`, and ends with the text `end`."""
    p = Parser(prog="python -m reproduce", description=description, epilog=end)
    add, flag = p.add_argument, functools.partial(p.add_argument, action="store_true")
    every = (
        "table1 ... table7, text, figure3, figure4, details, extensions, efficiency, pretrain or report; without one, "
        "all are listed"
    )
    add("tables", nargs="*", metavar="table", help=every)
    mini = "a working model of the experiment: small networks on rendered letters, minutes on two cores"
    flag("--mini", help=mini)
    small = "half of CARS196 and a smaller pretrained network, hours on a CPU; of table1 to 6, figure3, details and "
    small += "extensions"
    flag("--small", help=small)
    scratch = "with --mini: the form of earlier versions, networks from random parameters and five passes"
    flag("--from-scratch", help=scratch)
    add(
        "--seeds",
        type=int,
        help="number of runs of each row (default: 5 or 10 as in the paper, 5 where it has none; --mini 1, --small 3)",
    )
    add("--rows", default="*", metavar="GLOB", help="train only the rows whose name matches this pattern")
    ctx = "device to train on: cpu, gpu0, ... (of PyTorch cuda0, mps); gpu0,gpu1 share each run (default: a GPU if the "
    ctx += "engine can use one, else cpu)"
    add("--ctx", help=ctx)
    add_engine(p)
    data = "folder that holds a folder for each dataset"
    add("--data", type=nonempty, default=facts.PROJECT / "data", metavar="DIR", help=data)
    dataset = "for report: your pictures, a folder with a folder per class, or a .csv file"
    add("--dataset", type=nonempty, metavar="DIR", help=dataset)
    add("--runs", type=nonempty, default=facts.PROJECT / "runs", metavar="DIR", help="folder of the runs and reports")
    weights = "file of the backbone's ImageNet parameters (default: the published ones)"
    add("--weights", type=nonempty, metavar="FILE", help=weights)
    parts = "compute each batch in N parts, when it does not fit into memory as a whole (default: 1)"
    add("--parts", type=int, default=1, metavar="N", help=parts)
    compare = "the evaluation of each run that counts: the last one, or the best one on the test set (default: last)"
    add("--compare", choices=("last", "best"), default="last", help=compare)
    query = "for figure4: a test picture's number (default: SM's first result is right and farthest down in S and M)"
    add("--query", type=int, metavar="N", help=query)
    backend = "here: one run after another; local: one process for each device; slurm: one job for each run "
    add(
        "--backend",
        choices=backends.BACKENDS,
        help=backend + "(default: local for --mini and --small on a CPU, else here)",
    )
    slurm = "options of the jobs of --backend slurm: partition=gpu gpus_per_job=1 ..."
    add("--slurm", nargs="*", default=(), metavar="KEY=VALUE", help=slurm)
    flag("--plan", help="do not train; print which runs are done, which are missing, and what the missing ones cost")
    flag("--measure", help="with --plan: first measure the parts of a run on this machine")
    flag("--record", help="copy the finished runs from --runs into reproduce/results")
    add("--from", type=nonempty, metavar="FILE", help="with --record: keep the runs that others attested in FILE")
    flag("--attest", help="write the finished runs in --runs into one file that others can check and record")
    add("--by", default="", metavar="NAME", help="with --attest: who made the runs, as the documents name you")
    flag(
        "--parity",
        help="record for which experiments the finished runs of both engines agree, so that they are averaged",
    )
    flag("--html", help="write one page with all tables and the runs behind each number")
    flag("--report", help="do not train; print what the runs folder holds")
    flag("--json", help="do not train; print the tables as JSON")
    flag("--write", help="regenerate the generated parts of the documents")
    flag("--figures", help="draw the pictures of the documents anew, from recorded runs and those of figure4 --mini")
    return p


def add_engine(p):
    """The flags that say what trains, or whose runs are shown."""
    engine = (
        "what trains, or whose runs are shown (default: mxnet; pytorch where MXNet has no code for the GPU that is "
    )
    engine += "there, but for --mini, or where --ctx names a device of PyTorch)"
    p.add_argument("--engine", choices=choice.ENGINES, help=engine)
    precision = "of PyTorch's arithmetic (default: float32, the paper's); runs of different precision are not averaged"
    p.add_argument("--precision", choices=choice.PRECISIONS, help=precision)
    help_text = "PyTorch repeats its results to the bit, and is slower"
    p.add_argument("--deterministic", action="store_true", help=help_text)


def engine_of(options):
    """The Engine that trains, or whose runs are shown. Raises ValueError for flags that do not go together."""
    whose = store.engine_of(options.runs)
    if whose != MXNET:
        above, flags = Path(options.runs).parent, f"--engine {whose.name} --precision {whose.precision}"
        raise ValueError(f"--runs {options.runs} is the folder of runs by {whose}: name {above}, and add {flags}")
    done = what_is_done(options)
    by_gpu = not options.mini and options.backend != "slurm" and "engine" in EFFECTIVE[done]
    trains = done in ("training", "figure4")
    ctx = options.ctx if options.backend != "slurm" and (trains or options.measure) else None
    return choice.chosen(options.engine, options.precision, options.deterministic, ctx, by_gpu, tell=trains)


def check(options):
    """Raise ValueError for options that do not go together."""
    datasets.check_root(options.data)  # before weights are downloaded
    for place in (Path(options.runs), *Path(options.runs).parents):
        if os.path.lexists(place) and not place.is_dir():
            what = "a file" if place.exists() else "a link that leads nowhere"
            what = what if place == Path(options.runs) else f"inside {place}, which is {what}"
            raise ValueError(f"--runs {options.runs} is {what}: name the folder that holds the runs")
    if options.query is not None and options.query < 0:
        raise ValueError(f"--query {options.query} must be at least 0, a test picture's number")
    other = getattr(options, "from")
    if other and not options.record:
        raise ValueError(f"--from {other} works only with --record: add --record")
    if other and options.tables:
        raise ValueError("--record --from keeps the whole file: leave the tables out")
    names, slurm = options.tables, " ".join(options.slurm)
    several, selects = len(names) > 1, options.json or options.rows != "*"
    if "efficiency" in names and (several or selects or modes_of(options)):
        modes = "".join(f" and --{mode}" for mode in modes_of(options) if mode != "json")
        raise ValueError(f"efficiency is measured on its own: leave out other tables, --rows, --json{modes}")
    if (options.record and not other or options.attest) and not any(Path(options.runs).glob("*/*/result.json")):
        what = "holds no finished run" if Path(options.runs).is_dir() else "does not exist"
        todo = "record" if options.record else "attest"
        raise ValueError(f"--runs {options.runs} {what}: name the folder that holds the runs to {todo}")
    if options.seeds is not None and not 1 <= options.seeds <= 1000:
        raise ValueError(f"--seeds {options.seeds} must be from 1 to 1000")
    for mode in ("write", "figures"):
        if getattr(options, mode) and names:
            what = "regenerates the documents" if mode == "write" else "draws the pictures of the documents"
            raise ValueError(f"--{mode} {what} and takes no table: leave the table out")
    if "pretrain" in names and (several or modes_of(options)):
        raise ValueError("pretrain makes the parameters of the small networks, and nothing else: leave out the rest")
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
    check_effects(options)


def modes_of(options):
    """Those of MODES that the command line names."""
    return [mode for mode in MODES if getattr(options, mode)]


def check_effects(options):
    """Raise ValueError for a flag that has no effect on what is done."""
    modes = modes_of(options)
    if len(modes) > 1:
        raise ValueError(f"--{' and --'.join(modes)} are different things to do: choose one")
    done = what_is_done(options)
    known = EFFECTIVE[done] | {"tables", *MODES}
    rules = [
        effects.Rule((flag,), lambda options: False, f"{{typed}} has no effect on {words(done)}: leave it out")
        for flag in vars(options)
        if flag not in known
    ]
    both = "--mini and --small are two forms of a table: choose one"
    rules.append(effects.Rule(("small",), lambda options: not options.mini, both))
    named = "{typed} has no form of the report, whose pictures are your own: leave it out"
    rules.append(effects.Rule(("small",), lambda options: "report" not in options.tables, named))
    form = "{typed} changes the mini form of a table: add --mini and the table's name, or leave it out"
    rules.append(effects.Rule(("from_scratch",), lambda o: o.mini and o.tables and "report" not in o.tables, form))
    small = "{typed} has no effect with --mini, which needs no data: leave it out"
    rules.append(effects.Rule(("data",), lambda options: not options.mini, small))
    jobs = "{typed} has no effect with --backend slurm, whose jobs take the devices that they get: leave it out"
    rules.append(effects.Rule(("ctx",), lambda options: options.backend != "slurm" or "report" in options.tables, jobs))
    own = "{typed} is for the paper's datasets, and --dataset names your own: leave it out"
    rules.append(effects.Rule(("data",), lambda options: not options.dataset, own))
    effects.check(options, rules)


def what_is_done(options):
    """The key of EFFECTIVE that the command line asks for; the first of several modes."""
    modes = modes_of(options)
    done = modes[0] if modes else "training" if options.tables else "listing"
    done += " --measure" * (options.measure and done == "plan") + " --from" * bool(getattr(options, "from"))
    for name in ("efficiency", "figure4", "pretrain"):
        if name in options.tables and done in ("training", "report"):
            done = name + " --report" * (done == "report")
    return done if done in EFFECTIVE else done.split()[0]


def words(done):
    """A key of EFFECTIVE as it reads in a sentence."""
    named = {"listing": "the list of all tables (name one)"}
    return named.get(done, f"--{done}" if done.split()[0] in MODES else done)
