"""Runs that somebody else made: written as one file by `--attest`, checked and kept by `--record --from`.

The file holds the runs as `--record` would keep them, each with its seal (which has the hashes of its ranks), and the
SHA-256 of the whole. The hash shows that the file is the one that was written. It does not show who wrote it, nor that
the runs were trained: who sends a file should publish its hash where only they can write, and others train again.

These runs never become ours: they stay in a folder of their own, with the name, machine and commit of each, and
REPRODUCE.md lists them beside our numbers. Runs of equal seeds begin alike, so a mean over both would count them twice.
"""

import datetime
import hashlib
import json

from gluon_cgd.experiment import REVISION, Experiment
from gluon_cgd.files import grid, regular
from gluon_cgd.files.whole import write_json
from gluon_cgd.machine import facts
from gluon_cgd.runs import ranks, schema
from reproduce import recorded, seal, store
from reproduce.documents import record
from reproduce.report import comparison, formats, trained_by
from reproduce.small import small_tables
from reproduce.tables import EVERYTHING
from reproduce.training import plan

FOLDER = recorded.FOLDER / "reproductions"
FORMAT = 1
EMPTY = (
    "Nobody has sent runs yet. `python -m reproduce --attest --by NAME` writes your finished runs into one file; "
    "attach it to an issue or a pull request, and it is listed here."
)
RULE = schema.fields(
    {
        "attestation": schema.whole(FORMAT, FORMAT),
        "by": schema.text,
        "date": schema.text,
        "revision": schema.whole(0, schema.MOST),
        "commit": schema.optional(schema.text),
        "machine": schema.text,
        "experiments": schema.each(schema.RECORDED),
        "sha256": schema.text,
    }
)


def write(runs, tables, by, device="cpu"):
    """Write the finished runs behind `tables` in the store `runs` to a file under its reports; returns its name.

    by: who made them.  device: names the machine.
    Raises ValueError if there are none.
    """
    experiments = {}
    for experiment in sorted(plan.experiments(tables), key=Experiment.key):
        key = experiment.key()
        finished, there = [], store.every(runs, experiment)
        store.check_alike(there, store.folder(runs, experiment, 0).parent)
        for run in there:
            arrays = record.ranks_of(runs, experiment, run)
            finished.append(seal.sealed(key, recorded.alone(run), arrays and ranks.without_classes(arrays)))
        if finished:
            experiments[key] = {"experiment": experiment.to_dict(), "runs": finished}
    if not experiments:
        names = ", ".join(table.name for table in tables)
        raise ValueError(f"--runs {runs} holds no finished run of {names}: train one first, or name another folder")
    values = {
        "attestation": FORMAT,
        "by": by,
        "date": datetime.date.today().isoformat(),
        "revision": REVISION,
        "commit": facts.commit(),
        "machine": facts.machine(device),
        "experiments": experiments,
    }
    values["sha256"] = sha256(values)
    file = formats.reports(runs) / f"attestation-{values['sha256'][:16]}.json"
    write_json(file, values)
    return file


def sha256(values):
    """The SHA-256 of the attestation `values`, without its own, in JSON with sorted names and without spaces."""
    rest = {name: value for name, value in values.items() if name != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def read(file):
    """The attestation in `file`. Raises ValueError for one that is broken or was changed after it was written."""
    values = regular.read_json(file)
    wrong = RULE(values, "")
    if wrong:
        raise ValueError(f"{file} is no attestation, it {wrong}: ask for the file again")
    if values["sha256"] != sha256(values):
        raise ValueError(f"{file} was changed after it was written (its sha256 is another): ask for the file again")
    for key, part in values["experiments"].items():
        seeds = [run["seed"] for run in part["runs"]]
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"{file} has two runs of {key} with one seed: leave one out")
        changed = [run["seed"] for run in part["runs"] if seal.SEAL not in run] or seal.broken(key, part["runs"])
        if changed:
            rule = f"has a run of {key}, seed {changed[0]}, that was changed (its seal is another)"
            raise ValueError(f"{file} {rule}: ask for the file again")
    return values


def check(file, values):
    """Raise ValueError unless the attestation `values`, read from `file`, can be compared with our runs of today."""
    if values["revision"] != REVISION:
        rule = f"is of revision {values['revision']} of the training code, and ours is {REVISION}"
        raise ValueError(f"{file} {rule}: the runs cannot be compared, ask for new ones")
    known = plan.experiments(EVERYTHING)
    for key, part in values["experiments"].items():
        experiment = Experiment.from_dict(part["experiment"])
        if experiment.key() != key or experiment not in known:
            raise ValueError(f"{file} has the experiment {key}, which is not that of a row of a table: leave it out")
        if any(run.get("revision") != REVISION for run in part["runs"]):
            raise ValueError(f"{file} has a run of {key} that is of another revision than the file says: leave it out")
        ours = {run[seal.SEAL] for run in recorded.read(experiment) if seal.SEAL in run}
        if ours & {run[seal.SEAL] for run in part["runs"]}:
            raise ValueError(f"{file} has runs of {key} that are copies of ours: send runs of your own")


def seals(values):
    """The seals of the runs of an attestation."""
    return {run[seal.SEAL] for part in values["experiments"].values() for run in part["runs"]}


def keep(file, folder=None):
    """Check the attestation in `file` and copy it into `folder`; returns (its name there, None if it has nothing new).

    folder: by default that of all attestations.
    """
    folder = FOLDER if folder is None else folder
    values = read(file)
    check(file, values)
    if seals(values) <= {one for other in kept(folder) for one in seals(other)}:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{values['sha256'][:16]}.json"
    write_json(folder / name, values)
    return name


def kept(folder=None):
    """The attestations in `folder`, in the order of their dates; by default those of all."""
    files = sorted((FOLDER if folder is None else folder).glob("*.json"))
    return sorted((read(file) for file in files), key=lambda values: (values["date"], values["sha256"]))


def reproductions():
    """Who reproduced what: a line for each table and form of each attestation, beside our numbers."""
    head = ("by", "table", "runs", "equal to ours to the bit", "R@1 of its rows, theirs - ours")
    lines, counted = [(*head, "machine", "Python, MXNet, NumPy", "commit", "file")], set()
    for values in kept():
        theirs = {}
        for part in values["experiments"].values():
            new = [run for run in part["runs"] if run[seal.SEAL] not in counted]
            theirs[Experiment.from_dict(part["experiment"])] = [
                {**run, "experiment": part["experiment"]} for run in new
            ]
        counted |= seals(values)
        name, file = grid.escaped(values["by"]) or "not named", f"`{values['sha256'][:16]}`"
        if values["revision"] != REVISION:
            runs = [run for part in theirs.values() for run in part]
            lines.append((name, f"of revision {values['revision']}", len(runs), "-", "-", *origin(runs), file))
            continue
        for table in EVERYTHING:
            for form, reduced in ((table, False), (table, True), *((form, True) for form in small_tables([table]))):
                found = compared(form, reduced, theirs)
                if found:
                    title = f"{table.label}{f', {form.reduced} form' * reduced}"
                    lines.append((name, title, *found, file))
    return grid.as_markdown(lines) if len(lines) > 1 else EMPTY


def compared(table, small, theirs):
    """The cells of one line of `reproductions`, None if there are no such runs. theirs: {Experiment: [run, ...]}."""
    rows = [row for row in comparison.entries(table, lambda e: theirs.get(e, []), small, "last") if row.ours]
    experiments = list(dict.fromkeys(row.experiment for row in rows))
    runs = [run for experiment in experiments for run in theirs[experiment]]
    if not runs:
        return None

    def same_seeds(experiment):
        seeds = {run["seed"] for run in theirs.get(experiment, ())}
        return [run for run in recorded.read(experiment) if run["seed"] in seeds]

    ours = {(row.row, row.experiment): row for row in comparison.entries(table, same_seeds, small, "last")}
    pairs = [(row, ours[row.row, row.experiment], row.own_columns()[0]) for row in rows]
    apart = [row.ours[column].mean - mine.ours[column].mean for row, mine, column in pairs if column in mine.ours]
    beside = [(run, mine) for e in experiments for run in theirs[e] for mine in same_seeds(e)]
    beside = [(run, mine) for run, mine in beside if run["seed"] == mine["seed"]]
    equal = sum(run.get("parameters_sha256") == mine.get("parameters_sha256") for run, mine in beside)
    range_of = f"{min(apart):+.1f} to {max(apart):+.1f}" if apart else "-"
    return (len(runs), f"{equal} of {len(beside)}" if beside else "-", range_of, *origin(runs))


def origin(runs):
    """(machines, versions, commits) of `runs`, each once, as cells of a table."""

    def listed(values):
        return "; ".join(dict.fromkeys(grid.escaped(value) for value in values)) or "-"

    versions = [trained_by.versions(run) for run in runs]
    machines, commits = ([str(run.get(name) or "-") for run in runs] for name in ("machine", "commit"))
    return listed(machines), listed(versions), listed(commit[:10] for commit in commits)
