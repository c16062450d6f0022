"""The day the data are there, rehearsed: python benchmarks/rehearsal.py FOLDER --ctx cuda0 --engine pytorch

Makes stand-ins for CARS196, CUB200-2011 and the ImageNet parameters (`stand_ins.py`), then types what a person will:
the plan, and a row of Tables 1 and 3 in the paper's form. Each run is killed once on the way and goes on. After each it
prints seconds, memory and disk beside what the plan predicted. Stop it and start it again as you like: what was seen of
a run is kept.

--short is for a CPU: a small network and few steps, everything else as it is. No number of a rehearsal is a result.
"""

import contextlib
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.watched import Watched
from gluon_cgd.commands.options import main_of, name
from gluon_cgd.commands.output import say
from gluon_cgd.engines import choice
from gluon_cgd.experiment import REVISION
from gluon_cgd.files import grid, regular
from gluon_cgd.files.whole import write_json, write_text
from gluon_cgd.machine import process
from gluon_cgd.machine.facts import PROJECT

TABLES = {"table1": ("Both", "cars196"), "table3": ("CGD", "cub200")}  # table -> the row that is trained, its dataset
WITHIN = 0.1  # of the prediction
NOT_RESUMED = "it did not go on from a checkpoint"


def add_flags(p):
    """The flags of this script."""
    p.add_argument("folder", type=name, metavar="FOLDER", help="for the stand-ins, the cache and the runs: 15 GB")
    p.add_argument("--tables", nargs="+", choices=tuple(TABLES), default=list(TABLES), help="(default: both)")
    p.add_argument("--ctx", type=name, help="the device, as of the tables")
    p.add_argument("--engine", type=name, help="the engine, as of the tables")
    p.add_argument("--precision", type=name, help="the precision, as of the tables")
    p.add_argument("--short", action="store_true", help="a small network and few steps, for a CPU")
    p.add_argument("--no-kill", action="store_true", help="let each run end without killing it once")


def run(options):
    """Type the plans, make the stand-ins, type the commands, and print what they took; 1 if one was missed, else 0."""
    from benchmarks import shortened, stand_ins

    folder = Path(options.folder).absolute()
    kind = ["short"] * options.short + [options.engine, options.precision]  # so that no run is taken for another's
    data, runs = folder / "data", folder / "-".join(["runs", *filter(None, kind)])
    os.environ["GLUON_CGD_CACHE"] = str(folder / "cache")
    how = [word for flag in ("ctx", "engine", "precision") for word in words(flag, getattr(options, flag))]
    typed = {table: ["bash", str(PROJECT / "reproduce" / f"{table}.sh")] for table in options.tables}
    if options.short:
        typed = {table: [sys.executable, str(PROJECT / "benchmarks" / "shortened.py"), table] for table in typed}
    for line in typed.values():  # first: a device that is not there is told before anything is drawn
        plan = [*line, "--plan", "--measure", "--seeds", "1", "--runs", str(runs), *how]
        if subprocess.run(shown(plan), check=False).returncode:
            raise ValueError("the plan could not be made, as it says above: mend that, and start again")
    weights = stand_ins.write_parameters(shortened.SHORT["backbone"] if options.short else "resnet50", folder)
    results = []
    for table, line in typed.items():
        row, dataset = TABLES[table]
        start = time.monotonic()
        stand_ins.write(dataset, data)
        say(
            f"{data / dataset}: the stand-in for {dataset} is there ({time.monotonic() - start:.0f} seconds)",
            flush=True,
        )
        line = [*line, "--rows", row, "--seeds", "1", "--data", str(data), "--runs", str(runs)]
        line += ["--weights", str(weights), *how]
        results.append(rehearsed(table, experiment_of(table, options.short), line, folder, runs, not options.no_kill))
        text = as_text(results)
        write_text(runs / "rehearsal.md", text)  # after each table: the next one may be stopped
        write_json(runs / "rehearsal.json", results)
        say(text, flush=True)
    bad = ("missed", "not predicted", f"after that; {NOT_RESUMED}")
    return int(any(row[3].startswith(bad) for found in results for row in rows_of(found)[1:]))


def as_text(results):
    """The tables of the commands that were rehearsed so far."""
    lines = [f"## {found['table']}\n\n" + "\n".join(grid.as_text(rows_of(found))) for found in results]
    return "A rehearsal with made-up pictures and parameters: none of it is a result.\n\n" + "\n\n".join(lines) + "\n"


def words(flag, value):
    """["--ctx", "cuda0"] for a flag that was given."""
    return [f"--{flag}", value] if value else []


def shown(line):
    """`line`, the words of a command, after it was printed."""
    say(f"$ {shlex.join(line)}", flush=True)
    return line


def rehearsed(table, experiment, line, folder, runs, kills):
    """What the command `line` took, beside what the plan said of it; it is killed once when it has a new checkpoint.

    What was seen of it is kept in `runs`, for a rehearsal that is stopped and started again.
    """
    result, known = place_of(runs, experiment, "result.json"), runs / f"watched-{experiment.key()}.json"
    seen = regular.read_json(known) if known.is_file() else {}
    if not result and not place_of(runs, experiment, "checkpoint.npz"):
        seen = {}  # it begins anew
    if result and seen.get("ended", not seen):
        say(f"{result} is there: this run is not trained again", flush=True)
    else:
        seen = {"killed_at": None, **seen, "ended": False}
        for kill in (True, False) if kills and not seen["killed_at"] else (False,):
            if watch(line, runs, experiment, known, seen, kill):
                say(f"killed after {seen['killed_at']:.0f} seconds, as a power cut would; it goes on", flush=True)
            elif kill:
                say("it ended before it could be killed", flush=True)
                break
        result = place_of(runs, experiment, "result.json")
        if not (result and (result.parents[2] / "reports" / f"{table}-rehearsal.md").is_file()):
            raise ValueError(f"{shlex.join(line)} left no result, or no report, under {runs}: see what it printed")
        write_json(known, {**seen, "ended": True})
    values, log = regular.read_json(result), (result.parent / "train.log").read_text(encoding="utf-8").splitlines()
    measured = {
        "seconds": values["seconds"],
        "pictures": sum(one.stat().st_size for one in cached_for(experiment, folder / "cache")),
        "parameters": sum(one.stat().st_size for one in result.parent.glob("*.params")),
        "memory": seen.get("memory"),
        "gpu memory": seen.get("gpu_memory") or None,
    }
    return {
        "table": f"{table} {TABLES[table][0]}",
        "experiment": experiment.to_dict(),
        "predicted": predicted(experiment, values, result.parents[2]),
        "measured": {what: value for what, value in measured.items() if value is not None},
        "command": seen.get("seconds"),
        "killed_at": seen.get("killed_at"),
        "resumed": [
            text.partition("resumed ")[2].partition(" from ")[0] for text in log if "resumed at iteration" in text
        ],
    }


def watch(line, runs, experiment, known, seen, kill):
    """Run `line` and add what it took to `seen`, kept in the file `known`; whether it was killed at a checkpoint."""
    watched = Watched({name: seen[name] for name in Watched().to_dict() if name in seen})

    def checkpoint():
        file = place_of(runs, experiment, "checkpoint.npz")
        with contextlib.suppress(FileNotFoundError):  # the run has just ended
            return file and file.stat().st_mtime_ns

    before = checkpoint()
    try:
        killed = watched.run(shown(line), (lambda: checkpoint() not in (None, before)) if kill else None)
        seen["killed_at"] = watched.seconds if killed else seen["killed_at"]
        return killed
    finally:
        seen.update(watched.to_dict())
        if known.parent.is_dir():
            write_json(known, seen)


def experiment_of(table, short):
    """The experiment of the row of `table` that is trained."""
    from benchmarks.shortened import shortened
    from reproduce.tables import TABLES as PAPERS

    chosen = shortened(PAPERS[table]) if short else PAPERS[table]
    return next(row.experiment for row in chosen.rows if row.name == TABLES[table][0])


def place_of(runs, experiment, file):
    """The `file` of the run of `experiment` below `runs`, wherever its engine keeps it, or None."""
    place = f"**/{experiment.key()}/r{REVISION}-seed0/{file}"
    return next(iter(sorted(Path(runs).glob(place))), None)


def cached_for(experiment, cache):
    """The files of resized pictures that the experiment reads, known by their sizes."""
    sides = (experiment.resize, experiment.input_size)
    wanted = {3 * side**2 * count for side, count in zip(sides, counts_of(experiment))}
    return [file for file in (cache / "pictures").glob("*.uint8") if file.stat().st_size in wanted]


def counts_of(experiment):
    """(training, test) pictures."""
    from reproduce import store
    from reproduce.training import costs

    return costs.pictures(*store.data_of(experiment))


def predicted(experiment, result, store):
    """What the plan predicts of one run, by what --measure measured: {"seconds", "gpu memory", "pictures", ...}.

    Bytes but for the seconds. result: of the run, which says what trained it.  store: of its engine, see
    `reproduce.store`. Of main memory there is a rule for MXNet and ResNet-50 at 224 on a CPU alone, the doctor's.
    """
    from gluon_cgd.doctor import hardware
    from reproduce.training import costs, plan

    counts, sides = counts_of(experiment), (experiment.resize, experiment.input_size)
    found = {
        "pictures": sum(3 * side**2 * count for side, count in zip(sides, counts)),
        "parameters": 2 * 4 * costs.parameters(experiment),
    }
    file, engine = store / "reports" / "steps.json", choice.of(result)
    machines = regular.read_json(file) if file.is_file() else {}
    only = next(iter(machines.values())) if len(machines) == 1 else {}  # PyTorch may call a GPU another name
    name = result["machine"] + (f" by {engine}" if engine.name != "mxnet" else "")
    cost = machines.get(name, only).get(costs.network(experiment))
    if cost:
        found["seconds"] = costs.seconds(plan.Wanted(experiment, 0, (), False, 0), cost)
        found["gpu memory"] = costs.gpu_memory(experiment, cost)
    on_a_cpu = engine.name == "mxnet" and result["device"].startswith("cpu")
    if on_a_cpu and (experiment.backbone, experiment.input_size) == ("resnet50", 224):
        found["memory"] = hardware.FIXED + hardware.A_PICTURE * experiment.batch_size
    return found


def rows_of(found):
    """The table of one rehearsed command, its head first."""
    body = [["", "predicted", "measured", ""]]
    for what in ("seconds", "memory", "gpu memory", "pictures", "parameters"):
        plan, own = (found[kind].get(what) for kind in ("predicted", "measured"))
        verdict = "" if plan is None or own is None else judged(plan, own)
        verdict = "not predicted" if what == "seconds" and plan is None else verdict
        body.append([what, *("-" if value is None else quantity(what, value) for value in (plan, own)), verdict])
    seconds = "-" if found["command"] is None else quantity("seconds", found["command"])
    body.append(["the whole command", "-", seconds, "with preparing the pictures and the report"])
    if found["killed_at"]:
        went_on = f"then it was resumed {found['resumed'][-1]}" if found["resumed"] else NOT_RESUMED
        body.append(["killed", "-", f"{found['killed_at']:,.0f} s", f"after that; {went_on}"])
    return body


def judged(plan, own):
    """A prediction beside what came, in words."""
    return f"{'within' if abs(own / plan - 1) <= WITHIN else 'missed:'} {100 * (own / plan - 1):+.0f} %"


def quantity(what, value):
    """A number with its unit."""
    if what == "seconds":
        return f"{value:,.0f} s"
    return f"{value / 1e9:,.2f} GB" if value >= 1e8 else f"{value / 1e6:,.1f} MB"


main = main_of(__doc__, add_flags, run)

if __name__ == "__main__":
    sys.exit(process.run(main, [os.path.abspath(__file__)]))  # a signal ends what it has started too
