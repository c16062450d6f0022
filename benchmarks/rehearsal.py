"""The day the data are there, rehearsed: python benchmarks/rehearsal.py FOLDER --ctx cuda0 --engine pytorch

Makes stand-ins for CARS196, CUB200-2011 and the ImageNet parameters (`stand_ins.py`), then types what a person will:
the plan, and a row of Tables 1 and 3 in the paper's form. Each run is killed once on the way and goes on. At the end it
prints seconds, memory and disk beside what the plan predicted. Stop it and start it again as you like.

--short is for a CPU: a small network and few steps, everything else as it is. No number of a rehearsal is a result.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.watched import Watched
from gluon_cgd.commands.options import main_of, name
from gluon_cgd.commands.output import say
from gluon_cgd.files import grid, regular
from gluon_cgd.files.whole import write_json, write_text
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
    """Make the stand-ins, type the commands, and print what they took; 1 if a prediction was missed, else 0."""
    from benchmarks import shortened, stand_ins

    folder = Path(options.folder).absolute()
    kind = ["short"] * options.short + [options.engine, options.precision]  # so that no run is taken for another's
    data, runs = folder / "data", folder / "-".join(["runs", *filter(None, kind)])
    os.environ["GLUON_CGD_CACHE"] = str(folder / "cache")
    backbone = shortened.SHORT["backbone"] if options.short else "resnet50"
    weights = stand_ins.write_parameters(backbone, folder)
    how = [word for flag in ("ctx", "engine", "precision") for word in words(flag, getattr(options, flag))]
    results = []
    for table in options.tables:
        row, dataset = TABLES[table]
        start = time.monotonic()
        stand_ins.write(dataset, data)
        say(
            f"{data / dataset}: the stand-in for {dataset} is there ({time.monotonic() - start:.0f} seconds)",
            flush=True,
        )
        typed = ["bash", str(PROJECT / "reproduce" / f"{table}.sh")]
        if options.short:
            typed = [sys.executable, str(PROJECT / "benchmarks" / "shortened.py"), table]
        plan = [*typed, "--plan", "--measure", "--seeds", "1", "--runs", str(runs), *how]
        if subprocess.run(shown(plan), check=False).returncode:
            say("the plan could not be made, as it says above: what was predicted before is taken, or nothing")
        line = [*typed, "--rows", row, "--seeds", "1", "--data", str(data), "--runs", str(runs)]
        results.append(rehearsed(table, [*line, "--weights", str(weights), *how], folder, runs, not options.no_kill))
    lines = [f"## {found['table']}\n\n" + "\n".join(grid.as_text(rows_of(found))) for found in results]
    text = "A rehearsal with made-up pictures and parameters: none of it is a result.\n\n" + "\n\n".join(lines) + "\n"
    write_text(runs / "rehearsal.md", text)
    write_json(runs / "rehearsal.json", results)
    say(text)
    bad = ("missed", f"after that; {NOT_RESUMED}")
    return int(any(row[3].startswith(bad) for found in results for row in rows_of(found)[1:]))


def words(flag, value):
    """["--ctx", "cuda0"] for a flag that was given."""
    return [f"--{flag}", value] if value else []


def shown(line):
    """`line`, the words of a command, after it was printed."""
    say(f"$ {' '.join(line)}", flush=True)
    return line


def rehearsed(table, line, folder, runs, kills):
    """What the command `line` took, beside what the plan said of it; it is killed once when it has a checkpoint."""
    experiment = experiment_of(table, "shortened.py" in line[1])
    watched, killed_at = Watched(), None
    for kill in (True, False) if kills else (False,):
        if watched.run(shown(line), place_of(runs, experiment, "checkpoint.npz") if kill else None):
            killed_at = watched.seconds
            say(f"killed after {killed_at:.0f} seconds, as a power cut would; the same command goes on", flush=True)
        elif kill:
            say("it ended before it could be killed", flush=True)
            break
    file = place_of(runs, experiment, "result.json")()
    if file is None:
        raise ValueError(f"{' '.join(line)} left no result under {runs}: see what it printed")
    result, log = regular.read_json(file), (file.parent / "train.log").read_text(encoding="utf-8").splitlines()
    measured = {
        "seconds": result["seconds"],
        "pictures": sum(one.stat().st_size for one in cached_for(experiment, folder / "cache")),
        "parameters": sum(one.stat().st_size for one in file.parent.glob("*.params")),
        "memory": watched.memory,
        "gpu memory": watched.gpu_memory,
    }
    expected = predicted(experiment, runs)
    if watched.gpu_memory:
        expected.pop("memory", None)  # the rule is of a CPU
    return {
        "table": f"{table} {TABLES[table][0]}",
        "experiment": experiment.to_dict(),
        "predicted": expected,
        "measured": {what: value for what, value in measured.items() if value},
        "command": watched.seconds,
        "killed_at": killed_at,
        "resumed": [
            text.partition("resumed ")[2].partition(" from ")[0] for text in log if "resumed at iteration" in text
        ],
    }


def experiment_of(table, short):
    """The experiment of the row of `table` that is trained."""
    from benchmarks.shortened import shortened
    from reproduce.tables import TABLES as PAPERS

    chosen = shortened(PAPERS[table]) if short else PAPERS[table]
    return next(row.experiment for row in chosen.rows if row.name == TABLES[table][0])


def place_of(runs, experiment, file):
    """A function: the `file` of the run of `experiment` below `runs`, wherever its engine keeps it, or None."""
    return lambda: next(iter(sorted(Path(runs).glob(f"**/{experiment.key()}/*-seed0/{file}"))), None)


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


def predicted(experiment, runs):
    """What the plan predicts of one run, by what --measure measured: {"seconds", "pictures", "parameters", "memory"}.

    Bytes but for the seconds. Of the memory there is a rule for ResNet-50 at 224 on a CPU alone, the doctor's.
    """
    from gluon_cgd.doctor import hardware
    from reproduce.training import costs, plan

    counts, sides = counts_of(experiment), (experiment.resize, experiment.input_size)
    found = {
        "pictures": sum(3 * side**2 * count for side, count in zip(sides, counts)),
        "parameters": 2 * 4 * costs.parameters(experiment),
    }
    run = plan.Wanted(experiment, 0, (), False, 0)
    for file in sorted(Path(runs).glob("**/steps.json"), key=os.path.getmtime):
        for measured in regular.read_json(file).values():
            if costs.network(experiment) in measured:
                found["seconds"] = costs.seconds(run, measured[costs.network(experiment)])
    if (experiment.backbone, experiment.input_size) == ("resnet50", 224):
        found["memory"] = hardware.FIXED + hardware.A_PICTURE * experiment.batch_size
    return found


def rows_of(found):
    """The table of one rehearsed command, its head first."""
    body = [["", "predicted", "measured", ""]]
    for what in ("seconds", "memory", "gpu memory", "pictures", "parameters"):
        plan, own = (found[kind].get(what) for kind in ("predicted", "measured"))
        verdict = "" if plan is None or own is None else judged(plan, own)
        body.append([what, *("-" if value is None else quantity(what, value) for value in (plan, own)), verdict])
    seconds = f"{found['command']:,.0f} s"
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
    sys.exit(main())
