"""What must hold between the files of recorded runs: rows of a table are comparable, and no run is a copy."""

import json
import re

import numpy as np

from reproduce.auditing.declared import DECLARED
from reproduce.auditing.evidence import Finding

# What decides the parameters that a run begins with; the seed draws them
BEGINNING = (
    *("dataset", "backbone", "keep_stride", "pretrained", "input_size", "descriptors", "dim", "architecture"),
    *("combine", "gem_p", "gem_minimum", "fc_magnitude", "classifier_batch_norm", "attention", "whiten"),
)


def check(evidence, tables):
    """Findings of all checks between files. evidence: {key: Recorded}."""
    yield from belongs(evidence, tables)
    yield from comparable(evidence, tables)
    yield from alike_at_first(evidence)
    yield from distinct(evidence)
    yield from classified(evidence)


def belongs(evidence, tables):
    """Every file is of an experiment that a row declares, field by field."""
    known = {row.key: row for table in tables for row in (*table.paper, *table.mini) if row.experiment}
    for key, recorded in evidence.items():
        if key not in known:
            text = "no row of a table declares its experiment (reproduce/auditing/declared.json)"
            yield Finding(str(recorded.file), 2, text)
            continue
        for name, value in known[key].experiment.items():
            if recorded.experiment.get(name, DECLARED["defaults"][name]) != value:
                lines = recorded.text.splitlines()
                line = next((n for n, text in enumerate(lines, 1) if text.startswith(f'  "{name}":')), 2)
                text = f"{name} is {recorded.experiment.get(name)!r}, and should be {value!r}"
                yield Finding(str(recorded.file), line, text)


def comparable(evidence, tables):
    """The rows of a table have equal seeds, in each form and on each benchmark."""
    for table in tables:
        for rows in (table.paper, table.mini):
            groups = {}
            for row in rows:
                if row.experiment and row.key in evidence:
                    seeds = tuple(run["seed"] for run in evidence[row.key].runs)
                    groups.setdefault(row.experiment["dataset"], {}).setdefault(seeds, []).append(row)
            for by_seeds in groups.values():
                most = max(by_seeds, key=lambda seeds: (len(by_seeds[seeds]), len(seeds)))
                for seeds in set(by_seeds) - {most}:
                    for row in by_seeds[seeds]:
                        text = f"{table.label}, {row.name} has seeds {span(seeds)}; the other rows have {span(most)}"
                        yield Finding(str(evidence[row.key].file), 1, text)


def span(seeds):
    """ "0 to 9"."""
    return f"{seeds[0]} to {seeds[-1]} ({len(seeds)})" if seeds else "none"


def alike_at_first(evidence):
    """Runs that begin with the same network have equal recalls before training: of equal seeds in all experiments."""
    first = {}
    for recorded in evidence.values():
        beginning = json.dumps([recorded.experiment.get(name, DECLARED["defaults"][name]) for name in BEGINNING])
        for index, run in enumerate(recorded.runs):
            before = {name: round(value, 6) for name, value in run["untrained"].items()}
            other = first.setdefault((beginning, run["seed"]), (before, recorded.file.stem))
            if other[0] != before:
                text = f"seed {run['seed']} begins with other recalls than the same network in {other[1]}"
                yield recorded.at(index, f"{text}: the seed or the recalls were changed", "untrained")


def distinct(evidence):
    """No two runs end with the same parameters, and all runs on one dataset have one copy of it."""
    ends, data = {}, {}
    for recorded in evidence.values():
        for index, run in enumerate(recorded.runs):
            place = f"{recorded.file.stem}, seed {run['seed']}"
            parameters = run.get("parameters_sha256")
            if not re.fullmatch("[0-9a-f]{64}", str(parameters)):
                yield recorded.at(index, f"seed {run['seed']} has no hash of its parameters")
            elif ends.setdefault(parameters, place) != place:
                text = f"seed {run['seed']} ended with the parameters of {ends[parameters]}: one is a copy"
                yield recorded.at(index, text, "parameters_sha256")
            of = recorded.experiment["dataset"]  # sop_mini has test pictures of its own, and so its own hash
            if data.setdefault(of, (run.get("data"), place))[0] != run.get("data"):
                text = f"seed {run['seed']} learned from another copy of {of} than {data[of][1]}"
                yield recorded.at(index, text, "data")


def classified(evidence):
    """The classes of the test pictures are those of the dataset, the same in every file of ranks."""
    first = {}
    for recorded in evidence.values():
        dataset, classes = recorded.experiment["dataset"], recorded.ranks.get("classes")
        size = DECLARED["tests"].get(dataset, [None])[0]
        file = f"{recorded.file.with_suffix('')}.ranks.npz"
        if classes is None:
            if recorded.ranks:
                yield Finding(file, 1, "it does not say the class of each test picture")
            continue
        if dataset != "sop_mini" and size and len(classes) != size:
            yield Finding(file, 1, f"it has the classes of {len(classes):,} test pictures, and there are {size:,}")
        known, other = first.setdefault(dataset, (classes, recorded.file.stem))
        if not np.array_equal(known, classes):
            yield Finding(file, 1, f"the classes of its test pictures are others than in {other}")
        if len(np.unique(classes)) != (int(classes.max()) + 1 if len(classes) else 0):
            yield Finding(file, 1, "the classes of its test pictures are not numbered from 0 without gaps")
