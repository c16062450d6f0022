"""Compares the speed of this project with that of other libraries, on this machine: bash benchmarks/run.sh

Both sides do the same work in turns, each in its own process. Each round gives a ratio of the two rates; the result is
the median of these ratios.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import inputs, table
from benchmarks.comparisons import GROUPS, NETWORK
from benchmarks.turns import Process
from gluon_cgd.commands.effects import Rule
from gluon_cgd.commands.options import main_of
from reproduce.documents import generated

HERE = Path(__file__).resolve().parent


def measured(group, start, rounds):
    """The results of the rows of `group`, as `table.comparisons` takes them. start: gives a task's Process."""
    tasks = list(dict.fromkeys(task for row in group.rows for task in (*row.others, row.ours)))
    processes, turns = {}, {task: [] for task in tasks}
    try:
        for number in range(rounds):
            for task in tasks:
                if task not in processes:
                    processes[task] = start(task)
                turns[task].append({**processes[task].turn(), "units": processes[task].units})
                rate = processes[task].units / turns[task][-1]["seconds"]
                print(f"  {number + 1}/{rounds} {task}: {rate:,.4g} a second", file=sys.stderr, flush=True)
                if not group.together:
                    processes.pop(task).end()
    finally:
        for process in processes.values():
            process.end()
    return [result(row, turns) for row in group.rows]


def result(row, turns):
    """The result of `row`: the medians of the rates, the memory, and the ratio of each round.

    Raises ValueError if both sides give an answer and the answers differ.
    """
    rates = {task: [turn["units"] / turn["seconds"] for turn in turns[task]] for task in (row.ours, *row.others)}
    best = max(row.others, key=lambda task: statistics.median(rates[task]))
    ratios = [ours / max(theirs) for ours, *theirs in zip(rates[row.ours], *(rates[other] for other in row.others))]
    more = [a["seconds"] - b["seconds"] for a, b in zip(turns[row.ours], turns[best])]
    values = {
        "work": row.work,
        "against": row.against,
        "unit": row.unit,
        "ours": statistics.median(rates[row.ours]),
        "other": statistics.median(rates[best]),
        "ratios": ratios,
        "more": statistics.median(more),
        "memory": [max(turn["memory"] for turn in turns[task]) for task in (row.ours, best)],
        "at_least": row.at_least,
        "at_most_more": row.at_most_more,
    }
    answers = [turns[task][0]["answer"] for task in (row.ours, best)]
    if all(answers) and not np.allclose(*answers, atol=1e-4):
        raise ValueError(f"{row.ours} computed {answers[0]}, but {best} {answers[1]}: they do not do the same work")
    return {**values, "same_numbers": all(answers) or None}


def add_flags(p):
    """The flags of this script."""
    p.add_argument("--peers", help=argparse.SUPPRESS)
    names = [group.name for group in GROUPS]
    p.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="WORD", help=f"only these of {', '.join(names)}"
    )
    p.add_argument(
        "--rounds", type=int, metavar="N", help="rounds of each comparison (default: 2 to 9, fewer for slow ones)"
    )
    p.add_argument(
        "--folder", metavar="DIR", help="keep pictures, models and vectors here (default: a temporary folder)"
    )
    p.add_argument("--record", action="store_true", help="keep the results in benchmarks/results, for docs/speed.md")
    p.add_argument("--write", action="store_true", help="only write the tables of docs/speed.md again")


def run(options):
    """Measure and print, with --record also keep the results; with --write only write the tables again."""
    if options.rounds is not None and options.rounds < 1:
        raise ValueError(f"--rounds {options.rounds} must be at least 1")
    if options.write:
        print(f"changed: {', '.join(generated.write(table.DOCUMENTS, table.PARTS)) or 'nothing'}")
        return
    if not options.peers:
        raise ValueError("the programs to compare with need an environment: start bash benchmarks/run.sh")
    with tempfile.TemporaryDirectory() as temporary:
        compare(options, Path(options.folder or temporary))


def compare(options, folder):
    """Measure the groups in --only and print their table. folder: for the inputs and outputs of the tasks."""
    folder.mkdir(parents=True, exist_ok=True)
    python = {"ours": sys.executable, "peers": options.peers}
    shown = {"BENCHMARK_FOLDER": str(folder), "PYTHONPATH": str(HERE.parent), "HOME": os.environ.get("HOME", "/")}
    environment = {**os.environ, **shown, "GLUON_CGD_CACHE": str(folder / "cache")}
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):  # set by this process; each side takes its own default
        environment.pop(name, None)

    def starter(warm):
        def start(task):
            script, _, name = task.partition(" ")
            mine = {**environment, "BENCHMARK_WARM": "1" if warm else ""}
            if script == "peers":
                mine.pop("PYTHONPATH")
            return Process(python[script], HERE / f"{script}.py", name, mine)

        return start

    origin = {**table.origin(), "network": NETWORK}
    rows = []
    for group in GROUPS:
        if group.name in options.only:
            print(f"{group.name}:", file=sys.stderr, flush=True)
            inputs.make(group.needs, folder, starter(True))
            results = measured(group, starter(group.warm), options.rounds or group.rounds)
            rows += [{"group": group.name, **row} for row in results]
            if options.record:
                others = table.recorded("speed") or {}
                merged = together(dict(origin, rows=rows), others.pop(origin["machine"], None))
                table.record("speed", {origin["machine"]: merged, **others})  # the newest first
    print(table.comparisons(dict(origin, rows=rows)))


def together(results, before):
    """`results` and the groups that only `before` has, in the order of GROUPS; only `results` if the origins differ.

    before: earlier results of the same machine, or None.
    """
    if before and all(before.get(part) == results.get(part) for part in ("commit", "settings")):
        fresh = {row["group"] for row in results["rows"]}
        rows = results["rows"] + [row for row in before["rows"] if row["group"] not in fresh]
        names = [group.name for group in GROUPS]
        results = dict(results, rows=sorted(rows, key=lambda row: names.index(row["group"])))
    return results


RULES = (
    Rule(
        ("only", "rounds", "folder", "record"),
        lambda options: not options.write,
        "{flags}: nothing is measured with --write, leave one out",
    ),
)
main = main_of(__doc__, add_flags, run, "bash benchmarks/run.sh", RULES)

if __name__ == "__main__":
    sys.exit(main())
