"""Tables 1 to 3 of a student report, which used CGD for 22 classes of dishes, on pictures of the reader's own.

Its photos, about 1,500, are not available, so its numbers stand beside ours but cannot be compared with them. It does
not say how it tested. Its recalls are multiples of 1/176, as of eight pictures of each class, but for two of M's, 14.7
and 32.9. Our split for few classes keeps some pictures of each class for the test, too.
"""

import itertools
import logging
import os
from dataclasses import replace
from pathlib import Path

from gluon_cgd import datasets
from gluon_cgd.datasets import settings
from gluon_cgd.datasets.records import counted
from gluon_cgd.experiment import Experiment
from gluon_cgd.files import grid, regular
from gluon_cgd.files.whole import write_json
from gluon_cgd.runs import schema
from reproduce import store
from reproduce.report import comparison, formats, trained_by
from reproduce.tables import SMALL, Cell, Row, Table, mini, number, table7_experiment
from reproduce.verdicts import orderings

log = logging.getLogger("reproduce")
ACCURACY = "train_accuracy.json"  # beside the result of a run
STORED = schema.fields(
    {"parameters_sha256": schema.optional(schema.text), "accuracy": schema.each(schema.number(0, 1), "last|best")}
)
SINGLE = ("Train accuracy", "R@1", "R@2", "R@4", "R@8")
TABLES = (  # title, heads of the first columns, columns, {what stands in the first columns: numbers}
    (
        "Table 1. Results of using global descriptor individually, Wide-ResNet50",
        ("Config.", "Dim."),
        SINGLE,
        {
            "S 1536": "99.8 81.3 86.9 92.0 94.9",
            "G 1536": "100.0 81.3 87.5 92.0 94.9",
            "M 1536": "32.3 14.7 23.3 32.9 53.4",
        },
    ),
    (
        "Table 2. Results of combining S and G, Wide-ResNet50",
        ("Config.", "Dim."),
        SINGLE,
        {
            "GS 512": "99.2 75.0 84.1 90.9 96.0",
            "SG 512": "100 86.4 90.3 94.3 98.3",
            "GS 768": "99.8 83.0 87.5 91.5 94.9",
            "SG 768": "100 85.2 88.6 93.8 97.7",
        },
    ),
    (
        "Table 3. Results of using different backbones, SG 512",
        ("Backbone",),
        ("Train accuracy", "R@1", "R@8"),
        {
            "ResNet50": "99.9 83.5 96.0",
            "ResNet101": "100 79.5 94.9",
            "ResNext50": "99.9 83.5 97.2",
            "ResNext101": "100 84.7 97.2",
            "Wide-ResNet50": "100 86.4 98.3",
            "EfficientNet-B5": "100 85.8 96.0",
        },
    ),
)
BACKBONES = {name: name.lower().replace("-", "_") for name in TABLES[2][3]}
BASELINE = "Wide-ResNet50"
# What stands for the other backbones in the mini form: small networks of Table 7, with SG 1536
KINDS = ("ResNet-50‡", "SE-ResNet-50‡", "ShuffleNet-v2")
NETWORKS = {SMALL[own.backbone]: own for own in (table7_experiment(kind, 1536, "CARS196") for kind in KINDS)}
# What it finds: M far below S and G, SG above GS; and that the backbone matters, in the mini form by PAIRS
FINDINGS = (("S 1536", "M 1536"), ("G 1536", "M 1536"), ("SG 512", "GS 512"), ("SG 768", "GS 768"))
PAIRS = tuple(itertools.combinations(NETWORKS, 2))


def base_experiment(dataset, small):
    """(Experiment, lines): the experiment that all rows start from, and what was chosen for the pictures `dataset`.

    small: on the embedded benchmark, with the paper's experiment. Raises ValueError for a dataset that is not the
    user's own, where it is missing, and where `small` needs none.
    """
    if small:
        if dataset:
            raise ValueError("--mini runs on the embedded benchmark: leave out --dataset or --mini")
        return Experiment(), []
    if not dataset or not datasets.is_own(dataset):
        what = f"--dataset {dataset} is not there" if dataset else "report needs --dataset"
        raise ValueError(f"{what}: name a folder with one folder for each class, or a .csv file; or use --mini")
    # The whole path, so that the command finds its runs again from any folder
    base, split, choices = settings.fitted({"dataset": os.path.abspath(dataset)})
    return base, [f"{dataset}: {counted(split)}", *settings.lines(choices)]


def table(base, small):
    """The rows of all three tables as one Table. Equal rows of two tables are one experiment, trained once.

    With `small` the other backbones of Table 3 are only printed, and those of NETWORKS are added, without numbers of
    the report.
    """
    rows = []
    for _, _, columns, numbers in TABLES:
        for name, text in numbers.items():
            backbone = BACKBONES.get(name, BACKBONES[BASELINE])
            letters, dim = ("SG", 512) if name in BACKBONES else name.split()
            experiment = replace(base, backbone=backbone, descriptors=letters, dim=int(dim))
            published = {column: Cell(float(n), None, None, "single") for column, n in zip(columns, text.split())}
            own = not small or backbone == BACKBONES[BASELINE]
            rows.append(Row(name, experiment if own else None, published, mini(experiment) if small and own else None))
    rows += small_networks(dict.fromkeys(TABLES[2][2])) if small else []
    claims = (*FINDINGS, *(PAIRS if small else ()))
    claims = tuple(tuple((row, "R@1") for row in claim) for claim in claims)
    # It does not say from how many runs its numbers are
    title = "a student report's tables, on pictures of one's own"
    return Table("report", title, tuple(rows), claims, seeds=1, judged=False)


def small_networks(columns):
    """The rows of NETWORKS in the mini form, with the `columns` of their table."""
    forms = {name: replace(mini(experiment), backbone=name) for name, experiment in NETWORKS.items()}
    return [Row(name, NETWORKS[name], columns, form) for name, form in forms.items()]


def claim_lines(table, rows, small):
    """What the report finds, in our numbers: a heading and a line for each; [] where nothing has run."""
    lines = formats.claim_lines(table, rows, small) if any(row.ours for row in rows) else []
    return [of_report(line) for line in lines] + (backbones_matter(table, rows) if lines and small else [])


def of_report(text):
    """`text` on orderings, as it reads of the report's."""
    return text.replace("The paper's orderings", "The report's findings").replace("in the paper's", "in the report's")


def backbones_matter(table, rows):
    """A list of one sentence: how many of PAIRS differ in the mini form; [] without them."""
    found = [claim for claim in orderings.claims(table, rows, True) if claim.row in NETWORKS]
    decided = sum(claim.ordering.outcome in ("holds", "does not hold") for claim in found)
    told = f"{decided} of {len(found)} pairs of small networks differ (the report has no order of these)"
    return [f"The backbone matters: {told}"] if found else []


def measure(experiments, seeds, runs, data, ctx, which):
    """Write beside each finished run of `experiments` which share of its training pictures it classifies correctly.

    It uses the `which` parameters ("last" or "best") and pictures that are only resized, as in a test. Runs that have
    the accuracy are skipped.
    """
    from gluon_cgd.datasets.cache import cached
    from gluon_cgd.datasets.tested_part import check_unchanged
    from gluon_cgd.datasets.training_part import trained_of
    from gluon_cgd.evaluate import accuracy
    from gluon_cgd.machine import devices
    from gluon_cgd.models.opened import load_trained

    for experiment in experiments:
        for result in store.results(runs, experiment, seeds):
            folder = store.folder(runs, experiment, result["seed"])
            known = accuracies(folder, result)
            if which in known:
                continue
            contexts = devices.contexts(ctx)
            net, _ = load_trained(folder, which, contexts)
            split = store.load_data(experiment, data)
            trained = trained_of(experiment.dataset, result, folder / "result.json")
            check_unchanged(split, experiment.dataset, trained, "the accuracy would be of other pictures")
            train = split.train
            log.info("accuracy on %d training pictures: %s", len(train), folder)
            share = accuracy(net, cached(train, experiment.input_size), [record.label for record in train], contexts)
            run = {"parameters_sha256": result.get("parameters_sha256")}
            write_json(folder / ACCURACY, {**run, "accuracy": {**known, which: share}})


def accuracies(folder, result):
    """{"last": fraction, ...} that `measure` wrote for the run of `result`; {} without a file of this run."""
    try:
        stored = regular.read_json(Path(folder) / ACCURACY)
    except (OSError, ValueError):  # it will be measured again
        return {}
    good = not STORED(stored, "") and stored["parameters_sha256"] == result.get("parameters_sha256")
    return stored["accuracy"] if good else {}


def results(runs, experiment, seeds):
    """As `store.results`, with the accuracies that `measure` wrote under "train_accuracy"."""
    return [
        {**result, "train_accuracy": accuracies(store.folder(runs, experiment, result["seed"]), result)}
        for result in store.results(runs, experiment, seeds)
    ]


def header(small, which):
    """What the tables are, in lines."""
    lines = [
        "A student report's tables (22 classes of Vietnamese dishes, about 1,500 photos), in %.",
        "'report' is what the report printed for its own pictures: do not judge our numbers by it.",
        "It does not say which networks it took; our Wide-ResNet50, gluoncv2's wrn50_2, has no batch norms.",
        f"'{'mini' if small else 'ours'}' is the {which} evaluation of each run, 'untrained' the one before training.",
    ]
    if small:
        lines += [
            "MINI: on the embedded benchmark (glyphs), with an eighth of the dimensions. A small network that was",
            f"pretrained on other letters stands for {BASELINE}; the other backbones of Table 3 have no mini form.",
            "Three kinds of small networks, with SG 1536, show whether the backbone matters.",
        ]
    else:
        lines += [
            "Each test picture is searched among the other test pictures, as in the paper. The recall among all",
            "pictures, as a search finds them, is printed by `python -m gluon_cgd evaluate`.",
        ]
    return lines


def grids(rows, small):
    """(title, the table as lists of cells, its head first) for each of the three."""
    entries = {row.row: row for row in rows}
    for title, heads, columns, numbers in TABLES:
        lines = [[*heads, "", *columns]]
        for name in (*numbers, *(name for name in NETWORKS if name in entries and len(heads) == 1)):
            row, first = entries[name], name.split(" ", len(heads) - 1)
            sources = [("report", row.published)] if name in numbers else []
            if row.experiment:
                sources += [("mini" if small else "ours", row.ours), ("untrained", row.untrained)]
            for place, (source, cells) in enumerate(sources):
                shown = [number(cells.get(column)) for column in columns]
                lines.append([*(first if place == 0 else [""] * len(first)), source, *shown])
        yield title, lines


def as_text(table, rows, small, which):
    """The tables for a terminal. Arguments as in `formats.as_text`."""
    text = header(small, which)
    for title, lines in grids(rows, small):
        text += ["", title, *grid.as_text(lines)]
    for marks in (claim_lines(table, rows, small), comparison.doubtful(rows) + trained_by.sentences(rows)):
        text += ["", *marks] if marks else []
    return "\n".join(text)


def write(table, rows, small, which, runs):
    """Leave the report under `runs`/reports as .md and .json; returns the names of the files."""
    text = ["# A student report's tables", "", *header(small, which)]
    for title, lines in grids(rows, small):
        text += ["", f"## {title}", "", grid.as_markdown(lines)]
    marks = claim_lines(table, rows, small) + comparison.doubtful(rows) + trained_by.sentences(rows)
    text += [""] + [f"- {line}" for line in marks]
    stem = formats.write_files(table, rows, small, which, runs, "\n".join(text) + "\n")
    return f"{stem}.md, .json"
