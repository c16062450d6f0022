"""The generated parts of the documents that need no test: costs, origins, networks, the ledger, runs of others."""

import hashlib
import json
import math

import numpy as np

from reproduce.auditing.declared import DECLARED
from reproduce.auditing.samples import entries, markdown

NOBODY = (
    "Nobody has sent runs yet. `python -m reproduce --attest --by NAME` writes your finished runs into one file; "
    "attach it to an issue or a pull request, and it is listed here."
)


def rows_of(table, small):
    """The rows of a table in one form that are experiments."""
    return [row for row in (table.mini if small else table.paper) if row.experiment]


def distinct(tables, small):
    """{key: experiment} behind `tables` in one form, in the order of their rows."""
    return {row.key: row.experiment for table in tables for row in rows_of(table, small)}


def costs(tables, evidence, steps):
    """A line a script: its runs, and how long they take. steps: {machine: {network: seconds of a picture}}."""
    grid = [("command", "runs", *(f"hours on {name}" for name in steps), "`--mini`: runs", "minutes, as recorded")]
    for table in tables:
        real = {row.key: row.experiment for row in rows_of(table, False)}
        small = {row.key for row in rows_of(table, True)}
        hours = [hours_of(list(real.values()), table.seeds, measured) for measured in steps.values()]
        seconds = [mean_seconds(evidence.get(key)) for key in small]
        minutes = "-" if None in seconds else math.ceil(sum(seconds) / 2 / 60)
        grid.append((f"`bash reproduce/{table.name}.sh`", len(real) * table.seeds, *hours, len(small), minutes))
    return markdown(grid)


def mean_seconds(recorded):
    """The mean seconds of the runs of an experiment, None if it has none."""
    seconds = [run["seconds"] for run in recorded.runs if "seconds" in run] if recorded else []
    return sum(seconds) / len(seconds) if seconds else None


def hours_of(experiments, seeds, measured):
    """The hours of all runs of a table on a machine, "-" if a network was not measured there."""
    total = 0
    for experiment in experiments:
        kept = {None: "", True: ", stride kept", False: ", stride removed"}[experiment["keep_stride"]]
        cost = measured.get(f"{experiment['backbone']} at {experiment['input_size']}{kept}")
        if cost is None:
            return "-"
        queries, trained = DECLARED["tests"][experiment["dataset"]][:2]
        gallery = DECLARED["galleries"].get(experiment["dataset"], 0)
        batch = experiment["batch_classes"] * experiment["batch_images"]
        iterations, evaluations = max(1, round(experiment["passes"] * trained / batch)), experiment["evaluations"]
        steps, checkpoint = iterations * batch * cost["train"], cost.get("checkpoint", 0)
        branches = experiment["combine"] == "concat" and experiment["architecture"] != "B"
        ranked = 2 if branches and len(experiment["descriptors"]) > 1 else 1
        each = (queries + gallery) * (cost["embed"] + ranked * cost.get("query", 0)) + cost.get("best", 0)
        each += ranked * queries * (gallery or queries) * cost.get("pair", 0)
        total += steps + (evaluations + 1) * each + evaluations * checkpoint
        if checkpoint:  # every 100 iterations or ten minutes, and a twentieth of the time at most
            total += steps * checkpoint / max(min(100 * steps / iterations, 600), 20 * checkpoint)
    return f"{seeds * total / 3600:,.0f}"


def origins(tables, evidence, on_photographs=()):
    """Where the recorded runs were made. on_photographs: the tables in their small form."""
    groups = {}
    for some, small in ((tables, False), (tables, True), (on_photographs, True)):
        for key in distinct(some, small):
            for run in evidence[key].runs if key in evidence else ():
                place = (run.get("machine"), run.get("threads"), software(run), run.get("commit"))
                groups.setdefault(place, []).append(run.get("seconds", 0))
    grid = [("runs", "machine", "threads a run", "Python, MXNet, NumPy", "commit", "hours of training")]
    for (machine, threads, versions, commit), seconds in groups.items():
        hours = f"{sum(seconds) / 3600:.1f}"
        grid.append((len(seconds), machine, threads, versions, f"`{str(commit)[:10]}`", hours))
    return markdown(grid)


def backbones():
    """The cost of a CGD with SM, 1,536 dimensions and 98 classes on each network: the network's own, and the head's.

    The network's own are typed (the audit builds no network); the head has two FC layers without bias, a batch norm
    before the classifier, and the classifier.
    """
    head = ("backbone", "library: network", "ImageNet top-1", "channels", "map at 224", "parameters", "multiply-adds")
    grid = [head]
    for name, (source, top1, channels, size, parameters, products) in DECLARED["networks"].items():
        layers = 2 * channels * (1536 // 2) + 98 * channels
        parameters, products = parameters + layers + 2 * channels + 98, products + layers
        cost = (f"{parameters / 1e6:.2f} M", f"{products / 1e9:.2f} G")
        grid.append((f"`{name}`", source, f"{top1:.2f}" if top1 else "-", f"{channels:,}", size, *cost))
    return markdown(grid)


def ledger(text):
    """The table of what the paper leaves open. text: of reproduce/documents/ledger.md."""
    grid = [("open detail", "what we do", "why, from where", "other readings")]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        detail, fields, ours, source, others = (cell.strip() for cell in line.split("|")[1:-1])
        names = [name for name in fields.split(", ") if name]
        values = ", ".join(f"`{name}={value_of(DECLARED['defaults'][name])}`" for name in names)
        grid.append((detail, "; ".join(part for part in (values, ours) if part), source, others or "-"))
    return markdown(grid)


def value_of(value):
    """A default as the ledger prints it."""
    if isinstance(value, list):
        return f"[{', '.join(map(value_of, value))}]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def attestations(folder):
    """The attested runs of others in `folder`, by date. Raises ValueError for one that was changed."""
    found = []
    for file in sorted(folder.glob("*.json")):
        values = json.loads(file.read_text(encoding="utf-8"))
        rest = {name: value for name, value in values.items() if name != "sha256"}
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
        if hashlib.sha256(text.encode()).hexdigest() != values["sha256"] or file.stem != values["sha256"][:16]:
            raise ValueError(f"{file}: it was changed after it was written, or renamed: its sha256 is another")
        found.append(values)
    return sorted(found, key=lambda values: (values["date"], values["sha256"]))


def reproductions(tables, evidence, attested, revision, on_photographs=()):
    """Who reproduced what. attested: of `attestations`.  on_photographs: the tables in their small form."""
    head = ("by", "table", "runs", "equal to ours to the bit", "R@1 of its rows, theirs - ours")
    grid, counted = [(*head, "machine", "Python, MXNet, NumPy", "commit", "file")], set()
    for values in attested:
        theirs, seals = {}, set()
        for key, part in values["experiments"].items():
            theirs[key] = [run for run in part["runs"] if run["seal"] not in counted]
            seals |= {run["seal"] for run in part["runs"]}
        counted |= seals
        name, file = escaped(values["by"]) or "not named", f"`{values['sha256'][:16]}`"
        if values["revision"] != revision:
            runs = [run for part in theirs.values() for run in part]
            grid.append((name, f"of revision {values['revision']}", len(runs), "-", "-", *made(runs), file))
            continue
        for table in tables:
            small = [(form, True) for form in on_photographs if form.name == table.name]
            for form, reduced in ((table, False), (table, True), *small):
                cells = beside(form, reduced, theirs, evidence)
                if cells:
                    title = f"{table.label}, {form.reduced} form" if reduced else table.label
                    grid.append((name, title, *cells, file))
    return markdown(grid) if len(grid) > 1 else [NOBODY]


class Runs:
    """Runs in the place of a `Recorded`."""

    def __init__(self, runs):
        self.runs = runs


def beside(table, small, theirs, evidence):
    """The cells of a line of `reproductions`, None without runs."""
    rows = [entry for entry in entries(table, {key: Runs(runs) for key, runs in theirs.items()}, small) if entry.ours]
    keys = list(dict.fromkeys(entry.row.key for entry in rows))
    runs = [run for key in keys for run in theirs[key]]
    if not runs:
        return None
    same = {}
    for key in keys:
        seeds = {run["seed"] for run in theirs[key]}
        same[key] = Runs([run for run in evidence[key].runs if run["seed"] in seeds] if key in evidence else [])
    mine = {(entry.row.name, entry.row.key): entry for entry in entries(table, same, small) if entry.row.experiment}
    apart = []
    for entry in rows:
        column, ours = entry.own_columns()[0], mine[entry.row.name, entry.row.key].ours
        if column in ours:
            apart.append(entry.ours[column].middle - ours[column].middle)
    pairs = [(run, own) for key in keys for run in theirs[key] for own in same[key].runs if run["seed"] == own["seed"]]
    equal = sum(run.get("parameters_sha256") == own.get("parameters_sha256") for run, own in pairs)
    told = f"{np.min(apart):+.1f} to {np.max(apart):+.1f}" if apart else "-"
    return (len(runs), f"{equal} of {len(pairs)}" if pairs else "-", told, *made(runs))


def made(runs):
    """(machines, versions, commits) of `runs`."""
    versions = [software(run) for run in runs]
    machines = [str(run.get("machine") or "-") for run in runs]
    commits = [str(run.get("commit") or "-")[:10] for run in runs]
    return tuple("; ".join(dict.fromkeys(map(escaped, values))) or "-" for values in (machines, versions, commits))


def software(run):
    """The versions that made a run; where PyTorch trained, its own says so, and in which precision."""
    cells = {name: str(version) for name, version in (run.get("versions") or {}).items()}
    if run.get("engine"):
        cells["torch"] = "PyTorch {} in {}".format(cells.get("torch"), run["engine"].get("precision"))
        cells.update({"cuda": f"CUDA {cells['cuda']}"} if "cuda" in cells else {})
    return ", ".join(cells.values())


def escaped(text):
    """`text` on one line, so that Markdown shows it as it is."""
    visible = "".join(letter if letter.isprintable() else " " for letter in str(text))
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#~&$" else letter for letter in visible)
