"""What there is to do: the distinct runs behind the tables, which of them are done, and what the rest will take."""

from typing import NamedTuple, Tuple

from gluon_cgd.engines.choice import MXNET
from gluon_cgd.experiment import Experiment
from gluon_cgd.machine.progress import each
from gluon_cgd.runs import checkpoint
from reproduce import averaging, selection, store
from reproduce.report import power
from reproduce.small import small_tables
from reproduce.training import costs


class Wanted(NamedTuple):
    """A run that tables need. names: of all rows that share it, "table5 SM", ...; iteration: 0 unless half done."""

    experiment: Experiment
    seed: int
    names: Tuple[str, ...]
    done: bool
    iteration: int


def wanted(tables, seeds, small, runs, pattern="*", weights=None, needed=None):
    """The distinct runs behind the rows like `pattern` of `tables`, [Wanted, ...], equal experiments once.

    seeds: runs of each row, None for as many as `selection.seeds_of` says.
    needed: None for a look: a run that has a result is done. To train, False or True, as in `store.is_done`.
    Raises ValueError when no row matches, and when a folder holds another run.
    """
    names = {}
    for table in tables:
        for row in selection.rows_of(table, pattern, small):
            for seed in range(selection.seeds_of(table, small, seeds) if row.experiment else 0):
                names.setdefault((selection.experiment_of(row, small), seed), []).append(f"{table.name} {row.name}")
    distinct = []
    for (experiment, seed), rows in each(names.items(), "looking for runs that are done", unit="runs"):
        done = store.is_done(runs, experiment, seed, weights, needed)
        half = 0 if done else checkpoint.iteration(store.folder(runs, experiment, seed) / "checkpoint.npz")
        distinct.append(Wanted(experiment, seed, tuple(dict.fromkeys(rows)), done, half))
    return distinct


def experiments(tables):
    """The distinct experiments behind `tables`, in all their forms."""
    return set().union(*(found for _, found in of_forms(tables)))


def of_forms(tables):
    """[(table, the distinct experiments behind it), ...] of `tables` in the paper's, the mini and the small form."""
    forms = [*((table, reduced) for table in tables for reduced in (False, True))]
    forms += [(table, True) for table in small_tables(tables)]
    return [
        (table, {selection.experiment_of(row, reduced) for row in selection.rows_in(table, reduced) if row.experiment})
        for table, reduced in forms
    ]


def with_averaged(every, runs, engine):
    """`every`, [Wanted, ...], in which a run that another engine has made, and that counts as well, is done.

    runs: the folder that holds the stores of all engines.
    """
    missing = {(run.experiment, run.seed) for run in averaging.missing(runs, every, engine)}
    return [run._replace(done=(run.experiment, run.seed) not in missing) for run in every]


def as_text(tables, every, small, runs, engine=MXNET):
    """The plan as text: the runs of each table, then the time, GPU memory and disk of the missing ones by `engine`.

    every: the runs behind `tables`, as `wanted` returns them.
    """
    lines = [("", "runs", "not shown above", "done", "half done", "missing")]
    counted = set()
    for table in tables:
        needed = [run for run in every if any(name.split(" ")[0] == table.name for name in run.names)]
        own = [run for run in needed if (run.experiment, run.seed) not in counted]
        counted |= {(run.experiment, run.seed) for run in own}
        lines.append((table.name, *map(str, (len(needed), len(own), *states(needed)))))
    lines.append(("together", str(len(every)), str(len(every)), *map(str, states(every))))
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = ["  ".join([c[0].ljust(widths[0]), *(v.rjust(w) for v, w in zip(c[1:], widths[1:]))]) for c in lines]
    missing = [run for run in every if not run.done]
    needed = [] if small else power.plan_lines(tables)
    return "\n".join([*text, "", *needed, *[""] * bool(needed), *costs.costs(missing, runs, engine)])


def states(runs):
    """(done, half done, missing) of [Wanted, ...]."""
    done, half = sum(run.done for run in runs), sum(run.iteration > 0 for run in runs)
    return done, half, len(runs) - done - half
